"""How far back a loss reaches: the norm of its gradient with respect to earlier states.

The loss at position t is that of the token that the network predicts from its state after t tokens. To find its gradient, the
network is unrolled over the tokens before, as backpropagation through time does. The state after t - k tokens consists of the
hidden state of each layer and, in an LSTM, of its memory cell, and the gradient has a part for each. So the gradient with
respect to the hidden state holds the memory cell fixed, and the other way round. Attention reads the outputs, and nothing that
it adds reaches a later state: it is computed once, at position t. The gradient with respect to a state passes through all later
outputs to which position t attends, and holds the earlier ones fixed.

Source: Hochreiter (1991); Bengio et al. (1994), Learning long-term dependencies with gradient descent is difficult; Pascanu et
al. (2013), On the difficulty of training recurrent neural networks.
"""

import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from charnn.cells import cell_of
from charnn.cells.attention import BLOCK, memory_shapes
from charnn.config import Architecture
from charnn.storage.tensor_file import Tensors
from charnn.training.network.attention import Attention
from charnn.training.network.dropout import RegularizationRates
from charnn.training.network.network import Network, NetworkState
from charnn.training.parallel.workers import Workers

IdArray = npt.NDArray[np.int64]
Norms = npt.NDArray[np.float64]

MAX_DISTANCE = 256
NUM_POSITIONS = 192
MIN_POSITIONS = 16
"""Positions that a median is over, at least, unless the text has fewer."""
WARM_UP = 64
"""Tokens that are read before the most distant state."""
MAX_ROWS = 48
MAX_FLOATS = 1 << 26
"""Maximum number of floats in the graph of a batch (256 MiB)."""
FLOATS_PER_UNIT = 16
"""Floats that the graph keeps for a unit at a time step, approximately."""
FLOATS_PER_WEIGHT = 4
"""Floats for each weight of attention."""
_MEMORY_CELLS = ("lstm", "mlstm", "depth-lstm", "mogrifier")


@dataclass(frozen=True)
class StateGradients:
    """Norms of the gradient of the loss at some positions with respect to one part of the earlier states.

    Args:
        layer: from 1, the lowest.
        part: "hidden" or "memory", the memory cell of an LSTM.
        norms: at each distance k in tokens from 0, and each position (K + 1, N); NaN before the beginning of the unit, and at
            distance 0 except for the hidden state of the top layer, from which alone the loss is computed.
    """

    layer: int
    part: str
    norms: Norms


def first_of_units(ids: IdArray, *, unit: str, boundary_id: int) -> IdArray:
    """Return, for each token of a text, the index of the first token of its line or document, or of the stream (N,)."""
    if unit == "stream":
        return np.zeros(len(ids), dtype=np.int64)
    begins = np.concatenate(([True], ids[:-1] == boundary_id))
    return np.maximum.accumulate(np.where(begins, np.arange(len(ids)), 0))


class UnrolledNetwork(NamedTuple):
    """A network whose layers run the equations of their cell token by token, so that each state is in the graph.

    Args:
        architecture: of the whole.
        recurrent: the network without attention.
        attention: over its outputs; None for a network without.
    """

    architecture: Architecture
    recurrent: Network
    attention: Attention | None


def unrolled_network(architecture: Architecture, weights: Tensors) -> UnrolledNetwork:
    """Return a network to be unrolled, with these weights."""
    without = replace(architecture, attention_window=0, attention_size=0)
    with torch.random.fork_rng(devices=[]):
        recurrent = Network(without, rates=RegularizationRates(kind="variational", recurrent=0.5))
        attention = Attention(architecture) if architecture.attention_window else None
    recurrent.load_arrays(weights)
    if attention is not None:
        attention.load_state_dict(
            {
                f"weights.{name.removeprefix('attention.')}": torch.from_numpy(np.array(weights[name]))
                for name in attention.named_weights()
            }
        )
        attention.requires_grad_(False)
    return UnrolledNetwork(architecture, recurrent.requires_grad_(False), attention)


