"""What several commands begin with: finding and reading a model, and the text that the user gave."""

from typing import TYPE_CHECKING

from charnn.cli.output import console
from charnn.errors import CharnnError, TextError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from charnn.config import ScoreOptions
    from charnn.config.model import Direction
    from charnn.ngrams.mixture import Mixture
    from charnn.storage.model_directory import Model
    from charnn.text.tokenizers import Tokenizer


def load_model(given: str | None) -> "Model":
    """Read the model that was named, or the newest, and say which one was taken."""
    from charnn.storage.model_directory import find_model, read_model

    path = find_model(given)
    if given is None:
        console.notice(f"taking the newest model, {path}")
    return read_model(path)


def load_models(named: "Sequence[str]") -> "list[Model]":
    """Read several models, each in the direction of its own."""
    from charnn.storage.model_directory import find_model, read_model

    return [read_model(find_model(each)) for each in named]


def load_directed(given: str | None, direction: "Direction | None") -> "list[Model]":
    """Read the models that read in a direction (see `read_directed`), and say which directory was taken."""
    from charnn.storage.model_directory import find_model, read_directed

    path = find_model(given)
    if given is None:
        console.notice(f"taking the newest model, {path}")
    return read_directed(path, direction)


def load_mixture(model: "Model", wanted: bool) -> "Mixture | None":
    """Read the n-gram model beside a model's network, where the user asks to mix them."""
    if not wanted:
        return None
    from charnn.storage.model_directory import read_mixture

    return read_mixture(model)


def require_gpu() -> None:
    """Raise CharnnError where torch has no GPU to use."""
    import torch

    if not torch.cuda.is_available():
        raise CharnnError("--device cuda: found no CUDA device that torch can use; pass --device cpu, or leave it out")


def read_units(files: list[str], tokenizer: "Tokenizer | None", options: "ScoreOptions") -> "Iterator[str]":
    """Yield the units of some texts: lines, documents, or pieces of one running text that end at line ends.

    Args:
        tokenizer: one of bytes wants them as they are; None for text in any case.
    """
    from charnn.text.reading import documents, find_sources, lines, read_text, whole_lines
    from charnn.text.tokenizers import text_encoding

    sources = find_sources(files, console.notice)
    encoding = options.encoding if tokenizer is None else text_encoding(tokenizer, options.encoding)
    chunks = read_text(sources, encoding, console.notice)
    cut = {"line": lines, "document": documents, "stream": whole_lines}[options.unit]
    return cut(chunks)


def read_prompt(text: str | None, file: str | None, tokenizer: "Tokenizer", encoding: str) -> str:
    """Return the text given as an argument, - for standard input, or in a file; a file's final line end does not count."""
    if text == "-":
        file = "-"
    if file is None:
        return text or ""
    return "".join(_chunks(file, tokenizer, encoding)).removesuffix("\n")


def read_prompts(file: str, tokenizer: "Tokenizer", encoding: str) -> list[str]:
    """Return the lines of a file, - for standard input, each a prompt.

    Raises:
        TextError: where there is none.
    """
    from charnn.text.reading import lines

    found = list(lines(_chunks(file, tokenizer, encoding)))
    if not found:
        raise TextError(f"{file}: holds no line; write at least one")
    return found


def _chunks(file: str, tokenizer: "Tokenizer", encoding: str) -> "Iterator[str]":
    from pathlib import Path

    from charnn.text.reading import find_sources, read_text
    from charnn.text.tokenizers import text_encoding

    if Path(file).is_dir():
        raise TextError(f"{file}: is a directory; name a file")
    return read_text(find_sources([file], console.notice), text_encoding(tokenizer, encoding))
