"""Attention over the past as equations: one head over the earlier outputs of the top recurrent layer.

Written once for NumPy arrays and torch tensors, as the cells are. With h_t the output of the top layer,

    m_t = LayerNorm(h_t);  q_t, k_t, v_t, g_t = W m_t + b        each of size D
    a_tj = softmax_j(q_t k_{j-1} / sqrt(D))                      over the last `window` positions j <= t
    h'_t = h_t + U (sigmoid(g_t) * sum_j a_tj v_j)

The key of a position is that of the output before it (of zeros, at the beginning of a text): the query finds the contexts that
resemble the present one, and the value says what followed there, as the neural cache of Grave et al. (2017) does.

The memory of a stream, part of its state, holds the keys and values of the last `window - 1` positions; a text begins with
none, and training carries them from segment to segment without a gradient.

Source: Merity (2019), Single headed attention RNN. The gate within the head follows Qiu et al. (2025), Gated attention for
large language models; the shifted key Xu et al. (2024), KV shifting attention enhances language modeling.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from charnn.cells.gates import Array, sigmoid
from charnn.config import Architecture

NORM_EPSILON = 1e-5
BLOCK = 128
"""Positions whose scores are computed together; each is compared with those of its block and of the window before it."""
UNSEEN = -1e30
"""Score of a position that is not attended to."""

Namespace = Any


class Attended(NamedTuple):
    """The result of attention on T tokens of B streams.

    Args:
        outputs_TBH: the outputs with what was attended to.
        state: after the last token: the memory (B, P, 2 D), which of its P = window - 1 positions are filled (B, P), and the
            key of the next position (B, D).
        weights: for each block of positions, their weights (B, t, P + t) of the P positions before the block and its own.
    """

    outputs_TBH: Array
    state: tuple[Array, Array, Array]
    weights: list[Array]


def attention_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each weight of attention; none without it."""
    if not architecture.attention_window:
        return {}
    size, head = architecture.output_size, architecture.attention_size
    return {
        "attention.norm_weight": (size,),
        "attention.norm_bias": (size,),
        "attention.weight": (4 * head, size),
        "attention.bias": (4 * head,),
        "attention.output": (size, head),
    }


def attention_weights(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return the weights of attention among all of a network's, by name without the prefix."""
    return {name.removeprefix("attention."): array for name, array in weights.items() if name.startswith("attention.")}


def memory_shapes(architecture: Architecture, num_streams: int) -> list[tuple[int, ...]]:
    """Return the shapes of the memory of B streams (see `Attended.state`); none without attention."""
    if not architecture.attention_window:
        return []
    past, head = architecture.attention_window - 1, architecture.attention_size
    return [(num_streams, past, 2 * head), (num_streams, past), (num_streams, head)]


def project(weights: Mapping[str, Array], outputs_TBH: Array, xp: Namespace) -> list[Array]:
    """Return the query, key, value and gate (..., D) of outputs (..., H)."""
    centered = outputs_TBH - outputs_TBH.mean(-1)[..., None]
    variance = (centered * centered).mean(-1)[..., None]
    normed = centered / xp.sqrt(variance + NORM_EPSILON) * weights["norm_weight"] + weights["norm_bias"]
    projected = normed @ weights["weight"].T + weights["bias"]
    size = projected.shape[-1] // 4
    return [projected[..., part * size : (part + 1) * size] for part in range(4)]


def attend(weights: Mapping[str, Array], outputs_TBH: Array, state: Sequence[Array], xp: Namespace) -> Attended:
    """Add to the outputs of the top layer what they attend to.

    Args:
        weights: see `attention_shapes`, without the prefix.
        outputs_TBH: of the top recurrent layer.
        state: before the first token; see `Attended`.
        xp: numpy or torch.
    """
    gated_TBD, new_state, all_weights = mix(project(weights, outputs_TBH, xp), state, xp)
    return Attended(outputs_TBH + gated_TBD @ weights["output"].T, new_state, all_weights)


def mix(
    projected: Sequence[Array], state: Sequence[Array], xp: Namespace
) -> tuple[Array, tuple[Array, Array, Array], list[Array]]:
    """Return the gated mean of the values that T positions attend to (T, B, D), then as `Attended` the state and the weights.

    Args:
        projected: query, key, value and gate (T, B, D).
        state: before the first token; see `Attended`.
        xp: numpy or torch.
    """
    query, key, value, gate = (part.swapaxes(0, 1) for part in projected)
    keys = xp.concatenate((state[2][:, None], key), 1)
    memory_BJM = xp.concatenate((state[0], xp.concatenate((keys[:, :-1], value), -1)), 1)
    is_filled_BJ = xp.concatenate((state[1], xp.ones_like(key[..., 0])), 1)
    head, length, past = key.shape[-1], key.shape[1], state[0].shape[1]
    mixed, all_weights = [], []
    for first in range(0, length, BLOCK):
        last = min(first + BLOCK, length)
        seen = memory_BJM[:, first : last + past]
        scores = query[:, first:last] @ seen[..., :head].swapaxes(1, 2) * head**-0.5
        is_seen = band(scores[0], past, xp) & (is_filled_BJ[:, None, first : last + past] > 0)
        scores = xp.where(is_seen, scores, xp.full_like(scores, UNSEEN))
        exponentials = xp.exp(scores - xp.amax(scores, -1)[..., None])
        block_weights = exponentials / exponentials.sum(-1)[..., None]
        mixed.append(block_weights @ seen[..., head:])
        all_weights.append(block_weights)
    gated_TBD = (sigmoid(gate, xp) * xp.concatenate(mixed, 1)).swapaxes(0, 1)
    return gated_TBD, (memory_BJM[:, length:], is_filled_BJ[:, length:], key[:, -1]), all_weights


def band(scores_TJ: Array, past: int, xp: Namespace) -> Array:
    """Return where position t of a block sees position j, of the P before the block and its own: itself and P before it.

    Args:
        scores_TJ: an array of T rows and P + T columns.
        past: P.
        xp: numpy or torch.
    """
    columns, rows = (
        xp.ones_like(part).cumsum(-1) for part in (scores_TJ[0], scores_TJ[:, 0])
    )  # on the device of the scores
    offsets = columns[None] - rows[:, None]
    return (offsets >= 0) & (offsets <= past)
