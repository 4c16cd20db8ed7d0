"""Recipes: published settings with their sources, and files of the same format by users."""

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
    """Settings of a published model, or of a user.

    Args:
        name: stem of its file.
        about: one-line description.
        source: publication of the settings.
        guess: settings that the publication does not specify; may be empty.
        needs_gpu: whether training takes days without a GPU.
        options: values by field name (see `charnn.config`).
    """

    name: str
    about: str
    source: str
    guess: str
    needs_gpu: bool
    options: OptionValues


def recipe_names() -> list[str]:
    """Return the names of the recipes in charnn, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def load_recipe(name: str) -> Recipe:
    """Read a recipe of charnn by name, or a .toml file.

    Raises:
        OptionError: if it does not exist, or contains an unknown option, naming the file and the key.
    """
    if name.endswith(_SUFFIX):
        path = Path(name)
        if not path.is_file():
            raise OptionError(f"--recipe: no such file {name}; check the path, or name one that charnn recipes lists")
        return _parsed(path.stem, name, path.read_bytes())
    names = recipe_names()
    if name not in names:
        near = get_close_matches(name, names, 1)
        meant = f"did you mean {near[0]}" if near else f"it must be one of {', '.join(names)}, or a .toml file"
        raise OptionError(f"--recipe: found {name!r}, but {meant}{'?' if near else ''}")
    file = resources.files(__name__) / f"{name}{_SUFFIX}"
    return _parsed(name, f"recipe {name}", file.read_bytes())


def _parsed(name: str, where: str, content: bytes) -> Recipe:
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{where}: is not valid TOML ({error}); see the recipes of charnn for the format") from error
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
            raise OptionError(f"{where}: found {key!r}, which is not an option of this table{meant}")
        options[declared[key]] = _check_kind(where, key, value, kinds[declared[key]])
    return options


def _check_kind(where: str, key: str, value: Any, declared: Any) -> Any:
    """Return a value in the type of its option: whole numbers are converted to float. Choices and bounds are checked later."""
    kinds = [kind for kind in get_args(declared) or (declared,) if kind is not NoneType]
    plain = [kind if kind in _KINDS else str for kind in kinds]
    if float in plain and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) not in plain:
        raise OptionError(f"{where}: {key} = {value!r}, but it must be {_KINDS[plain[0]]}; correct it")
    return value
