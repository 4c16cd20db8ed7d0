"""Models to export that need no training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from charnn.cells.word_prefix import codes_of
from charnn.config import Architecture, TextOptions
from charnn.errors import ModelError
from charnn.storage.model_directory import Model, read_model, write_model
from charnn.text.tokenizers import Tokenizer
from tests.conftest import ramp_weights, trained_tokenizer

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "lstm": {"num_layers": 2},
    "lstm-ngrams": {"embedding_order": 3},
    "lstm-extended": {"embedding_order": 3, "ngram_table_sizes": (31, 67), "ngram_vocab_size": 7},
    "lstm-words": {"embedding_order": 3, "word_rows": 97},
    "gru-words-alone": {"cell": "gru", "word_rows": 97},
    "lstm-tied": {"tie_weights": True, "num_layers": 2},
    "lstm-one-hot": {"inputs": "one-hot", "initial_state": "learned"},
    "lstm-skip": {"skip": 3, "initial_state": "learned"},
    "gru": {"cell": "gru", "num_layers": 3, "residual": True},
    "rnn": {"cell": "rnn"},
    "rnn-relu": {"cell": "rnn", "nonlinearity": "relu", "skip": 2},
    "leaky": {"cell": "leaky", "num_layers": 2},
    "mlstm": {"cell": "mlstm", "skip": 2},
    "mogrifier": {"cell": "mogrifier", "mogrifier_rounds": 5, "num_layers": 2},
    "mogrifier-rank": {"cell": "mogrifier", "mogrifier_rounds": 4, "mogrifier_rank": 3, "embedding_order": 2},
    "mogrifier-one-hot": {"cell": "mogrifier", "mogrifier_rounds": 2, "inputs": "one-hot"},
    "depth-lstm": {"cell": "depth-lstm", "num_layers": 3, "residual": True, "initial_state": "learned"},
    "depth-lstm-skip": {"cell": "depth-lstm", "num_layers": 2, "skip": 2},
    "mingru": {"cell": "mingru", "num_layers": 2, "residual": True},
    "minlstm": {"cell": "minlstm", "num_layers": 2, "embedding_order": 2},
    "lstm-attention": {"embedding_order": 3, "attention_window": 100, "attention_size": 5},
    "gru-attention": {"cell": "gru", "num_layers": 2, "residual": True, "attention_window": 18, "attention_size": 4},
}
"""Every cell, and every option of a network, at least once."""


def untrained_model(text: str, options: TextOptions | None = None, *, name: str = "untrained", **shape: Any) -> Model:
    """Return a model that is not on disk: its vocabulary is that of a text, its weights are the same on every machine."""
    return model_of(trained_tokenizer(options or TextOptions(tokenizer="char"), text), name=name, **shape)


def add_attention(run: Path, window: int = 6) -> None:
    """Give the network of a trained model attention with weights that are not of training."""
    model = read_model(run)
    architecture = replace(model.architecture, attention_window=window, attention_size=5)
    weights = {**ramp_weights(architecture, 0.2), **model.weights}
    write_model(run, replace(model.config, architecture=architecture), weights, generation=model.generation)


def model_of(tokenizer: Tokenizer, *, name: str = "untrained", **shape: Any) -> Model:
    """Return a model with this tokenizer."""
    sizes = {"cell": "lstm", "embedding_size": 6, "hidden_size": 10, "num_layers": 1, **shape}
    if sizes.get("word_rows"):
        sizes["word_codes"] = codes_of(tokenizer.vocabulary.tokens)
    architecture = Architecture(vocab_size=len(tokenizer.vocabulary), **sizes)

    def read_config():
        raise ModelError(f"{name}/config.json: there is none")

    return Model(Path(name), architecture, tokenizer, ramp_weights(architecture), 0, "", read_config)
