"""What several commands begin with: finding and reading a model, and the text that the user gave."""

from typing import TYPE_CHECKING

from charnn.cli import console
from charnn.errors import OptionError

if TYPE_CHECKING:
    from charnn.config.model import Direction
    from charnn.model_directory import Model
    from charnn.ngrams.mixture import Mixture
    from charnn.text.tokenizers import Tokenizer


def load_model(given: str | None) -> "Model":
    """Read the model that was named, or the newest, and say which one was taken."""
    from charnn.model_directory import find_model, read_model

    path = find_model(given)
    if given is None:
        console.notice(f"taking the newest model, {path}")
    return read_model(path)


def load_directed(given: str | None, direction: "Direction | None") -> "list[Model]":
    """Read the models that read in a direction (see `read_directed`), and say which directory was taken."""
    from charnn.model_directory import find_model, read_directed

    path = find_model(given)
    if given is None:
        console.notice(f"taking the newest model, {path}")
    return read_directed(path, direction)


def load_mixture(model: "Model", wanted: bool) -> "Mixture | None":
    """Read the n-gram model beside a model's network, where the user asks to mix them."""
    if not wanted:
        return None
    from charnn.model_directory import read_mixture

    return read_mixture(model)


def read_prompt(text: str | None, file: str | None, tokenizer: "Tokenizer", encoding: str) -> str:
    """Return the text given as an argument or in a file; a file's final line end does not count."""
    if text is not None and file is not None:
        raise OptionError("--prompt-file: found together with a PROMPT, but they exclude each other; leave one out")
    if file is None:
        return text or ""
    from charnn.text.reading import find_sources, read_text
    from charnn.text.tokenizers import text_encoding

    chunks = read_text(find_sources([file], console.notice), text_encoding(tokenizer, encoding))
    return "".join(chunks).removesuffix("\n")
