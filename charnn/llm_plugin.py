"""A plugin of llm (the command line for language models by Simon Willison): `llm -m charnn/NAME` continues a text.

It lists the models in `runs/` and those that the environment variable CHARNN_MODELS names. A model runs in llm's own process,
on NumPy. It is loaded when it is prompted, so that other llm commands stay fast.
"""

import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, get_origin

import llm
from llm.parts import TextPart
from pydantic import Field, create_model

import charnn.api
from charnn.config.sampling import ConstraintOptions, PromptOptions, StoppingOptions, TokenSelectionOptions
from charnn.errors import CharnnError, in_terms_of_arguments
from charnn.options import declared_options

MODELS_VARIABLE = "CHARNN_MODELS"
DEFAULT_ROOT = Path("runs")
_NAMES = {"length": "max_tokens"}
"""Options that users of llm know by another name."""
_DECLARED = {
    name: declared
    for group in (TokenSelectionOptions, StoppingOptions, ConstraintOptions)
    for name, declared in declared_options(group).items()
} | {"on_unknown": declared_options(PromptOptions)["on_unknown"]}
"""The options of `charnn sample` that select tokens, constrain them, end the text or concern the prompt."""


def model_directories() -> dict[str, Path]:
    """Return the models by name, sorted by directory: those in `runs/`, then those that CHARNN_MODELS names.

    The variable lists model directories, or directories of them, separated as in PATH. A model's name is that of its directory,
    or its path if an earlier one has that name.
    """
    named: dict[str, Path] = {}
    roots = [DEFAULT_ROOT, *map(Path, filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)))]
    configs = [config for root in roots for config in (*root.glob("config.json"), *sorted(root.glob("*/config.json")))]
    for path in (config.parent for config in configs):
        name = path.resolve().name
        if not name.startswith("."):
            free = (each for each in (name, str(path), str(path.resolve())) if named.get(each, path) == path)
            named[next(free)] = path
    return named


@llm.hookimpl
def register_models(register: Callable[..., None]) -> None:
    """Register the models."""
    for name, path in model_directories().items():
        register(CharnnModel(name, path))


def _sampling_options() -> Any:
    """Return llm's class of options. Values from its command line are strings, which pydantic converts."""
    fields: dict[str, Any] = {}
    for name, (kind, option) in _DECLARED.items():
        bounds = {"ge": option.at_least, "gt": option.above, "le": option.at_most, "lt": option.below}
        known: dict[str, Any] = {key: bound for key, bound in bounds.items() if bound is not None}
        field = Field(default=None, description=in_terms_of_arguments(option.help), **known)
        fields[_NAMES.get(name, name)] = ((str | list[str] if _is_list(kind) else kind) | None, field)
    return create_model("Options", __base__=llm.Options, **fields)


def _as_arguments(options: Any) -> dict[str, Any]:
    """Return the options that are set, as `LanguageModel.stream` takes them."""
    arguments = {name: getattr(options, _NAMES.get(name, name)) for name in _DECLARED}
    return {
        name: (value,) if _is_list(_DECLARED[name][0]) and isinstance(value, str) else value
        for name, value in arguments.items()
        if value is not None
    }


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple


class CharnnModel(llm.Model):
    """A model that continues the prompt.

    Args:
        name: llm calls it `charnn/NAME`.
        path: its directory.
    """

    can_stream = True
    Options = _sampling_options()

    def __init__(self, name: str, path: Path) -> None:
        self.model_id = f"charnn/{name}"
        self._path = path.absolute()

    @cached_property
    def _model(self) -> "charnn.api.LanguageModel":
        return charnn.api.load(self._path)

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,  # noqa: ARG002 (llm joins the pieces)
        response: llm.Response,  # noqa: ARG002
        conversation: llm.Conversation | None,  # noqa: ARG002 (the prompt has its messages)
    ) -> Iterator[str]:
        """Yield the continuation piece by piece; in a conversation, of all that was said before, too."""
        try:
            yield from self._model.stream(_text_of(prompt), **_as_arguments(prompt.options))
        except CharnnError as error:
            raise llm.ModelError(in_terms_of_arguments(str(error))) from error


def _text_of(prompt: llm.Prompt) -> str:
    """Return the text to continue: a reply follows its prompt directly, the next prompt begins a line.

    Raises:
        llm.ModelError: if there is a system prompt, which nothing in such a model's training stands for.
    """
    if prompt.system:
        raise llm.ModelError(
            "system prompts: found one, but charnn's models only continue a text; put it into the prompt"
        )
    text = ""
    for message in prompt.messages:
        part = "".join(part.text for part in message.parts if isinstance(part, TextPart))
        text += "\n" + part if message.role == "user" and text and part else part
    return text
