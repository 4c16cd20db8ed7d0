"""A directory for Hugging Face transformers: weights, configuration, tokenizer, and the code of the model."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import GenerationConfig
from transformers.utils import logging as transformers_logging

from charnn.cells import CELL_NAMES
from charnn.errors import ModelError
from charnn.export.configuration_charnn import CharnnConfig
from charnn.export.hf_tokenizer import make_fast_tokenizer
from charnn.export.modeling_charnn import CharnnForCausalLM
from charnn.files import explain_write_errors, staging_directory
from charnn.storage.model_directory import Model

CODE = sorted(Path(__file__).parent.glob("*_charnn.py"))
"""The files that are copied."""


def write(model: Model, target: Path) -> None:
    """Write a directory that `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained` open.

    Args:
        target: a directory that does not exist.

    Raises:
        ModelError: if the model reads from right to left, has a registered cell, or its tokenizer has no equivalent.
        StorageError: if the directory cannot be written.
    """
    _refuse_unsupported(model)
    tokenizer = make_fast_tokenizer(model)
    network = make_network(model, num_tokens=len(tokenizer), pad_token_id=int(tokenizer.pad_token_id))
    with staging_directory(target) as directory, explain_write_errors(target), _no_progress_bar():
        network.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        for file in CODE:
            (directory / file.name).write_bytes(file.read_bytes())
        mode = (directory / "config.json").stat().st_mode
        (directory / "model.safetensors").chmod(mode)  # otherwise nobody but the owner may read it


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Silence what transformers shows when it writes a file."""
    is_shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if is_shown:
            transformers_logging.enable_progress_bar()


def _refuse_unsupported(model: Model) -> None:
    if model.architecture.direction == "backward":
        raise ModelError(
            f"{model.path}: reads from right to left, which transformers has no text generation or scoring for; "
            "export a forward model"
        )
    if model.architecture.cell not in CELL_NAMES:
        raise ModelError(
            f"{model.path}: has the cell {model.architecture.cell!r}, whose code stands outside charnn; "
            f"only built-in cells can be exported: {', '.join(CELL_NAMES)}"
        )


def make_network(model: Model, *, num_tokens: int, pad_token_id: int) -> CharnnForCausalLM:
    """Return the network as a module of transformers.

    Args:
        num_tokens: tokens of the tokenizer, those of the network first.
        pad_token_id: id of its padding.
    """
    shape, vocabulary = model.architecture, model.tokenizer.vocabulary
    tables = [model.weights[f"embedding.{order}.weight"] for order in range(2, shape.embedding_order + 1)]
    bos_token_id = shape.vocab_size
    config = CharnnConfig(
        cell=shape.cell,
        vocab_size=num_tokens,
        num_network_tokens=shape.vocab_size,
        boundary_id=vocabulary.boundary_id,
        embedding_size=shape.embedding_size,
        hidden_size=shape.hidden_size,
        num_layers=shape.num_layers,
        tie_weights=shape.tie_weights,
        ngram_table_rows=[len(table) for table in tables],
        ngram_vocab_size=shape.ngram_vocab_size,
        word_table_rows=shape.word_rows,
        word_codes=shape.word_codes or (),
        inputs=shape.inputs,
        residual=shape.residual,
        skip=shape.skip,
        nonlinearity=shape.nonlinearity,
        mogrifier_rounds=shape.mogrifier_rounds,
        mogrifier_rank=shape.mogrifier_rank,
        initial_state=shape.initial_state,
        attention_window=shape.attention_window,
        attention_size=shape.attention_size,
        bos_token_id=bos_token_id,
        pad_token_id=pad_token_id,
    )
    config.auto_map = {
        "AutoConfig": "configuration_charnn.CharnnConfig",
        "AutoModelForCausalLM": "modeling_charnn.CharnnForCausalLM",
    }
    network = CharnnForCausalLM(config)
    weights = {_name_of(name): torch.tensor(array) for name, array in model.weights.items()}
    network.load_state_dict(weights)
    network.generation_config = GenerationConfig(
        bos_token_id=bos_token_id,
        pad_token_id=pad_token_id,
        eos_token_id=None if model.tokenizer.unit == "stream" else vocabulary.boundary_id,
        suppress_tokens=None if vocabulary.unknown_id is None else [vocabulary.unknown_id],
    )
    network.eval()
    return network


def _name_of(name: str) -> str:
    """Return the name of a weight in the module."""
    if name == "output.bias":
        return "output_bias"
    if name == "embedding.word.weight":
        return "word_embedding.weight"
    first, _, rest = name.partition(".")
    order, _, last = rest.partition(".")
    return f"ngram_embeddings.{int(order) - 2}.{last}" if first == "embedding" and last else name
