"""A model's state after a long prompt, saved in a file, so that the prompt need not be read again."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from charnn.errors import ModelError
from charnn.files import sha256_hex, write_output
from charnn.inference.engine import EngineState
from charnn.inference.prompt import PromptState
from charnn.storage.checkpoint import FORMAT_VERSION, packed_tensors, read_tensors
from charnn.storage.model_directory import Model

_NAME = "state.{}.{}"


class SavedPrompt(NamedTuple):
    """A prompt and the model's state after it, or after its beginning.

    Args:
        text: the prompt; None in files of older versions.
        state: after as much of it as does not depend on what follows it.
    """

    text: str | None
    state: PromptState


def save_prompt_state(path: Path, model: Model, state: PromptState, *, text: str) -> None:
    """Save a prompt and a model's state after it, or after its beginning. Raises StorageError.

    Example:
        >>> charnn.api.save_prompt_state(Path("prompt.state"), model.models[0], prompt_state, text="The fox")
    """
    tensors = {
        _NAME.format(layer, part): np.ascontiguousarray(array)
        for layer, parts in enumerate(state.state)
        for part, array in enumerate(parts)
    }
    tensors |= {"logits": np.ascontiguousarray(state.logits), "ids": np.array(state.ids, dtype=np.int64)}
    header = {
        "format_version": FORMAT_VERSION,
        "generation": model.generation,
        "weights_sha256": _weights_hash(model),
        "text": text.encode("utf-8", "surrogateescape").hex(),  # JSON holds no bytes that are not UTF-8
    }
    write_output(path, packed_tensors(tensors, header))


def load_prompt_state(path: Path, model: Model, initial_state: EngineState) -> SavedPrompt:
    """Read what `save_prompt_state` wrote.

    Args:
        initial_state: of the model, for the shapes.

    Raises:
        ModelError: where the file is missing, damaged, of another model, or no such file.
    """
    if path.is_dir():
        raise ModelError(f"{path}: is a directory; name a file that --save-state wrote")
    if not path.exists():
        raise ModelError(f"{path}: no such file (looked in {Path.cwd()}); make one with --save-state")
    try:
        tensors, header = read_tensors(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ModelError as error:
        reason = str(error).removeprefix(f"{path}: ").partition("; ")[0]
        raise ModelError(
            f"{path}: is not a saved hidden state ({reason}); name a file that --save-state wrote"
        ) from error
    if "weights_sha256" not in header:
        raise ModelError(f"{path}: is not a saved hidden state; name a file that --save-state wrote")
    if header["weights_sha256"] != _weights_hash(model):
        raise ModelError(
            f"{path}: is the hidden state of another model, or of this one before it was trained further, not of {model.path}; "
            "read the prompt again with --save-state"
        )
    names = [[_NAME.format(layer, part) for part in range(len(parts))] for layer, parts in enumerate(initial_state)]
    wanted = {
        name: array.shape
        for row, parts in zip(names, initial_state, strict=True)
        for name, array in zip(row, parts, strict=True)
    }
    found = {name: array.shape for name, array in tensors.items() if name not in ("logits", "ids")}
    if found != wanted or "logits" not in tensors or "ids" not in tensors:
        raise ModelError(
            f"{path}: does not hold the state that this model has; read the prompt again with --save-state"
        )
    state = tuple(tuple(tensors[name] for name in row) for row in names)
    text = header.get("text")
    return SavedPrompt(
        None if text is None else bytes.fromhex(text).decode("utf-8", "surrogateescape"),
        PromptState(tensors["ids"].tolist(), tensors["logits"], state),
    )


def _weights_hash(model: Model) -> str:
    return sha256_hex(*(np.ascontiguousarray(model.weights[name]).tobytes() for name in sorted(model.weights)))
