"""The settings of a sweep: every combination of some values of some options of `train`."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.errors import OptionError
from charnn.files import portable_name
from charnn.options import Option, OptionValues, declared_options, nearest_name, shown

GROUPS = (TextOptions, ModelOptions, TrainingOptions)
OF_EVERY_RUN = {"seed": "pass --seeds and --seed", "threads": "pass --threads"}
"""Options that a sweep sets by itself, and how the user chooses them."""
TRUTHS = {"yes": True, "true": True, "no": False, "false": False}


@dataclass(frozen=True)
class Setting:
    """Values of the options that a sweep varies.

    Args:
        options: value of each, by name.
    """

    options: Mapping[str, object]

    def name_with(self, seed: int) -> str:
        """Return the name of the directory of a run, such as hidden_size-128-cell-lstm-seed-1."""
        values = {**self.options, "seed": seed}
        return portable_name("-".join(f"{name}-{_spelled(value)}" for name, value in values.items()))

    def __str__(self) -> str:
        return ", ".join(f"{name}={_spelled(value)}" for name, value in self.options.items()) or "the defaults"


def _spelled(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def parsed_options(texts: Sequence[str]) -> dict[str, list[object]]:
    """Return the values of each option from NAME=VALUE,VALUE.

    Raises:
        OptionError: for a text without values, an unknown option, or a value of another type than the option's.
    """
    found: dict[str, list[object]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise OptionError(
                f"--option: found {text!r}, but it must be NAME=VALUE,VALUE: --option hidden_size=128,256"
            )
        name = _field_of(name)
        if name in found:
            raise OptionError(f"--option: found {name} twice; list all of its values once")
        kind = _declared()[name][0]
        found[name] = [_parsed(name, value.strip(), kind) for value in values.split(",")]
    return found


def _declared() -> dict[str, tuple[Any, Option]]:
    """Return the types and properties of the options of `train`, by the names of their fields."""
    return {name: each for group in GROUPS for name, each in declared_options(group).items()}


def _field_of(spelled: str) -> str:
    """Return the field of an option that is named by its field or its flag. Raises OptionError."""
    name = spelled.strip().lstrip("-").replace("-", "_")
    fields = {each: each for each in _declared()}
    fields |= {
        flag.lstrip("-").replace("-", "_"): each for each, (_, option) in _declared().items() for flag in option.flags
    }
    if name in OF_EVERY_RUN:
        raise OptionError(f"--option: found {name}, which a sweep sets itself; {OF_EVERY_RUN[name]}")
    if name not in fields:
        near = nearest_name(name, fields)
        advice = f"did you mean {near}?" if near else "charnn train --help-all lists the options"
        raise OptionError(f"--option: found {name!r}, which is no option of train; {advice}")
    return fields[name]


def _parsed(name: str, text: str, kind: Any) -> object:
    """Return a value as the type of its option wants it. Raises OptionError."""
    kinds = get_args(kind) or (kind,)
    try:
        if bool in kinds:
            return TRUTHS[text.lower()]
        if int in kinds:
            return int(text)
        if float in kinds:
            return float(text)
    except (KeyError, ValueError):
        wanted = "yes or no" if bool in kinds else "an integer" if int in kinds else "a number"
        raise OptionError(f"--option {name}: found {text!r}, but it must be {wanted}") from None
    return text


def combinations(options: Mapping[str, Sequence[object]]) -> list[Setting]:
    """Return every combination of the values of some options, the last option varying fastest.

    Raises:
        OptionError: for an unknown option, or one without values or with a value twice.
    """
    for name, values in options.items():
        if _field_of(name) != name:
            raise OptionError(f"--option: found {name!r}, which is no option of train; did you mean {_field_of(name)}?")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise OptionError(f"--option {name}: found {shown(values)}, but it must be a list of values")
        if len({repr(value) for value in values}) < len(values):
            raise OptionError(f"--option {name}: found a value twice; list each once")
    return [Setting(dict(zip(options, values, strict=True))) for values in itertools.product(*options.values())]


def check_fixed(options: Mapping[str, Sequence[object]], fixed: OptionValues) -> None:
    """Refuse an option that is both varied and given to all runs, and runs of two networks. Raises OptionError."""
    for name in options:
        if name in fixed:
            raise OptionError(f"--option {name}: cannot be combined with --{name.replace('_', '-')}; leave one out")
    for value in (*options.get("direction", ()), fixed.get("direction")):
        if value == "both":
            raise OptionError("--direction both: a sweep compares single networks; choose forward or backward")
