"""Scoring of any number of lines, into a file, on the cores of this machine or on a cluster."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack, get_args

from charnn.cluster.job import check_divisible, open_job
from charnn.cluster.merging import merge
from charnn.cluster.ray_scoring import check_ray, score_on_ray
from charnn.cluster.records import FormatRecords
from charnn.config.arguments import ScoreArguments
from charnn.errors import OptionError, StorageError, speaking_of_arguments
from charnn.files import refuse_unwritable
from charnn.language_model import LanguageModel
from charnn.library import load
from charnn.options import checked_files, shown, with_values
from charnn.scoring.build import build_scorer, checked_score_options
from charnn.scoring.scores import Score

if TYPE_CHECKING:
    from charnn.text.progress import Progress

RecordFormat = Literal["jsonl", "tsv", "kenlm", "srilm", "lmzoo", "neural-complexity"]


@speaking_of_arguments
def score_dataset(
    texts: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    model: LanguageModel | str | Path | None = None,
    format: RecordFormat = "jsonl",
    ray: str | None = None,
    on_progress: "Callable[[Progress], None] | None" = None,
    **options: Unpack[ScoreArguments],
) -> Score:
    """Score the lines of files with Ray, write a record of each to a file, and return the sum of the scores.

    The text is divided into parts of many thousand lines. Workers and machines may die; finished parts are kept beside the
    output, and not done again when the call is repeated after an interrupt. The output has the bytes that `charnn score`
    writes. On a cluster, the texts, the model and the output must be on a file system that all machines share. Needs the
    extra `cluster`.

    Args:
        texts: files, directories and globs.
        output: the file to write.
        model: a model, or its directory; by default, the newest under `runs/`.
        format: "jsonl", "tsv", or the format of another program.
        ray: address of a cluster, host:port; by default that of the environment variable RAY_ADDRESS, or this machine.
        on_progress: called when a part is finished.
        options: options of `charnn score`, named as in `charnn.config.ScoreOptions`.

    Raises:
        CharnnError: for options that make lines depend on each other, texts that cannot be read, or a cluster that cannot be
            reached.

    Example:
        >>> total = charnn.score_dataset("book.txt", "scores.jsonl", model="runs/book")
        >>> total.perplexity
    """
    files = checked_files(texts, "texts")
    (named,) = checked_files(output, "output")
    target = Path(named)
    loaded = model if isinstance(model, LanguageModel) else load(model)
    if format not in (known := get_args(RecordFormat)):
        raise OptionError(f"--format: found {shown(format)}, but it must be one of {', '.join(known)}")
    models, chosen = loaded.group.for_scoring(with_values(checked_score_options(options), {"format": format}))
    check_divisible(chosen, files, "ray")
    refuse_unwritable(target)
    check_ray(ray)
    scorer = build_scorer(models, chosen)
    job = open_job(models, files, chosen, scorer, output=target, open_records=FormatRecords)
    score_on_ray(job, scorer, address=ray, report=on_progress)
    merged = merge(target, FormatRecords)
    if merged is None:
        raise StorageError(f"{target}: was merged by another process; read it")
    return merged.totals.score
