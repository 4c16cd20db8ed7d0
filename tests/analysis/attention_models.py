"""Models with attention: one on disk, and one made by hand that finds what followed the last time."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from charnn.analysis.subjects import Subject
from charnn.cells.attention import attention_shapes
from charnn.config import Architecture
from charnn.storage.model_directory import Model, read_model, write_model


def add_attention(run: Path, *, window: int = 12) -> Path:
    """Give a model attention whose weights are no trained ones."""
    model = read_model(run)
    shape = replace(model.architecture, attention_window=window, attention_size=4)
    weights = dict(model.weights)
    for number, (name, size) in enumerate(attention_shapes(shape).items()):
        weights[name] = (0.4 * np.sin(0.7 * np.arange(np.prod(size)) + number)).astype(np.float32).reshape(size)
    model.config.architecture = shape
    write_model(run, model.config, weights, generation=model.generation)
    return run


def finding_model(model: Model, *, window: int = 40) -> Model:
    """Return a model whose output is the last token, which attends to positions that came after the same token.

    Query, key and value are the token as a one-hot vector, after the layer norm; queries and keys are scaled so that one
    that matches has all the weight. What is attended to raises the logit of its token.
    """
    size = model.architecture.vocab_size
    eye, nothing = np.eye(size, dtype=np.float32), np.zeros((size, size), dtype=np.float32)
    weights = {
        "layers.0.weight_ih": 2 * eye,
        "layers.0.weight_hh": nothing,
        "layers.0.bias_ih": nothing[0],
        "layers.0.bias_hh": nothing[0],
        "output.weight": eye,
        "output.bias": nothing[0],
        "attention.norm_weight": eye.sum(0),
        "attention.norm_bias": nothing[0],
        "attention.weight": np.concatenate((3 * eye, 3 * eye, eye, nothing)),
        "attention.bias": np.repeat(np.array([0, 0, 0, 20], dtype=np.float32), size),
        "attention.output": 3 * eye,
    }
    shape = Architecture("rnn", size, size, size, 1, inputs="one-hot", attention_window=window, attention_size=size)
    return replace(model, architecture=shape, weights=weights)


def finding_subject(run: Path, text: str) -> Subject:
    """Return a model made by hand that reads a text."""
    model = finding_model(read_model(run))
    return Subject("by hand", model, model.tokenizer.encode(text).astype(np.int64), "a text")
