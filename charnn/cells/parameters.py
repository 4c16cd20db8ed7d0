"""The parameters of a network: names and shapes, as in `model.safetensors`."""

import math
from typing import NamedTuple

from charnn.cells import Array, Weights, layer_shapes
from charnn.cells.attention import attention_shapes
from charnn.cells.ngram_embedding import table_sizes
from charnn.config import Architecture


def expected_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each weight."""
    shape = architecture
    shapes: dict[str, tuple[int, ...]] = {}
    if shape.inputs == "embedding":
        shapes["embedding.weight"] = (shape.vocab_size, shape.embedding_size)
    for order, num_rows in enumerate(table_sizes(shape), start=2):
        shapes[f"embedding.{order}.weight"] = (num_rows, shape.embedding_size)
    if shape.word_rows:
        shapes["embedding.word.weight"] = (shape.word_rows, shape.embedding_size)
    if shape.num_labels:
        shapes["labels.weight"] = (shape.num_labels, shape.embedding_size)
    for layer in range(shape.num_layers):
        shapes |= {f"layers.{layer}.{name}": size for name, size in layer_shapes(shape, layer).items()}
    shapes |= attention_shapes(shape)
    if not shape.tie_weights:
        shapes["output.weight"] = (shape.vocab_size, shape.output_size)
    shapes["output.bias"] = (shape.vocab_size,)
    return shapes


class ParameterCounts(NamedTuple):
    """Numbers of parameters.

    Args:
        network: the embedding of tokens, the recurrent layers and the output layer, as textbooks count them.
        ngram_embeddings: the tables of n-grams, and of the word so far, that are added to the embedding of tokens.
    """

    network: int
    ngram_embeddings: int

    def __str__(self) -> str:
        others = f" + {self.ngram_embeddings:,} in n-gram embeddings" if self.ngram_embeddings else ""
        return f"{self.network:,} parameters{others}"


def parameter_counts(architecture: Architecture) -> ParameterCounts:
    """Return the numbers of parameters of a network and of its n-gram embeddings."""
    sizes = {name: math.prod(shape) for name, shape in expected_shapes(architecture).items()}
    tables = sum(size for name, size in sizes.items() if name.startswith("embedding.") and name != "embedding.weight")
    return ParameterCounts(sum(sizes.values()) - tables, tables)


def layer_weights(weights: Weights, layer: int) -> dict[str, Array]:
    """Return one recurrent layer's parameters by name (see `layer_shapes`).

    Args:
        weights: all of a network's (see `expected_shapes`).
        layer: the lowest is 0.
    """
    prefix = f"layers.{layer}."
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
