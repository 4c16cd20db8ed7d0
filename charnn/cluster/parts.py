"""Finished parts of an output: a file of records, and beside it a marker that says what they are of."""

import base64
import contextlib
import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from charnn.cluster.plan import PLAN_SUFFIX, Part, Plan
from charnn.files import JsonObject, LineFile, json_bytes, write_output
from charnn.scoring.scores import Score

MARKER_SUFFIX = ".done"
COUNTS = ("num_tokens", "num_unknown", "num_excluded", "num_chars", "num_bytes", "num_words")


@dataclass
class FileSums:
    """The sums of a part over the units of one file.

    Log probabilities are kept one by one: their sum depends on the order in which they are added up, and the merged output
    must have the sum that reading the text in one go has.
    """

    num_units: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    log_probs: "array[float]" = field(default_factory=lambda: array("d"))
    unknown_log_probs: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, score: Score) -> None:
        """Add the score of a unit."""
        self.num_units += 1
        for name in COUNTS:
            self.counts[name] += getattr(score, name)
        self.log_probs.append(score.log_prob_nats)
        if score.unknown_log_prob_nats:
            self.unknown_log_probs.append(score.unknown_log_prob_nats)

    def added_to(self, total: Score) -> Score:
        """Return a total to which all units were added one after the other."""
        log_prob, unknown = total.log_prob_nats, total.unknown_log_prob_nats
        for value in self.log_probs:
            log_prob += value
        for value in self.unknown_log_probs:
            unknown += value
        counts = {name: getattr(total, name) + number for name, number in self.counts.items()}
        return Score(log_prob_nats=log_prob, unknown_log_prob_nats=unknown, **counts)

    def to_json(self) -> JsonObject:
        """Return the sums as JSON values."""
        return {
            "num_units": self.num_units,
            **self.counts,
            "log_probs": _packed(self.log_probs),
            "unknown_log_probs": _packed(self.unknown_log_probs),
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Return the sums that `to_json` made an object of."""
        counts = {name: int(value[name]) for name in COUNTS}
        return cls(value["num_units"], counts, _unpacked(value["log_probs"]), _unpacked(value["unknown_log_probs"]))


def _packed(values: "array[float]") -> str:
    """Return doubles as base64 of their bytes, the least significant first."""
    copy = array("d", values)
    if LARGEST_FIRST:
        copy.byteswap()
    return base64.b64encode(copy.tobytes()).decode("ascii")


def _unpacked(text: str) -> "array[float]":
    values = array("d", base64.b64decode(text))
    if LARGEST_FIRST:
        values.byteswap()
    return values


LARGEST_FIRST = array("h", [1]).tobytes()[0] == 0
"""Whether this machine stores numbers with the most significant byte first."""


@dataclass(frozen=True)
class Finished:
    """What a marker says of a part.

    Args:
        plan_sha256: of the plan that it belongs to.
        num_bytes: size of the file of records.
        sums: by index of the file.
    """

    plan_sha256: str
    num_bytes: int
    sums: dict[int, FileSums]


def part_path(output: Path, plan: Plan, part: Part) -> Path:
    """Return the file of a part's records, such as OUT.part-00003-of-00010."""
    return output.with_name(f"{output.name}.part-{part.number:05}-of-{len(plan.parts):05}")


def marker_path(output: Path, plan: Plan, part: Part) -> Path:
    """Return the file that says that a part is finished."""
    path = part_path(output, plan, part)
    return path.with_name(path.name + MARKER_SUFFIX)


def write_marker(output: Path, plan: Plan, part: Part, sums: dict[int, FileSums]) -> None:
    """Say that a part is finished. Raises StorageError."""
    files = [asdict(plan.files[number]) for number in sums]
    said = {
        "plan_sha256": plan.sha256,
        "part": f"{part.number} of {len(plan.parts)}",
        "first_unit": part.first,
        "num_units": part.num_units,
        "files": [{name: file[name] for name in ("name", "num_bytes", "changed_ns")} for file in files],
        "models": plan.models,
        "model_sha256": plan.model_sha256,
        "options": plan.options,
        "charnn": plan.version,
        "num_bytes": part_path(output, plan, part).stat().st_size,
        "sums": {str(number): each.to_json() for number, each in sums.items()},
    }
    write_output(marker_path(output, plan, part), json_bytes(said))


def read_marker(output: Path, plan: Plan, part: Part) -> Finished | None:
    """Return what the marker of a finished part says; None if it is not finished, or of another plan."""
    try:
        value = json.loads(marker_path(output, plan, part).read_bytes().decode("utf-8"))
        num_bytes = part_path(output, plan, part).stat().st_size
        sums = {int(number): FileSums.from_json(each) for number, each in value["sums"].items()}
        finished = Finished(value["plan_sha256"], value["num_bytes"], sums)
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: the part is scored again
        return None
    is_whole = finished.num_bytes == num_bytes and sum(each.num_units for each in sums.values()) == part.num_units
    return finished if is_whole and finished.plan_sha256 == plan.sha256 else None


def is_finished(output: Path, plan: Plan, part: Part) -> bool:
    """Return whether a part is finished."""
    return read_marker(output, plan, part) is not None


def remove_parts(output: Path) -> None:
    """Remove all parts beside an output, with what killed processes left of them, and the plan last."""
    name = re.compile(
        re.escape(output.name) + r"\.(part-\d+-of-\d+(\.done)?(\.(\d+\.)?(new|part))?|parts\.json\.(\d+\.)?new)"
    )
    for path in list(output.parent.iterdir()):
        if name.fullmatch(path.name):
            path.unlink(missing_ok=True)
    output.with_name(output.name + PLAN_SUFFIX).unlink(missing_ok=True)


@contextlib.contextmanager
def complete_lines(path: Path) -> Iterator[LineFile]:
    """Yield a file that replaces another one if the block ends without an exception, and is removed otherwise.

    Raises:
        StorageError: if it cannot be written.
    """
    file = LineFile(path)
    try:
        yield file
        file.close()
    except BaseException:
        kept = file.abandon()
        if kept is not None:
            kept.unlink(missing_ok=True)
        raise
