"""Options: fields of dataclasses, with type, default, bounds and help text, and their checks.

Only the standard library is imported here and in `config`, so that `--help` is fast.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from charnn.errors import OptionError, UnusedOptionError

LARGEST_FLOAT = 3e38
"""About the largest number in single precision."""
LARGEST_INTEGER = 2**63 - 1
"""The largest integer that torch and NumPy hold."""
LONGEST_SHOWN = 100
"""Characters of a value in a message."""
OptionValues = dict[str, object]
"""Options by field name, as set by a command line or a recipe: the arguments of a dataclass of options."""


@dataclass(frozen=True)
class Option:
    """The properties of an option beyond its type and default.

    Args:
        help: one sentence for `--help` and the option reference.
        flags: its flags; `--field-name` if empty.
        at_least, above, at_most, below: bounds of a number.
        automatic: how the value is determined if the default is None.
        others: further choices, registered at run time.
        panel: heading under which `--help-all` lists it.
        common: whether `--help` lists it.
        metavar: placeholder of the value in the help; by type if empty.
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
        wanted = [f"{words} {in_full(bound)}" for bound, words, _ in bounds if bound is not None]
        within = all(holds for bound, _, holds in bounds if bound is not None)
        return None if within else f"must be {' and '.join(wanted)}"


def in_full(value: float) -> str:
    """Return a number in decimal notation, with as many digits as distinguish it for a reader."""
    return str(value) if isinstance(value, int) else f"{value:.15g}"


def flags_of(name: str, option: Option) -> tuple[str, ...]:
    """Return the flags of an option, the long form last."""
    return option.flags or ("--" + name.replace("_", "-"),)


@cache
def declared_options(group: type) -> Mapping[str, tuple[Any, Option]]:
    """Return `{field name: (type, Option)}` for a dataclass of options."""
    declared = {}
    for name, hint in get_type_hints(group, include_extras=True).items():
        if get_origin(hint) is Annotated:
            kind, option = get_args(hint)
            declared[name] = (kind, option)
    return declared


def choices_of(kind: Any) -> list[Any]:
    """Return the values of a Literal type, alone or in a union."""
    return [choice for part in (kind, *get_args(kind)) if get_origin(part) is Literal for choice in get_args(part)]


_TYPES: dict[Any, tuple[Any, str]] = {
    bool: (bool, "true or false"),
    int: (Integral, "an integer"),
    float: (Real, "a number"),
    str: (str, "a string"),
}
"""What is accepted for each type of an option, which NumPy's numbers are too, and what it is called."""


def _unmet_type(kind: Any, value: Any) -> str | None:
    """Return what a value must be, or None if it has a type of the option."""
    if get_origin(kind) is tuple:
        accepted, name = _TYPES[get_args(kind)[0]]
        return None if all(isinstance(each, accepted) for each in value) else f"a list in which each element is {name}"
    kinds = [part for part in (get_args(kind) or (kind,)) if part in _TYPES]
    is_flag = isinstance(value, bool)
    if any(isinstance(value, _TYPES[part][0]) and is_flag == (part is bool) for part in kinds):
        return None
    return " or ".join(_TYPES[part][1] for part in kinds)


def shown(value: object) -> str:
    """Return a value as Python writes it, in one line and not too long for a message."""
    text = " ".join(repr(value).split("\n"))
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def checked_text(text: object, name: str) -> str:
    """Return an argument that must be a string. Raises OptionError."""
    if not isinstance(text, str):
        raise OptionError(f"{name}: found {shown(text)}, but it must be a string")
    return text


