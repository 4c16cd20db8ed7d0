"""`charnn score --shard`, `--ray` and `--merge`: a text scored in parts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import charnn
from charnn.cli.commands.score_texts import write_summary
from charnn.cli.output import console
from charnn.cli.output.lines import STDOUT
from charnn.cli.output.part_output import PartOutput
from charnn.cli.output.progress_line import ProgressLine
from charnn.cli.output.score_output import noun_of
from charnn.config import ScoreOptions
from charnn.errors import OptionError
from charnn.interrupts import terminated_like_interrupted
from charnn.options import refuse_both

if TYPE_CHECKING:
    from charnn.cluster.job import ScoringJob
    from charnn.scoring.build import Scorer
    from charnn.storage.model_directory import Model

MOST_SHARDS = 10_000


@dataclass(frozen=True)
class Division:
    """How a text is divided.

    Args:
        shard: "I/N", the part to score.
        ray: address of a cluster; empty for none in particular.
        merge: whether the parts become one file.
    """

    shard: str | None = None
    ray: str | None = None
    merge: bool = False

    def __post_init__(self) -> None:
        """Refuse several of them. Raises OptionError."""
        refuse_both("--shard", self.shard is not None and self.merge, "--merge")
        refuse_both("--ray", self.ray is not None and self.merge, "--merge, which --ray does at its end")
        refuse_both("--ray", self.ray is not None and self.shard is not None, "--shard")

    @property
    def flag(self) -> str | None:
        """The option that asks for parts; None if none does."""
        given = {"--shard": self.shard is not None, "--ray": self.ray is not None, "--merge": self.merge}
        return next((flag for flag, is_given in given.items() if is_given), None)

    @property
    def address(self) -> str | None:
        """The address of the cluster; None for the one that the environment names, or this machine."""
        return self.ray or None

    def output(self, named: str | None) -> Path:
        """Return the file that all parts become. Raises OptionError."""
        if named is None or named in STDOUT:
            raise OptionError(f"{self.flag}: needs a file for the records; name one with -o FILE")
        path = Path(named)
        if path.exists() and not path.is_file():
            raise OptionError(f"-o: found {named}, but parts need a file beside them; name a file")
        return path


def shard_of(text: str) -> tuple[int, int]:
    """Return the number of a part, from 1, and the number of all. Raises OptionError."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    number, num_parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= num_parts <= MOST_SHARDS:
        raise OptionError(
            f"--shard: found {text!r}, but it must be I/N, the number of a part from 1 and the number of parts, at most "
            f"{MOST_SHARDS:,}: --shard 3/10"
        )
    return number, num_parts


def score_shard(
    models: "Sequence[Model]", files: Sequence[str], options: ScoreOptions, division: Division, output: str | None
) -> None:
    """Score one part, unless it is finished."""
    assert division.shard is not None
    number, num_parts = shard_of(division.shard)
    target = division.output(output)
    scorer = charnn.api.build_scorer(models, options)
    with terminated_like_interrupted():
        job = _job(models, files, options, scorer, target, num_parts=num_parts)
        part = job.plan.parts[number - 1]
        name = charnn.api.part_path(target, job.plan, part)
        if charnn.api.is_finished(target, job.plan, part):
            console.notice(f"{name}: is finished already")
            return
        charnn.api.score_part(job, part, scorer)
    units = console.counted(part.num_units, _noun(options))
    if not part.num_units:
        units += ", as the text is too short for so many parts"
    console.notice(
        f"{name}: part {number} of {num_parts} is finished, {units}; when all are: charnn score --merge -o {output}"
    )


def score_with_ray(
    models: "Sequence[Model]",
    files: Sequence[str],
    options: ScoreOptions,
    division: Division,
    *,
    output: str | None,
    summary: str | None,
) -> None:
    """Score all parts on Ray, and merge them."""
    target = division.output(output)
    charnn.api.check_ray(division.address)
    scorer = charnn.api.build_scorer(models, options)
    with terminated_like_interrupted():
        job = _job(models, files, options, scorer, target)
        num_parts, num_left = len(job.plan.parts), len(job.unfinished())
        if num_left < num_parts:
            console.notice(f"{target}: {num_parts - num_left:,} of {num_parts:,} parts are finished already")
        try:
            with ProgressLine() as line:
                noun = f"{_noun(options)}s"
                charnn.api.score_on_ray(job, scorer, address=division.address, report=line.show, noun=noun)
        except KeyboardInterrupt:
            num_done = num_parts - len(job.unfinished())
            console.notice(
                f"interrupted with {num_done:,} of {num_parts:,} parts finished; the same command goes on from there"
            )
            raise
        _merge(target, summary)


def merge_parts(output: str | None, summary: str | None) -> None:
    """Write the output from its parts."""
    target = Division(merge=True).output(output)
    with terminated_like_interrupted():
        _merge(target, summary)


def _merge(target: Path, summary: str | None) -> None:
    merged = charnn.api.merge(target, PartOutput, by_file=summary is not None)
    if merged is None:
        console.notice(f"{target}: is complete already; what was left of its parts is removed")
        return
    plan = merged.plan
    console.notice(f"{target}: merged and removed {console.counted(len(plan.parts), 'part')}")
    if summary:
        write_summary(summary, merged.totals, plan.models, plan.weights, plan.score_options)


def _job(
    models: "Sequence[Model]",
    files: Sequence[str],
    options: ScoreOptions,
    scorer: "Scorer",
    output: Path,
    *,
    num_parts: int | None = None,
) -> "ScoringJob":
    return charnn.api.open_job(
        models,
        files,
        options,
        scorer,
        output=output,
        open_records=PartOutput,
        num_parts=num_parts,
        width=console.terminal_width() if options.format == "table" else 0,
    )


def _noun(options: ScoreOptions) -> str:
    return noun_of(options) or options.unit
