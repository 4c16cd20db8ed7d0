"""All parts of an output become one file, as if the text had been scored in one go."""

from dataclasses import dataclass, replace
from pathlib import Path

from charnn.cluster.parts import complete_lines, part_path, read_marker, remove_parts
from charnn.cluster.plan import PLAN_SUFFIX, Plan, read_plan, write_plan
from charnn.cluster.records import OpenRecords
from charnn.errors import StorageError, first_of
from charnn.scoring.totals import Totals

CHARS_AT_ONCE = 1 << 20
MOST_NAMED = 5


@dataclass(frozen=True)
class Merged:
    """An output that is complete.

    Args:
        plan: of its parts.
        totals: over the whole text.
    """

    plan: Plan
    totals: Totals


def merge(output: Path, open_records: OpenRecords, *, by_file: bool = False) -> Merged | None:
    """Write an output from all of its parts, which are removed then.

    Args:
        output: the file to write.
        open_records: opens what writes the headings and the totals.
        by_file: keep the totals of each file, too.

    Returns:
        None if the output was complete already, and only the rest of its parts was removed.

    Raises:
        StorageError: if there are no parts or some are missing, or the output cannot be written.
    """
    plan = read_plan(output)
    if plan is None:
        raise StorageError(
            f"{output}: found no parts of it, since there is no {output.name}{PLAN_SUFFIX}; "
            f"score them first: charnn score FILE -o {output} --shard 1/10"
        )
    if plan.is_merged:
        remove_parts(output)
        return None
    finished = {part.number: read_marker(output, plan, part) for part in plan.parts}
    missing = [number for number, marker in finished.items() if marker is None]
    if missing:
        raise StorageError(
            f"{output}: {len(missing):,} of {len(plan.parts):,} parts are missing: {first_of(missing, MOST_NAMED)}; "
            f"score them: charnn score FILE -o {output} --shard {missing[0]}/{len(plan.parts)}"
        )
    totals = Totals([file.name for file in plan.files] if by_file and len(plan.files) > 1 else ())
    for marker in finished.values():
        assert marker is not None
        for number, sums in marker.sums.items():
            totals.add_all(sums.added_to, number, num_units=sums.num_units)
    with complete_lines(output) as file:
        records = open_records(plan, file)
        records.begin()
        for part in plan.parts:
            with part_path(output, plan, part).open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
                while text := lines.read(CHARS_AT_ONCE):
                    file.write(text)
        records.finish(totals.score, totals.num_units)
    write_plan(output, replace(plan, is_merged=True))
    remove_parts(output)
    return Merged(plan, totals)
