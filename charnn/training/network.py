"""The network: embedding, recurrent layers, output layer, with dropout between them."""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from charnn.cells import CELLS
from charnn.cells.ngram_embedding import ngram_rows, num_rows
from charnn.config import Architecture
from charnn.model_directory import expected_shapes
from charnn.pairs import Tensors
from charnn.training.layers import PARAMETERS, LayerState, make_layer

NetworkState = tuple[LayerState, ...]
"""One state a layer, the lowest first; then, where n-grams are embedded, one array of the last tokens (see `ngram_rows`)."""


class Dropout(nn.Module):
    """Leaves out some values in training, the rest scaled up so that the mean stays; a subclass says what has one mask."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def masked_together(self, values_TBD: Tensor) -> Tensor:
        """Return a part of the values (T, B, D) that has one entry for all that are kept or left out together."""
        raise NotImplementedError

    def forward(self, values_TBD: Tensor) -> Tensor:
        """Return the values with some left out; in evaluation, unchanged."""
        if not self.training or self.probability == 0:
            return values_TBD
        kept = 1 - self.probability
        mask = torch.empty_like(self.masked_together(values_TBD), dtype=torch.float32).bernoulli_(kept).div_(kept)
        return values_TBD * mask.to(values_TBD.dtype)


class LockedDropout(Dropout):
    """Dropout with one mask for all time steps of a batch, drawn anew for each batch.

    Source: Gal and Ghahramani (2016) for the outputs of layers; Merity et al. (2018) give it this name.
    """

    def masked_together(self, values_TBD: Tensor) -> Tensor:
        """A feature of a stream, at all times (1, B, D)."""
        return values_TBD[:1]


class PlaceDropout(Dropout):
    """Dropout of whole vectors at places of their own, drawn anew for each table of n-grams.

    An n-gram's vector is soon known by heart. Where it is missing, the network has to do with shorter ones, as a smoothed
    n-gram model does with contexts that it has not seen.
    """

    def masked_together(self, values_TBD: Tensor) -> Tensor:
        """All features at one time of a stream (T, B, 1)."""
        return values_TBD[..., :1]


class Network(nn.Module):
    """A recurrent language model: ids of a token at each step in, logits of the next token out."""

    def __init__(self, architecture: Architecture, *, dropout: float = 0.0, ngram_dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture = shape = architecture
        self.embedding = nn.Embedding(shape.vocab_size, shape.embedding_size)
        self.ngram_embeddings = nn.ModuleList(
            nn.Embedding(num_rows(shape.vocab_size, order), shape.embedding_size)
            for order in range(2, shape.embedding_order + 1)
        )
        self.layers = nn.ModuleList(
            make_layer(shape.cell, shape.hidden_size if layer else shape.embedding_size, shape.hidden_size)
            for layer in range(shape.num_layers)
        )
        self.dropout = LockedDropout(dropout)
        self.ngram_dropout = PlaceDropout(ngram_dropout)
        self.output = nn.Linear(shape.hidden_size, shape.vocab_size)
        for table in (self.embedding, *self.ngram_embeddings):
            nn.init.normal_(cast(nn.Embedding, table).weight, std=0.1)
        nn.init.zeros_(self.output.bias)
        if shape.tie_weights:
            self.output.weight = self.embedding.weight
        else:
            nn.init.normal_(self.output.weight, std=shape.hidden_size**-0.5)

    def initial_state(self, num_streams: int) -> NetworkState:
        """Return the empty memory of B streams."""
        shape = self.architecture
        device = self.embedding.weight.device
        zeros = torch.zeros(num_streams, shape.hidden_size, device=device)
        layers = ((zeros,) * CELLS[shape.cell].num_states,) * shape.num_layers
        if shape.embedding_order == 1:
            return layers
        no_tokens = torch.zeros(num_streams, shape.embedding_order - 1, dtype=torch.int64, device=device)
        return (*layers, (no_tokens,))

    def forward(self, ids_TB: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Read T tokens of B streams.

        Args:
            ids_TB: token ids.
            state: what the last call returned, or `initial_state`.

        Returns:
            The logits (T, B, V) of the token after each, and the state after the last.
        """
        values = self.embedding(ids_TB)
        history: NetworkState = ()
        if self.ngram_embeddings:
            rows, last_tokens = ngram_rows(ids_TB, state[-1][0], self.architecture.vocab_size, torch)
            for table, rows_TB in zip(self.ngram_embeddings, rows, strict=True):
                values = values + self.ngram_dropout(table(rows_TB))
            history = ((last_tokens,),)
        values = self.dropout(values)
        new_state = []
        for layer, layer_state in zip(self.layers, state[: len(self.layers)], strict=True):
            values, last = layer(values, layer_state)
            values = self.dropout(values)
            new_state.append(last)
        return self.output(values), (*new_state, *history)

    def named_weights(self) -> dict[str, Tensor]:
        """Return the parameters under the names that they have on disk (see `expected_shapes`)."""
        weights: dict[str, Tensor] = {"embedding.weight": self.embedding.weight}
        for order, table in enumerate(self.ngram_embeddings, start=2):
            weights[f"embedding.{order}.weight"] = cast(nn.Embedding, table).weight
        for number, layer in enumerate(self.layers):
            for name in PARAMETERS:
                weights[f"layers.{number}.{name}"] = layer.weight(name)  # type: ignore[operator]
        if not self.architecture.tie_weights:
            weights["output.weight"] = self.output.weight
        weights["output.bias"] = self.output.bias
        assert weights.keys() == expected_shapes(self.architecture).keys()
        return weights

    def arrays(self, *, temperature: float = 1.0) -> Tensors:
        """Return copies of the weights as NumPy arrays, as they go to disk, with the logits divided by a temperature."""
        arrays = {name: weight.detach().float().cpu().numpy().copy() for name, weight in self.named_weights().items()}
        if temperature != 1:
            arrays["output.weight"] /= temperature
            arrays["output.bias"] /= temperature
        return arrays

    def load_arrays(self, arrays: Tensors) -> None:
        """Set the weights from arrays of the same names and shapes."""
        with torch.no_grad():
            for name, weight in self.named_weights().items():
                weight.copy_(torch.from_numpy(np.array(arrays[name])))


def detached(state: NetworkState) -> NetworkState:
    """Return a state through which no gradient flows back: where BPTT is truncated."""
    return tuple(tuple(part.detach() for part in layer) for layer in state)
