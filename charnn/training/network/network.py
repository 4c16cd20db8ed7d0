"""The network: embedding, recurrent layers, output layer, with dropout between them."""

from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from charnn.cells.ngram_embedding import InputTables, summed
from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture
from charnn.config.model import InitializationOptions
from charnn.storage.tensor_file import Tensors
from charnn.training.network.attention import Attention
from charnn.training.network.dropout import PositionDropout, RegularizationRates, TokenDropout, ValueDropout
from charnn.training.network.initialization import initialize_layer
from charnn.training.network.layers import LayerState, RecurrentLayer, make_layer

NetworkState = tuple[LayerState, ...]
"""The state of each layer, lowest first; with attention, then its memory; with n-gram embeddings, then a tensor of the last
tokens (see `state_rows`)."""


LABEL_STD = 0.5
"""Standard deviation of the initial vectors of labels: labels that begin alike are told apart late."""


class Outputs(NamedTuple):
    """The outputs of the recurrent layers.

    Args:
        raw_TBH: outputs of the last layer, and what they attend to, before dropout.
        dropped_TBH: outputs of the last layer after dropout, the input of the output layer.
        state: after the last token.
    """

    raw_TBH: Tensor
    dropped_TBH: Tensor
    state: NetworkState


class Network(nn.Module):
    """A recurrent language model: token ids in, logits of the next token out."""

    def __init__(
        self,
        architecture: Architecture,
        *,
        rates: RegularizationRates | None = None,
        initialization: InitializationOptions | None = None,
    ) -> None:
        """Create a network with newly initialized weights.

        Args:
            architecture: cell and sizes.
            rates: dropout probabilities, by default 0.
            initialization: of the weights.
        """
        super().__init__()
        rates, initialization = rates or RegularizationRates(), initialization or InitializationOptions()
        self.architecture = shape = architecture
        self.embedding = None
        if shape.inputs == "embedding":
            self.embedding = nn.Embedding(shape.vocab_size, shape.embedding_size)
        self._input_tables = InputTables.of(shape, torch.tensor)
        self.register_buffer("_word_codes_V", self._input_tables.codes_V, persistent=False)  # goes where the weights go
        self.ngram_embeddings = nn.ModuleList(
            nn.Embedding(num_rows, shape.embedding_size) for num_rows in self._input_tables.sizes
        )
        self.word_embedding = nn.Embedding(shape.word_rows, shape.embedding_size) if shape.word_rows else None
        self.layers = nn.ModuleList(make_layer(shape, layer, rates) for layer in range(shape.num_layers))
        self.attention = Attention(shape, rates.attention) if shape.attention_window else None
        self.token_dropout = TokenDropout(rates.embedding, shape.vocab_size)
        self.ngram_dropout = PositionDropout(rates.ngram)
        self.input_dropout = ValueDropout(rates.input, rates.kind)
        self.hidden_dropout = ValueDropout(rates.hidden, rates.kind)
        self.output_dropout = ValueDropout(rates.output, rates.kind)
        self.output = nn.Linear(shape.output_size, shape.vocab_size)
        self.labels = None
        if shape.num_labels:
            self.labels = nn.Embedding(shape.num_labels, shape.embedding_size)
        self.has_fixed_output = shape.tie_weights  # a scaled output layer would be a scaled embedding too
        self.trainable_rows: dict[str, Tensor] = {}  # by name; of other parameters, all rows (see `freezing`)
        self._initialize(initialization)

    def _initialize(self, options: InitializationOptions) -> None:
        """Initialize all weights."""
        for index, layer in enumerate(self._recurrent_layers()):
            hidden_size = self.architecture.layer_sizes(index)[1]
            initialize_layer(layer.named_weights(), hidden_size, self.architecture.cell, options)
        bound = options.init_range
        if self.embedding is not None:
            weight = self.embedding.weight
            nn.init.uniform_(weight, -bound, bound) if bound else nn.init.normal_(weight, std=0.1)
        for table in self.added_tables():
            nn.init.uniform_(table.weight, -bound, bound) if bound else nn.init.zeros_(table.weight)
        nn.init.zeros_(self.output.bias)
        if self.labels is not None:
            nn.init.normal_(self.labels.weight, std=LABEL_STD)
        if self.architecture.tie_weights:
            assert self.embedding is not None
            self.output.weight = self.embedding.weight
        elif bound:
            nn.init.uniform_(self.output.weight, -bound, bound)
        else:
            nn.init.normal_(self.output.weight, std=self.architecture.output_size**-0.5)

    def added_tables(self) -> list[nn.Embedding]:
        """Return the tables of n-grams, from order 2 on, and of the word so far."""
        tables = cast(list[nn.Embedding], list(self.ngram_embeddings))
        return tables if self.word_embedding is None else [*tables, self.word_embedding]

    def _recurrent_layers(self) -> list[RecurrentLayer]:
        return cast(list[RecurrentLayer], list(self.layers))

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.output.bias.device

    def initial_state(self, num_streams: int) -> NetworkState:
        """Return the initial state of B streams."""
        layers = tuple(layer.initial_state(num_streams) for layer in self._recurrent_layers())
        if self.attention is not None:
            layers = (*layers, self.attention.initial_state(num_streams))
        size = self.architecture.history_size
        if not size:
            return layers
        return (*layers, (torch.zeros(num_streams, size, dtype=torch.int64, device=self.device),))

    def forward(
        self, ids_TB: Tensor, state: NetworkState, generator: torch.Generator | None = None
    ) -> tuple[Tensor, NetworkState]:
        """Run the network on T tokens of B streams.

        Args:
            ids_TB: token ids, with labels as `with_labels` adds them.
            state: returned by the last call, or by `initial_state`.
            generator: source of the dropout masks; None, as in evaluation, disables dropout.

        Returns:
            The logits of each next token (T, B, V), and the state after the last token.
        """
        outputs = self.outputs(ids_TB, state, generator)
        return self.output(outputs.dropped_TBH), outputs.state

    def outputs(self, ids_TB: Tensor, state: NetworkState, generator: torch.Generator | None = None) -> Outputs:
        """Run the network on T tokens of B streams up to the last recurrent layer; see `forward`."""
        values, history = self._inputs(ids_TB, state, generator)
        raw, new_state = values, []
        for index, (layer, layer_state) in enumerate(zip(self.layers, state, strict=False)):
            size = self.architecture.layer_sizes(index)[1]
            passed_up, last = layer(values, layer_state, generator)
            raw, others = passed_up[..., :size], passed_up[..., size:]
            if index and self.architecture.residual:
                raw = raw + values[..., :size]
            is_last = index == len(self.layers) - 1
            if is_last and self.attention is not None:
                raw, memory = self.attention(raw, state[len(self.layers)], generator)
                history = (memory, *history)
            values = (self.output_dropout if is_last else self.hidden_dropout)(raw, generator)
            values = torch.cat((values, others), dim=-1) if others.shape[-1] else values
            new_state.append(last)
        return Outputs(raw, values, (*new_state, *history))

    def _inputs(
        self, ids_TB: Tensor, state: NetworkState, generator: torch.Generator | None
    ) -> tuple[Tensor, NetworkState]:
        """Return the input of the first layer (T, B, E), and the last tokens as the last part of the state."""
        if self.embedding is None:
            ones = nn.functional.one_hot(ids_TB, self.architecture.vocab_size).to(self.output.bias.dtype)
            return self.input_dropout(self.token_dropout(ones, ids_TB, generator), generator), ()
        is_training = generator is not None
        labels_TB = None
        if self.labels is not None:
            labels_TB, ids_TB = ids_TB // self.architecture.vocab_size, ids_TB % self.architecture.vocab_size
        input_tables = self._input_tables._replace(codes_V=self._word_codes_V)
        rows, history = input_tables.state_rows(ids_TB, state, torch)
        tables = [self.embedding, *self.added_tables()]
        vectors = [_lookup(*pair, is_training) for pair in zip(tables, rows, strict=True)]
        kept = [self.token_dropout(vectors[0], ids_TB, generator)]
        kept += [self.ngram_dropout(ngram_vectors, generator) for ngram_vectors in vectors[1:]]
        if self.labels is not None and labels_TB is not None:
            label_vectors = _lookup(self.labels, (labels_TB - 1).clamp(min=0), is_training)
            kept.append(label_vectors * (labels_TB > 0)[..., None])
        return self.input_dropout(summed(kept), generator), history

    def named_weights(self) -> dict[str, Tensor]:
        """Return the parameters by the names that they have on disk (see `expected_shapes`)."""
        weights: dict[str, Tensor] = {}
        if self.embedding is not None:
            weights["embedding.weight"] = self.embedding.weight
        for order, table in enumerate(self.ngram_embeddings, start=2):
            weights[f"embedding.{order}.weight"] = cast(nn.Embedding, table).weight
        if self.word_embedding is not None:
            weights["embedding.word.weight"] = self.word_embedding.weight
        if self.labels is not None:
            weights["labels.weight"] = self.labels.weight
        for index, layer in enumerate(self._recurrent_layers()):
            weights |= {f"layers.{index}.{name}": weight for name, weight in layer.named_weights().items()}
        if self.attention is not None:
            weights |= self.attention.named_weights()
        if not self.architecture.tie_weights:
            weights["output.weight"] = self.output.weight
        weights["output.bias"] = self.output.bias
        assert weights.keys() == expected_shapes(self.architecture).keys()
        return weights

    def arrays(self, *, temperature: float = 1.0) -> Tensors:
        """Return copies of the weights as fp32 arrays, with the output layer divided by a temperature."""
        arrays = {name: weight.detach().float().cpu().numpy().copy() for name, weight in self.named_weights().items()}
        if temperature != 1:
            arrays["output.weight"] /= temperature
            arrays["output.bias"] /= temperature
        return arrays

    def is_finite(self) -> bool:
        """Return whether all weights are finite."""
        return all(bool(weight.isfinite().all()) for weight in self.named_weights().values())

    def load_arrays(self, arrays: Tensors) -> None:
        """Load the weights from arrays of the same names and shapes."""
        with torch.no_grad():
            for name, weight in self.named_weights().items():
                weight.copy_(torch.from_numpy(np.array(arrays[name])))


def _lookup(table: nn.Embedding, rows_TB: Tensor, is_training: bool) -> Tensor:
    """Look up rows of an embedding table; in training their gradient is sparse, since a step uses few of many rows."""
    return nn.functional.embedding(rows_TB, table.weight, sparse=is_training or table.sparse)


def detached(state: NetworkState) -> NetworkState:
    """Return the state detached from the graph, which truncates backpropagation through time."""
    return tuple(tuple(part.detach() for part in layer) for layer in state)
