"""`--to onnx`: a directory that ONNX Runtime runs without charnn.

`model.onnx` is the network; `model.json` is what a program needs beside it: the vocabulary, the token to read first, and the
initial state. The room's README describes both.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

from onnx import ModelProto, checker, helper

from charnn import __version__
from charnn.errors import CharnnError
from charnn.export.onnx_network import initial_state, network_graph, zero_state
from charnn.files import JsonObject, explain_write_errors, json_bytes, staging_directory
from charnn.storage.model_directory import Model
from charnn.text.bins import BinsTokenizer
from charnn.text.vocabulary import as_text

OPSET = 13
"""The first with the operators as they are used here (of 2020, with IR version 7)."""
IR_VERSION = 7
FORMAT_VERSION = 1
LARGEST_BYTES = (1 << 31) - (1 << 20)
"""Largest size of the weights: a message of protobuf has less than 2 GiB."""


def write(model: Model, target: Path) -> None:
    """Write a model as a directory for ONNX Runtime.

    Args:
        target: the directory, which does not exist.

    Raises:
        CharnnError: if the model is too large, or its cell is a registered one that ONNX cannot express.
        StorageError: if the directory cannot be written.
    """
    content = {"model.onnx": onnx_model(model).SerializeToString(), "model.json": json_bytes(description(model))}
    content |= {name: file for name, file in model.tokenizer.files().items() if name != "tokenizer.json"}
    with staging_directory(target) as staging, explain_write_errors(target):
        for name, file in content.items():
            with (staging / name).open("wb") as written:
                written.write(file)
                os.fsync(written.fileno())


def onnx_model(model: Model) -> ModelProto:
    """Return the network as an ONNX model. Raises CharnnError."""
    num_bytes = sum(array.nbytes for array in model.weights.values())
    if num_bytes > LARGEST_BYTES:
        raise CharnnError(
            f"{model.path}: its weights have {num_bytes / 2**30:.1f} GiB, but an ONNX file has at most 2 GiB; use --to hf"
        )
    made = helper.make_model(
        network_graph(model.architecture, model.weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="charnn",
        producer_version=__version__,
        doc_string="Reads ids (T, B); returns logits (T, B, V) and, for each state, its new value. See model.json.",
    )
    helper.set_model_props(made, _metadata(model))
    checker.check_model(made, full_check=True)
    return made


def _metadata(model: Model) -> dict[str, str]:
    """Return what the file says about itself where it is on its own."""
    facts = description(model)
    texts = {name: str(facts[name]) for name in ("charnn_version", "steps", "tokenizer", "unit")}
    values = {name: facts[name] for name in ("boundary_id", "unknown_id", "architecture")}
    return texts | {name: json.dumps(value) for name, value in values.items()}


def description(model: Model) -> JsonObject:
    """Return the content of `model.json`."""
    tokenizer, vocabulary = model.tokenizer, model.tokenizer.vocabulary
    state = initial_state(model.architecture, model.weights)
    return {
        "format_version": FORMAT_VERSION,
        "charnn_version": __version__,
        "steps": model.generation,
        "architecture": asdict(model.architecture),
        "tokenizer": tokenizer.kind,
        "tokenizer_version": tokenizer.version,
        "unit": tokenizer.unit,
        "boundary_id": vocabulary.boundary_id,
        "unknown_id": vocabulary.unknown_id,
        "initial_state": {name: vector.tolist() for name, vector in state.items()},
        "zero_state": zero_state(model.architecture),
        "tokens": [as_text(token, tokenizer.kind) for token in vocabulary.tokens],
        **({"bins": tokenizer.bins.facts()} if isinstance(tokenizer, BinsTokenizer) else {}),
    }
