"""Recipes: files of options with published settings and their source, and a user's own of the same form."""

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.errors import OptionError
from charnn.options import OptionValues, declared_options, flags_of

TABLES = {"text": TextOptions, "model": ModelOptions, "training": TrainingOptions}
FACTS = {"about": str, "source": str, "guess": str, "gpu": bool}
_SUFFIX = ".toml"
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Recipe:
    """Settings of a published model, or a user's own.

    Args:
        name: that of its file.
        about: one line.
        source: where the settings stand.
        guess: which of them do not stand there and are charnn's own, or nothing.
        needs_gpu: whether a processor would take days for it.
        options: values by field name (see `charnn.config`).
    """

    name: str
    about: str
    source: str
    guess: str
    needs_gpu: bool
    options: OptionValues


def recipe_names() -> list[str]:
    """Return the names of charnn's own recipes, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def load_recipe(given: str) -> Recipe:
    """Read one of charnn's own recipes by its name, or a file that ends in .toml.

    Raises:
        OptionError: where there is none, or where it says what is no option, naming the file and the line's key.
    """
    if given.endswith(_SUFFIX):
        path = Path(given)
        if not path.is_file():
            raise OptionError(f"--recipe: found no file {given}; check the path, or name one that charnn recipes lists")
        return _parsed(path.stem, given, path.read_bytes())
    names = recipe_names()
    if given not in names:
        near = get_close_matches(given, names, 1)
        meant = (
            f"did you mean {near[0]}" if near else f"it must be one of {', '.join(names)}, or a file that ends in .toml"
        )
        raise OptionError(f"--recipe: found {given!r}, but {meant}{'?' if near else ''}")
    file = resources.files(__name__) / f"{given}{_SUFFIX}"
    return _parsed(given, f"recipe {given}", file.read_bytes())


def _parsed(name: str, where: str, content: bytes) -> Recipe:
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{where}: is no TOML ({error}); see charnn's own recipes for the form") from error
    facts = {key: tables.pop(key) for key in FACTS if key in tables}
    for key, value in facts.items():
        _check_kind(where, key, value, FACTS[key])
    options: OptionValues = {}
    for table, values in tables.items():
        if table not in TABLES or not isinstance(values, dict):
            raise OptionError(
                f"{where}: found {table!r}, but a recipe has {', '.join(FACTS)} and the tables {', '.join(TABLES)}; "
                "put options into one of them"
            )
        options |= _options_of(f"{where}, [{table}]", values, TABLES[table])
    return Recipe(
        name, facts.get("about", ""), facts.get("source", ""), facts.get("guess", ""), facts.get("gpu", False), options
    )


def _options_of(where: str, values: OptionValues, group: type) -> OptionValues:
    """Return the options of one table by field name."""
    declared = {flags_of(name, option)[-1].lstrip("-"): name for name, (_, option) in declared_options(group).items()}
    kinds = {name: kind for name, (kind, _) in declared_options(group).items()}
    options = {}
    for key, value in values.items():
        if key not in declared:
            near = get_close_matches(key, declared, 1)
            meant = (
                f"; did you mean {near[0]}?"
                if near
                else "; see charnn train --help-all, without the dashes before the name"
            )
            raise OptionError(f"{where}: found {key!r}, which is no option of this table{meant}")
        options[declared[key]] = _check_kind(where, key, value, kinds[declared[key]])
    return options


def _check_kind(where: str, key: str, value: Any, declared: Any) -> Any:
    """Return a value as its option has it: whole numbers are numbers too. Choices and bounds are checked later."""
    kinds = [kind for kind in get_args(declared) or (declared,) if kind is not NoneType]
    plain = [kind if kind in _KINDS else str for kind in kinds]
    if float in plain and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) not in plain:
        raise OptionError(f"{where}: {key} = {value!r}, but it must be {_KINDS[plain[0]]}; correct it")
    return value
