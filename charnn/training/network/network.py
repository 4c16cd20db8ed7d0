"""The network: embedding, recurrent layers, output layer, with dropout between them."""

from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from charnn.cells.ngram_embedding import num_rows, state_rows, summed
from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture
from charnn.config.model import InitializationOptions
from charnn.storage.checkpoint import Tensors
from charnn.training.network.dropout import PositionDropout, RegularizationRates, TokenDropout, ValueDropout
from charnn.training.network.initialization import initialize_layer
from charnn.training.network.layers import LayerState, RecurrentLayer, make_layer

NetworkState = tuple[LayerState, ...]
"""One state a layer, the lowest first; then, where n-grams are embedded, one array of the last tokens (see `state_rows`)."""


class Outputs(NamedTuple):
    """What the recurrent layers make of a text.

    Args:
        raw_TBH: the last layer's outputs.
        kept_TBH: the same after dropout, as the output layer sees them.
        state: that after the last token.
    """

    raw_TBH: Tensor
    kept_TBH: Tensor
    state: NetworkState


class Network(nn.Module):
    """A recurrent language model: ids of a token at each step in, logits of the next token out."""

    def __init__(
        self,
        architecture: Architecture,
        *,
        shares: RegularizationRates | None = None,
        start: InitializationOptions | None = None,
    ) -> None:
        """Make a network with fresh weights.

        Args:
            shares: what is left out in training, by default nothing.
            start: what the weights begin with.
        """
        super().__init__()
        shares, start = shares or RegularizationRates(), start or InitializationOptions()
        self.architecture = shape = architecture
        self.embedding = None
        if shape.inputs == "embedding":
            self.embedding = nn.Embedding(shape.vocab_size, shape.embedding_size)
        self.ngram_embeddings = nn.ModuleList(
            nn.Embedding(num_rows(shape.vocab_size, order), shape.embedding_size)
            for order in range(2, shape.embedding_order + 1)
        )
        self.layers = nn.ModuleList(make_layer(shape, layer, shares) for layer in range(shape.num_layers))
        self.token_dropout = TokenDropout(shares.embedding, shape.vocab_size)
        self.ngram_dropout = PositionDropout(shares.ngram)
        self.input_dropout = ValueDropout(shares.input, shares.kind)
        self.hidden_dropout = ValueDropout(shares.hidden, shares.kind)
        self.output_dropout = ValueDropout(shares.output, shares.kind)
        self.output = nn.Linear(shape.output_size, shape.vocab_size)
        self._start(start)

    def _start(self, options: InitializationOptions) -> None:
        """Set all weights to what they begin with."""
        for number, layer in enumerate(self._recurrent_layers()):
            hidden_size = self.architecture.layer_sizes(number)[1]
            initialize_layer(layer.named_weights(), hidden_size, self.architecture.cell, options)
        tables = [table for table in (self.embedding, *self.ngram_embeddings) if table is not None]
        bound = options.init_range
        for table in tables:
            weight = cast(nn.Embedding, table).weight
            nn.init.uniform_(weight, -bound, bound) if bound else nn.init.normal_(weight, std=0.1)
        nn.init.zeros_(self.output.bias)
        if self.architecture.tie_weights:
            assert self.embedding is not None
            self.output.weight = self.embedding.weight
        elif bound:
            nn.init.uniform_(self.output.weight, -bound, bound)
        else:
            nn.init.normal_(self.output.weight, std=self.architecture.output_size**-0.5)

    def _recurrent_layers(self) -> list[RecurrentLayer]:
        return cast(list[RecurrentLayer], list(self.layers))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.output.bias.device

    def initial_state(self, num_streams: int) -> NetworkState:
        """Return the memory with which B streams begin."""
        layers = tuple(layer.initial_state(num_streams) for layer in self._recurrent_layers())
        num_tokens = self.architecture.embedding_order - 1
        if not num_tokens:
            return layers
        return (*layers, (torch.zeros(num_streams, num_tokens, dtype=torch.int64, device=self.device),))

    def forward(
        self, ids_TB: Tensor, state: NetworkState, generator: torch.Generator | None = None
    ) -> tuple[Tensor, NetworkState]:
        """Read T tokens of B streams.

        Args:
            ids_TB: token ids.
            state: what the last call returned, or `initial_state`.
            generator: what is left out in training is drawn from it; without one, as in evaluation, nothing is.

        Returns:
            The logits (T, B, V) of the token after each, and the state after the last.
        """
        outputs = self.outputs(ids_TB, state, generator)
        return self.output(outputs.kept_TBH), outputs.state

    def outputs(self, ids_TB: Tensor, state: NetworkState, generator: torch.Generator | None = None) -> Outputs:
        """Read T tokens of B streams as far as the last recurrent layer."""
        values, history = self._inputs(ids_TB, state, generator)
        raw, new_state = values, []
        for number, (layer, layer_state) in enumerate(zip(self.layers, state, strict=False)):
            size = self.architecture.layer_sizes(number)[1]
            passed_up, last = layer(values, layer_state, generator)
            raw, others = passed_up[..., :size], passed_up[..., size:]
            if number and self.architecture.residual:
                raw = raw + values[..., :size]
            is_last = number == len(self.layers) - 1
            values = (self.output_dropout if is_last else self.hidden_dropout)(raw, generator)
            values = torch.cat((values, others), dim=-1) if others.shape[-1] else values
            new_state.append(last)
        return Outputs(raw, values, (*new_state, *history))

    def _inputs(
        self, ids_TB: Tensor, state: NetworkState, generator: torch.Generator | None
    ) -> tuple[Tensor, NetworkState]:
        """Return what the first layer takes in (T, B, E), and the last tokens as the end of a state."""
        if self.embedding is None:
            ones = nn.functional.one_hot(ids_TB, self.architecture.vocab_size).to(self.output.bias.dtype)
            return self.input_dropout(self.token_dropout(ones, ids_TB, generator), generator), ()
        is_training, shape = generator is not None, self.architecture
        rows, history = state_rows(ids_TB, state, shape.embedding_order, shape.vocab_size, torch)
        tables = [self.embedding, *cast(list[nn.Embedding], list(self.ngram_embeddings))]
        vectors = [_looked_up(*pair, is_training) for pair in zip(tables, rows, strict=True)]
        kept = [self.token_dropout(vectors[0], ids_TB, generator)]
        kept += [self.ngram_dropout(ngram_vectors, generator) for ngram_vectors in vectors[1:]]
        return self.input_dropout(summed(kept), generator), history

    def named_weights(self) -> dict[str, Tensor]:
        """Return the parameters under the names that they have on disk (see `expected_shapes`)."""
        weights: dict[str, Tensor] = {}
        if self.embedding is not None:
            weights["embedding.weight"] = self.embedding.weight
        for order, table in enumerate(self.ngram_embeddings, start=2):
            weights[f"embedding.{order}.weight"] = cast(nn.Embedding, table).weight
        for number, layer in enumerate(self._recurrent_layers()):
            weights |= {f"layers.{number}.{name}": weight for name, weight in layer.named_weights().items()}
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


def _looked_up(table: nn.Embedding, rows_TB: Tensor, is_training: bool) -> Tensor:
    """Return rows of a table; in training their gradient is kept as rows, since a step touches few of many."""
    return nn.functional.embedding(rows_TB, table.weight, sparse=is_training)


def detached(state: NetworkState) -> NetworkState:
    """Return a state through which no gradient flows back: where BPTT is truncated."""
    return tuple(tuple(part.detach() for part in layer) for layer in state)
