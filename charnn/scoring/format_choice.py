"""The format that the options name."""

from collections.abc import Sequence

from charnn.config import ScoreOptions
from charnn.notices import notice_logger
from charnn.scoring import foreign_formats, formats
from charnn.scoring.layout import layout_of

logger = notice_logger(__name__)


def format_of(
    options: ScoreOptions, name: str, *, num_files: int = 0, kept: Sequence[str] = (), lazily: bool = False
) -> formats.Format:
    r"""Return the format of scores that the options name.

    Args:
        options: whose `format` is not "table".
        name: of the text.
        num_files: number of files that are scored.
        kept: other columns of the tables that are scored. One that has the name of a score's field is renamed, with a message.
        lazily: make the tokens of JSON records iterators, so that few of a long unit are in memory at a time.

    Example:
        >>> "\n".join(charnn.api.format_of(ScoreOptions(format="tsv"), "test.txt").lines(model.score("The fox slept.")))
    """
    layout = layout_of(options, num_files=num_files, kept=kept, own=formats.own_fields(options))
    for column, field in layout.kept.items() if options.format in ("jsonl", "tsv") else ():
        if field != column:
            logger.info(f"the table's column {column} becomes {field}, since {column} is a field of a score")
    made: dict[str, formats.Format] = {
        "jsonl": formats.JsonLines(options, layout, lazily=lazily),
        "tsv": formats.TabSeparated(options, layout),
        "kenlm": foreign_formats.Kenlm(options),
        "srilm": foreign_formats.Srilm(options, name),
        "lmzoo": foreign_formats.LmZoo(options),
        "neural-complexity": foreign_formats.NeuralComplexity(options),
    }
    return made[options.format]