def gradient_norms(
    network: UnrolledNetwork,
    ids: IdArray,
    *,
    unit: str,
    boundary_id: int,
    max_distance: int = MAX_DISTANCE,
    workers: Workers | None = None,
) -> list[StateGradients]:
    """Return the gradients of the losses at positions that are spread evenly over a text.

    Args:
        network: see `unrolled_network`.
        ids: the text (N,).
        unit: stream, line or document; lines and documents begin from the initial state.
        boundary_id: the token that the network reads first.
        max_distance: number of tokens to go back, at most; fewer if few positions have as many before them.
        workers: threads among which batches of positions are divided; by default, only the calling thread.
    """
    positions = np.unique(np.linspace(0, len(ids) - 1, NUM_POSITIONS).astype(np.int64))
    ages = positions - first_of_units(ids, unit=unit, boundary_id=boundary_id)[positions]
    distance = max(1, min(max_distance, int(np.sort(ages)[-min(MIN_POSITIONS, len(ages))])))
    inputs = np.concatenate(([boundary_id], ids[:-1]))
    batch = int(np.clip(MAX_FLOATS // floats_of_row(network.architecture, distance), 1, MAX_ROWS))
    batches = [slice(first, first + batch) for first in range(0, len(positions), batch)]
    parts = (workers or Workers()).run(
        [partial(_norms, network, inputs, ids, positions[rows], ages[rows], distance) for rows in batches]
    )
    return [
        StateGradients(layer + 1, part, np.concatenate([norms[layer, part] for norms in parts], axis=1))
        for layer, part in parts[0]
    ]


def floats_of_row(architecture: Architecture, distance: int) -> int:
    """Return how many floats the graph of one position keeps, approximately."""
    units = sum(architecture.layer_sizes(layer)[1] for layer in range(architecture.num_layers))
    floats = FLOATS_PER_UNIT * units * (distance + 1)
    if architecture.attention_window:
        length = distance + WARM_UP + 1
        floats += FLOATS_PER_WEIGHT * length * (min(architecture.attention_window, length) + BLOCK)
    return floats


def _norms(
    network: UnrolledNetwork, inputs: IdArray, ids: IdArray, positions: IdArray, ages: IdArray, distance: int
) -> dict[tuple[int, str], Norms]:
    """Return the norms by layer and part (K + 1, B).

    Args:
        inputs: the token that is read before each token (N,).
        positions: of the losses (B,).
        ages: the number of tokens before each in its unit (B,).
    """
    states, outputs = _unroll(network.recurrent, inputs, positions, ages, distance)
    outputs_BH = _attended(network, outputs, ages)
    logits_BV = network.recurrent.output(outputs_BH)
    loss = functional.cross_entropy(logits_BV, torch.from_numpy(ids[positions]), reduction="sum")
    top = network.architecture.num_layers - 1
    wanted = [(layer, part, index) for layer in range(top + 1) for part, index in _parts(network.architecture, layer)]
    tensors = [state[layer][index] for layer, _, index in wanted for state in states]
    direct, *gradients = torch.autograd.grad(loss, [outputs[-1], *tensors], materialize_grads=True)
    is_within = np.arange(distance, 0, -1)[:, None] <= ages
    norms = {}
    for number, (layer, part, _) in enumerate(wanted):
        earlier = np.stack([_norm(gradient) for gradient in gradients[number * distance : (number + 1) * distance]])
        is_direct = layer == top and part == "hidden"
        nearest = _norm(direct[-1]) if is_direct else np.full(len(positions), np.nan)
        norms[layer, part] = np.concatenate((np.where(is_within, earlier, np.nan), nearest[None]))[::-1]
    return norms


def _norm(gradient_BH: Tensor) -> Norms:
    """Return the norm of each row; in double precision, whose squares do not underflow."""
    norms: Norms = gradient_BH.double().norm(dim=-1).numpy()
    return norms


def _parts(architecture: Architecture, layer: int) -> list[tuple[str, int]]:
    """Return the parts of a layer's state that are shown, with their indices in it."""
    has_memory = architecture.cell in _MEMORY_CELLS and cell_of(architecture, layer).num_states > 1
    return [("hidden", 0), ("memory", 1)] if has_memory else [("hidden", 0)]


def _unroll(
    network: Network, inputs: IdArray, positions: IdArray, ages: IdArray, distance: int
) -> tuple[list[NetworkState], list[Tensor]]:
    """Read the tokens before each position, the last `distance` of them in the graph.

    Returns:
        The states after the tokens at distances `distance` to 1; and the outputs of the top layer (T, B, H), in parts, the last
        of which is of one token.
    """
    length = distance + WARM_UP + 1
    begins = np.maximum(length - 1 - ages, 0)  # where each row's first token is among the columns
    initial = network.initial_state(len(positions))
    columns = np.maximum(positions + np.arange(1 - length, 1)[:, None], 0)
    ids_TB = torch.from_numpy(inputs[columns])

    def reset(state: NetworkState, time: int) -> NetworkState:
        rows = begins == time
        return _replaced(state, initial, torch.from_numpy(rows)) if time and rows.any() else state

    state, all_outputs = initial, []
    stops = sorted({0, WARM_UP + 1, *(int(begin) for begin in begins if begin <= WARM_UP)})
    for first, last in itertools.pairwise(stops):
        outputs = network.outputs(ids_TB[first:last], reset(state, first))
        all_outputs.append(outputs.raw_TBH)
        state = outputs.state
    states: list[NetworkState] = []
    state = _leaves(state)
    for time in range(WARM_UP + 1, length):
        states.append(state)
        outputs = network.outputs(ids_TB[time : time + 1], reset(state, time))
        all_outputs.append(outputs.raw_TBH)
        state = tuple(tuple(part.clone() for part in layer) for layer in outputs.state)
    return states, all_outputs


def _attended(network: UnrolledNetwork, outputs: list[Tensor], ages: IdArray) -> Tensor:
    """Return the last outputs (B, H) with what they attend to.

    Args:
        outputs: parts of the outputs (T, B, H); a row whose unit began later has others before.
        ages: the number of tokens before the last one in the unit of each row (B,).
    """
    if network.attention is None:
        return outputs[-1][-1]
    raw_TBH = torch.cat(outputs)
    length, rows = len(raw_TBH), torch.arange(len(ages))
    last = torch.from_numpy(np.minimum(ages, length - 1))
    # each unit from the first column on; what then follows the last token is not seen from there
    columns = (torch.arange(length)[:, None] + length - 1 - last).clamp(max=length - 1)
    window = min(network.architecture.attention_window, length)
    memory = memory_shapes(replace(network.architecture, attention_window=window), len(ages))
    attended_TBH: Tensor = network.attention(raw_TBH[columns, rows], tuple(map(raw_TBH.new_zeros, memory)))[0]
    return attended_TBH[last, rows]


def _replaced(state: NetworkState, initial: NetworkState, rows_B: Tensor) -> NetworkState:
    """Replace the state of some rows by the initial state."""
    return tuple(
        tuple(torch.where(rows_B[:, None], fresh, part) for part, fresh in zip(layer, initial_layer, strict=True))
        for layer, initial_layer in zip(state, initial, strict=True)
    )


def _leaves(state: NetworkState) -> NetworkState:
    """Return a state whose gradient is wanted."""
    return tuple(tuple(part.clone().requires_grad_(part.is_floating_point()) for part in layer) for layer in state)
