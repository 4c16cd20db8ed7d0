"""The format that the options name."""

from charnn.config import ScoreOptions
from charnn.scoring import foreign_formats, formats


def format_of(options: ScoreOptions, name: str) -> formats.Format:
    r"""Return the format of scores that the options name.

    Args:
        options: whose `format` is not "table".
        name: of the text.

    Example:
        >>> "\n".join(charnn.api.format_of(ScoreOptions(format="tsv"), "test.txt").lines(model.score("The fox slept.")))
    """
    made: dict[str, formats.Format] = {
        "jsonl": formats.JsonLines(options),
        "tsv": formats.TabSeparated(options),
        "kenlm": foreign_formats.Kenlm(options),
        "srilm": foreign_formats.Srilm(options, name),
        "lmzoo": foreign_formats.LmZoo(options),
        "neural-complexity": foreign_formats.NeuralComplexity(options),
    }
    return made[options.format]
