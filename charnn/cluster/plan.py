"""The plan of a text that is scored in parts: what is scored, and where its parts begin; a file beside the output."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import charnn
from charnn.config import ScoreOptions
from charnn.errors import OptionError, StorageError
from charnn.files import JsonObject, json_bytes, sha256_hex, write_output

FORMAT_VERSION = 1
PLAN_SUFFIX = ".parts.json"


@dataclass(frozen=True)
class PlannedFile:
    """A file that is scored.

    Args:
        name: as messages and records name it.
        num_bytes, changed_ns: size and modification time, which must stay as they are.
        num_units: number of its lines, documents or cells.
        is_seekable: whether a line can be read without those before it.
    """

    name: str
    num_bytes: int
    changed_ns: int
    num_units: int
    is_seekable: bool


@dataclass(frozen=True)
class Part:
    """Consecutive units that are scored together.

    Args:
        number: from 1.
        first: number of its first unit among all, from 1.
        num_units: number of units; may be 0.
        file: index of the file in which it begins.
        num_before: number of units of that file before it.
        offset: bytes of that file before it, if the file is seekable.
    """

    number: int
    first: int
    num_units: int
    file: int
    num_before: int
    offset: int | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is scored, and its parts. The same options, texts and models give the same plan on every machine.

    Args:
        version: of charnn.
        asked: names of the texts as the user gave them.
        files: the files that they stand for.
        models: names of the model directories.
        model_sha256: digests of the models.
        options: scoring options that differ from the defaults.
        weights: interpolation weights of several models.
        reads_backward: whether a model reads from right to left.
        kept: the other columns of tables.
        width: columns of the terminal for which tables are written.
        has_one_window: whether the whole text is one window (see `charnn.scoring.scorer`).
        parts: the parts, in order.
        is_merged: whether the output is complete, so that all of this can be removed.
    """

    version: str = charnn.__version__
    asked: tuple[str, ...]
    files: tuple[PlannedFile, ...]
    models: tuple[str, ...]
    model_sha256: tuple[str, ...]
    options: JsonObject
    weights: tuple[float, ...]
    reads_backward: bool
    kept: tuple[str, ...]
    width: int
    has_one_window: bool
    parts: tuple[Part, ...]
    is_merged: bool = False

    @cached_property
    def score_options(self) -> ScoreOptions:
        """All scoring options."""
        return ScoreOptions(**{name: _frozen(value) for name, value in self.options.items()})

    @property
    def num_units(self) -> int:
        """The number of units of all parts."""
        return sum(part.num_units for part in self.parts)

    @cached_property
    def sha256(self) -> str:
        """The digest of the plan, by which a finished part says what it belongs to."""
        return sha256_hex(json_bytes(asdict(replace(self, is_merged=False))))

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Return the plan that `asdict` and JSON made an object of. Raises KeyError, TypeError or ValueError."""
        values = {each.name: _frozen(value[each.name]) for each in fields(cls)}
        values["files"] = tuple(PlannedFile(**each) for each in value["files"])
        values["parts"] = tuple(Part(**each) for each in value["parts"])
        return cls(**values)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def plan_path(output: Path) -> Path:
    """Return the file of an output's plan."""
    return output.with_name(output.name + PLAN_SUFFIX)


def write_plan(output: Path, plan: Plan) -> None:
    """Write the plan beside the output. Raises StorageError."""
    write_output(plan_path(output), json_bytes({"format_version": FORMAT_VERSION, **asdict(plan)}))


def read_plan(output: Path) -> Plan | None:
    """Return the plan beside an output, or None if there is none.

    Raises:
        StorageError: if it is damaged, or of a newer version than this charnn supports.
    """
    path = plan_path(output)
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_bytes().decode("utf-8"))
        if value["format_version"] > FORMAT_VERSION:
            raise StorageError(
                f"{path}: has format version {value['format_version']}, this charnn reads up to {FORMAT_VERSION}; "
                "install a newer charnn"
            )
        return Plan.from_json(value)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}; correct this and try again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path}: is damaged ({error}); {how_to_begin_anew(output)}") from error


def how_to_begin_anew(output: Path) -> str:
    """Return the advice to remove an output's parts."""
    return f"to begin anew, remove {output.name}.part* first, or name another output"


def check_same(output: Path, plan: Plan, wanted: Plan, *, num_parts: int | None) -> None:
    """Check that parts that were begun are of what is to be scored now.

    Args:
        wanted: what is to be scored now; its parts may be missing.
        num_parts: the wanted number of parts, if it is given.

    Raises:
        OptionError: naming what differs.
    """
    difference = _difference(plan, wanted)
    if difference is None and num_parts is not None and num_parts != len(plan.parts):
        difference = f"{len(plan.parts)} parts, not {num_parts}"
    if difference:
        raise OptionError(f"{output}: was begun with {difference}; {how_to_begin_anew(output)}")


def _difference(plan: Plan, wanted: Plan) -> str | None:
    """Return what a plan was made of that is not wanted now, for a message."""
    if changed := _changed_file(plan.files, wanted.files):
        return changed
    for number, sha256 in enumerate(plan.model_sha256):
        if len(wanted.model_sha256) != len(plan.model_sha256) or wanted.model_sha256[number] != sha256:
            return f"another model than {', '.join(wanted.models)} is now ({', '.join(plan.models)})"
    for name in {**plan.options, **wanted.options}:
        before, now = (_frozen(each.options.get(name)) for each in (plan, wanted))
        if before != now:
            return f"{shown_option(name, plan.options)}, but this command has {shown_option(name, wanted.options)}"
    if plan.version != wanted.version:
        return f"charnn {plan.version}, and this is charnn {wanted.version}"
    return None


def shown_option(name: str, options: JsonObject) -> str:
    """Return an option as it is given on the command line, or that it is not."""
    flag = f"--{name.replace('_', '-')}"
    return f"{flag} {options[name]}" if name in options else f"no {flag}"


def _changed_file(files: Sequence[PlannedFile], wanted: Sequence[PlannedFile]) -> str | None:
    names = [file.name for file in files]
    if names != [file.name for file in wanted]:
        return f"other texts ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
    for file, now in zip(files, wanted, strict=True):
        if (file.num_bytes, file.changed_ns) != (now.num_bytes, now.changed_ns):
            return f"{file.name}, which has changed since"
    return None
