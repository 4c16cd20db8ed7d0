"""What an option is: a field of a dataclass, with its type, default, bounds and help text, and how it is checked.

Only the standard library is imported here and in `config`, so that `--help` stays quick.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from charnn.errors import IneffectiveOptionError, OptionError

OptionValues = dict[str, Any]
"""Options by field name, as a command line or a recipe gives them: what a dataclass of options is made from."""


@dataclass(frozen=True)
class Option:
    """What a command line needs to know of an option beyond its type and default.

    Args:
        help: one sentence for `--help` and the option reference.
        flags: the spellings; `--field-name` where empty.
        at_least, above, at_most, below: bounds of a number, in the option's own unit.
        automatic: how the value is found where the default is None.
        others: names that are choices too, known while the program runs.
        panel: the heading under which `--help-all` shows it.
        common: whether most people need it, so that `--help` shows it.
        metavar: what stands for the value in the help; by the type where empty.
    """

    help: str
    flags: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    automatic: str | None = None
    others: Collection[str] = ()
    panel: str = "Options"
    common: bool = False
    metavar: str = ""

    def complaint(self, value: float) -> str | None:
        """Return what is wrong with a number, or None."""
        bounds = (
            (self.at_least, "at least", value if self.at_least is None else value >= self.at_least),
            (self.above, "above", value if self.above is None else value > self.above),
            (self.at_most, "at most", value if self.at_most is None else value <= self.at_most),
            (self.below, "below", value if self.below is None else value < self.below),
        )
        wanted = [f"{words} {bound:g}" for bound, words, _ in bounds if bound is not None]
        within = all(holds for bound, _, holds in bounds if bound is not None)
        return None if within else f"must be {' and '.join(wanted)}"


def flags_of(name: str, option: Option) -> tuple[str, ...]:
    """Return the spellings of an option on the command line, the longest form last."""
    return option.flags or ("--" + name.replace("_", "-"),)


def declared_options(group: type) -> dict[str, tuple[Any, Option]]:
    """Return `{field name: (type, Option)}` for a dataclass of options."""
    declared = {}
    for name, hint in get_type_hints(group, include_extras=True).items():
        if get_origin(hint) is Annotated:
            kind, option = get_args(hint)
            declared[name] = (kind, option)
    return declared


def choices_of(kind: Any) -> list[Any]:
    """Return the values that a type allows, where it lists them."""
    return [choice for part in (kind, *get_args(kind)) if get_origin(part) is Literal for choice in get_args(part)]


def check_options(options: Any) -> None:
    """Check each field of an options dataclass against its bounds and choices.

    Raises:
        OptionError: naming the option, what was found and what was wanted.
    """
    for name, (kind, option) in declared_options(type(options)).items():
        value = getattr(options, name)
        choices = choices_of(kind)
        flag = flags_of(name, option)[-1]
        if value is None:
            continue
        if get_origin(kind) is tuple and not isinstance(value, tuple):
            raise OptionError(f"{flag}: found {value!r}, but it must be a list")
        choices += sorted(option.others) if choices else []
        if choices and value not in choices:
            raise OptionError(f"{flag}: found {value!r}, but it must be one of {', '.join(map(str, choices))}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            complaint = option.complaint(value)
            if complaint:
                raise OptionError(f"{flag}: found {value:g}, but it {complaint}")
            if not math.isfinite(value):
                raise OptionError(f"{flag}: found {value:g}, but it must be a finite number")


class Checked:
    """A dataclass of options, checked when it is made."""

    def __post_init__(self) -> None:
        """Check bounds and choices. Raises OptionError."""
        check_options(self)


def refuse_ineffective(flag: str, given: bool, needed: str) -> None:
    """Refuse an option that would do nothing.

    Args:
        flag: the option, or several.
        given: whether it is.
        needed: what it needs.

    Raises:
        IdleOptionError: where it is given without that.
    """
    if given:
        message = f"{flag}: found without {needed}, where it would do nothing; add that or leave this out"
        raise IneffectiveOptionError(message, flags=re.findall(r"--[a-z-]+", flag))


def refuse_both(flag: str, given: bool, other: str) -> None:
    """Refuse an option beside another that excludes it. Raises OptionError."""
    if given:
        raise OptionError(f"{flag}: found together with {other}, but they exclude each other; leave one out")


def refuse_all(given: dict[str, bool], other: str) -> None:
    """Refuse each of some options beside another that excludes it.

    Args:
        given: whether each is, by flag.

    Raises:
        OptionError: for the first that is.
    """
    for flag, is_given in given.items():
        refuse_both(flag, is_given, other)


Group = TypeVar("Group")


def pick(group: type[Group], given: OptionValues) -> Group:
    """Make a dataclass from those of the given values that are its fields."""
    names = {field.name for field in fields(group)}  # type: ignore[arg-type]
    return group(**{name: value for name, value in given.items() if name in names})


def chosen(options: Any) -> OptionValues:
    """Return those values of an options dataclass that are not its defaults."""
    return {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if getattr(options, field.name) != field.default
    }


def as_json(options: Any) -> OptionValues:
    """Return an options dataclass as plain JSON values."""
    return asdict(options)


def with_tuples(given: Mapping[str, object], known: Collection[str]) -> dict[str, Any]:
    """Return arguments with tuples for lists and the like, which is what options hold.

    Args:
        known: the names that there are.

    Raises:
        OptionError: for another name, with the nearest.
    """
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise OptionError(f"{name}: no such option{f'; did you mean {near[0]}?' if near else ''}")
    return {
        name: value if isinstance(value, str) or not isinstance(value, Sequence) else tuple(value)
        for name, value in given.items()
    }