def checked_texts(texts: object, name: str) -> list[str]:
    """Return an argument that must be a list, or another iterable, of strings, but no string. Raises OptionError."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise OptionError(f"{name}: found {shown(texts)}, but it must be a list of strings")
    return [checked_text(text, name) for text in texts]


def checked_files(files: object, name: str) -> list[str]:
    """Return the names of one file or several, given as strings or paths. Raises OptionError."""
    several = files if isinstance(files, Iterable) and not isinstance(files, (str, bytes)) else [files]
    for file in (names := list(several)):
        if not isinstance(file, (str, PurePath)):
            raise OptionError(f"{name}: found {shown(file)}, but it must be a string or a path, or a list of these")
    return [str(file) for file in names]


@cache
def _declared_choices(group: type) -> Sequence[tuple[str, Any, Option, Sequence[Any]]]:
    return [(name, kind, option, choices_of(kind)) for name, (kind, option) in declared_options(group).items()]


def check_options(options: Any) -> None:
    """Check each field of an options dataclass against its bounds and choices.

    Raises:
        OptionError: naming the option, its value and what is allowed.
    """
    group: type = type(options)
    for name, kind, option, declared_choices in _declared_choices(group):
        value = getattr(options, name)
        if value is None and type(None) in get_args(kind):
            continue
        choices = list(declared_choices)
        flag = flags_of(name, option)[-1]
        if get_origin(kind) is tuple and not isinstance(value, tuple):
            raise OptionError(f"{flag}: found {shown(value)}, but it must be a list")
        if not choices and (wanted := _unmet_type(kind, value)):
            raise OptionError(f"{flag}: found {shown(value)}, but it must be {wanted}")
        choices += sorted(option.others) if choices else []
        if choices and not (isinstance(value, str) and value in choices):
            raise OptionError(f"{flag}: found {shown(value)}, but it must be one of {', '.join(map(str, choices))}")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and (complaint := _complaint(option, value)):
            raise OptionError(f"{flag}: found {in_full(value)}, but {complaint}")


def _complaint(option: Option, value: float) -> str | None:
    """Return what is wrong with a number, for this option or for any, or None."""
    if complaint := option.complaint(value):
        return f"it {complaint}"
    if isinstance(value, int):
        return None if abs(value) <= LARGEST_INTEGER else f"its absolute value must be at most {LARGEST_INTEGER}"
    if not math.isfinite(value):
        return "it must be a finite number"
    return None if abs(value) <= LARGEST_FLOAT else f"its absolute value must be at most {in_full(LARGEST_FLOAT)}"


class Checked:
    """A dataclass of options, checked on construction."""

    def __post_init__(self) -> None:
        """Check bounds and choices. Raises OptionError."""
        check_options(self)


def refuse_unused(flag: str, is_unused: bool, needed: str) -> None:
    """Refuse an option that has no effect.

    Args:
        flag: the option, or several.
        is_unused: whether it is set although it has no effect.
        needed: what it requires.

    Raises:
        UnusedOptionError: if it is unused.
    """
    if is_unused:
        message = f"{flag}: has no effect without {needed}; add that or leave this out"
        raise UnusedOptionError(message, flags=re.findall(r"--[a-z-]+", flag))


def refuse_both(flag: str, are_both_set: bool, other: str) -> None:
    """Refuse two options that exclude each other. Raises OptionError."""
    if are_both_set:
        raise OptionError(f"{flag}: cannot be combined with {other}; leave one out")


def refuse_all(flags: dict[str, bool], other: str) -> None:
    """Refuse options that exclude another one.

    Args:
        flags: whether each is set, by flag.

    Raises:
        OptionError: for the first that is set.
    """
    for flag, is_set in flags.items():
        refuse_both(flag, is_set, other)


_NAMES_ELSEWHERE = {
    "batch-size": "batch bs minibatch",
    "beam": "beams num-beams beam-size beam-width",
    "bptt": "seq-len seq-length sequence-length block-size context-length context window unroll",
    "cell": "rnn rnn-type rnn-cell model-type arch architecture",
    "clip-norm": "clip grad-clip clip-grad gradient-clip max-grad-norm max-norm",
    "device": "gpu cuda",
    "embedding-size": "emb emb-size emb-dim embed embedding embedding-dim emsize ninp n-embd",
    "epochs": "epoch max-epochs num-epochs",
    "hidden-size": "hidden hidden-dim hidden-units rnn-size nhid units n-hidden",
    "learning-rate": "lr rate step-size",
    "length": "n num-tokens tokens num-chars max-length max-len max-new-tokens max-tokens",
    "minutes": "time max-time max-minutes",
    "num-layers": "layers nlayers n-layers n-layer depth",
    "num-samples": "samples n-samples num num-return-sequences",
    "output": "out outfile out-dir output-dir output-file save save-dir",
    "overwrite": "force",
    "precision": "dtype fp16 bf16 fp32 amp",
    "schedule": "scheduler lr-schedule lr-scheduler",
    "steps": "max-steps num-steps iters iterations max-iters",
    "temperature": "temp",
    "tie-weights": "tied tie tie-embeddings",
    "tokenizer": "level",
    "top-p": "nucleus topp",
    "valid": "val dev valid-file validation",
    "vocab-size": "vocab max-vocab",
    "weight-decay": "wd wdecay l2",
}
"""What other tools call an option, by its name here."""
_SYNONYMS = {other: name for name, others in _NAMES_ELSEWHERE.items() for other in others.split()}


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant; None if there is none.

    That is the one for what other tools call so (`lr`), the most similar one, or the one that a name abbreviates (`tk`).

    Args:
        name: as the user wrote it: `--top_k`, `topk`.
        known: the valid names, as flags or as arguments.
    """
    plain = {each.lstrip("-").replace("_", "-"): each for each in known}
    wanted = name.lstrip("-").lower().replace("_", "-")
    if not wanted:
        return None
    if _SYNONYMS.get(wanted) in plain:
        return plain[_SYNONYMS[wanted]]
    close = get_close_matches(wanted, plain, n=1) or [
        each for each in plain if each.startswith(wanted) or "".join(part[:1] for part in each.split("-")) == wanted
    ]
    return plain[close[0]] if close else None


Group = TypeVar("Group")


def pick(group: type[Group], values: OptionValues) -> Group:
    """Make a dataclass from those values that are its fields."""
    names = {field.name for field in fields(group)}  # type: ignore[arg-type]
    return group(**{name: value for name, value in values.items() if name in names})


def with_values(options: Group, values: OptionValues) -> Group:
    """Return options with other values of some fields, which are checked."""
    return replace(options, **values)  # type: ignore[type-var]


def chosen(options: Any) -> OptionValues:
    """Return the values of an options dataclass that differ from the defaults."""
    return {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if getattr(options, field.name) != field.default
    }


def as_json(options: Any) -> OptionValues:
    """Return an options dataclass as JSON values."""
    return asdict(options)


def with_tuples(arguments: Mapping[str, object], known: Collection[str]) -> OptionValues:
    """Return keyword arguments with sequences converted to tuples, as options require, and NumPy's numbers to Python's.

    Args:
        arguments: by name.
        known: the valid names.

    Raises:
        OptionError: for an unknown name, with the closest valid one.
    """
    for name in arguments:
        if name not in known:
            near = nearest_name(name, known)
            raise OptionError(f"{name}: no such option{f'; did you mean {near}?' if near else ''}")
    return {
        name: _plain(value) if isinstance(value, str) or not isinstance(value, Sequence) else tuple(map(_plain, value))
        for name, value in arguments.items()
    }


def _plain(value: object) -> object:
    """Return a number of NumPy or torch as Python's, which JSON can hold; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
