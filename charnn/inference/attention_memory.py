"""Attention over the past for the fused steppers: the memory of each stream as one buffer, read by two products a token."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from charnn.cells.attention import NORM_EPSILON, UNSEEN
from charnn.inference.engine import Engine, LayerState
from charnn.inference.input_projection import Floats, Multiply, padded

NO_SCORE = np.float32(UNSEEN)
"""Added to the score of a position that is not filled."""


class AttentionMemory:
    """The keys and values of the last positions of B streams, the oldest first.

    They are written one after another into buffers of twice the window, and moved to the beginning when the end is reached: so
    the window is one block of memory, and its order, and with it each rounding, does not depend on when a stream was begun.

    Args:
        engine: of a network with attention.
        keep_matrix: how a matrix is kept and multiplied.
    """

    def __init__(self, engine: Engine, keep_matrix: Callable[[Floats], Multiply]) -> None:
        weights, shape = engine.attention, engine.architecture
        self._size, self._head = shape.output_size, shape.attention_size
        self._past = shape.attention_window - 1
        # a quarter of the rows each for query, key, value, gate; the scale of scores and half of the gate are in the weights
        factors = np.repeat(np.array([self._head**-0.5, 1, 1, 0.5], dtype=np.float32), self._head)
        matrix = factors[:, None] * weights["weight"]
        self._project = keep_matrix(padded(matrix * weights["norm_weight"]))
        self._bias_P1 = padded((factors * weights["bias"] + matrix @ weights["norm_bias"])[:, None])
        output = padded(weights["output"])
        self._output, self._num_rows = keep_matrix(output), len(output)

    def begun(self, state: LayerState, num_streams: int) -> Self:
        """Return one over the same weights with the memory of B streams.

        Args:
            state: the memory of B streams, or one for all of them (see `charnn.cells.attention.Attended`).
            num_streams: B.
        """
        other = copy.copy(self)
        other._begin(state, num_streams)
        return other

    def _begin(self, state: LayerState, num_streams: int) -> None:
        past, head = self._past, self._head
        self._keys_BLD = np.empty((num_streams, 2 * past + 2, head), dtype=np.float32)
        self._values_BLD = np.empty_like(self._keys_BLD)
        self._added_BL = np.zeros(self._keys_BLD.shape[:2], dtype=np.float32)
        memory_BPM, is_filled_BP, next_key_BD = (np.asarray(part) for part in state)
        self._keys_BLD[:, :past], self._values_BLD[:, :past] = memory_BPM[..., :head], memory_BPM[..., head:]
        self._added_BL[:, :past] = np.where(is_filled_BP > 0, np.float32(0), NO_SCORE)
        self._next = past
        self._projected_PB = np.empty((len(self._bias_P1), num_streams), dtype=np.float32)
        self._projected_PB[head : 2 * head] = next_key_BD.T
        self._normed_HB = np.empty((self._size, num_streams), dtype=np.float32)
        self._gated_DB = np.empty((head, num_streams), dtype=np.float32)
        self._result_HB = np.empty((self._num_rows, num_streams), dtype=np.float32)

    def keep(self, rows: Sequence[int]) -> Self:
        """Return the memory of some of the streams."""
        kept = list(rows)
        return self.begun(tuple(part[kept] for part in self.state()), len(kept))

    def state(self) -> LayerState:
        """Return the memory in the layout of the engine."""
        seen = slice(self._next - self._past, self._next)
        memory = np.concatenate((self._keys_BLD[:, seen], self._values_BLD[:, seen]), axis=-1)
        next_key = self._projected_PB[self._head : 2 * self._head].T.copy()
        return memory, (self._added_BL[:, seen] == 0).astype(np.float32), next_key

    def read(self, hidden_HB: Floats) -> None:
        """Add a position to the memory.

        Args:
            hidden_HB: outputs of the top layer.
        """
        projected_PB, head = self._projected_PB, self._head
        if self._next == self._keys_BLD.shape[1]:
            self._move_to_beginning()
        self._keys_BLD[:, self._next] = projected_PB[head : 2 * head].T  # that of the position before
        self._normalize(hidden_HB)
        self._project(self._normed_HB, projected_PB)
        np.add(projected_PB, self._bias_P1, projected_PB)
        self._values_BLD[:, self._next] = projected_PB[2 * head : 3 * head].T
        self._added_BL[:, self._next] = 0
        self._next += 1

    def _normalize(self, hidden_HB: Floats) -> None:
        """Normalize the outputs, without the weights of the layer norm, which are part of the projection."""
        size = np.float32(self._size)
        if hidden_HB.shape[1] == 1:
            hidden_H, normed_H = hidden_HB[:, 0], self._normed_HB[:, 0]
            np.subtract(hidden_H, np.add.reduce(hidden_H) / size, normed_H)
            normed_H *= np.float32(1 / math.sqrt(np.dot(normed_H, normed_H) / size + NORM_EPSILON))
            return
        rows_BH = np.ascontiguousarray(hidden_HB.T)
        rows_BH -= (np.add.reduce(rows_BH, axis=1) / size)[:, None]
        variance_B = np.add.reduce(rows_BH * rows_BH, axis=1) / size
        np.multiply(rows_BH.T, 1 / np.sqrt(variance_B + np.float32(NORM_EPSILON)), self._normed_HB)

    def _move_to_beginning(self) -> None:
        for buffer in (self._keys_BLD, self._values_BLD, self._added_BL):
            buffer[:, : self._past] = buffer[:, self._next - self._past :]
        self._next = self._past

    def attend(self, hidden_HB: Floats) -> Floats:
        """Add a position to the memory; return the outputs (H, B) with what they attend to, which the next call overwrites.

        Args:
            hidden_HB: outputs of the top layer.
        """
        self.read(hidden_HB)
        seen, head = slice(self._next - self._past - 1, self._next), self._head
        query_DB = self._projected_PB[:head]
        if query_DB.shape[1] == 1:
            mixed_DB = self._mixed_of_one(query_DB[:, 0], seen)[:, None]
        else:
            mixed_DB = self._mixed(np.ascontiguousarray(query_DB.T), seen).T
        gate_DB = self._projected_PB[3 * head : 4 * head]  # halved: s(x) = tanh(x / 2) / 2 + 1 / 2
        np.tanh(gate_DB, gate_DB)
        np.multiply(gate_DB, np.float32(0.5), gate_DB)
        np.add(gate_DB, np.float32(0.5), gate_DB)
        np.multiply(mixed_DB, gate_DB, self._gated_DB)
        self._output(self._gated_DB, self._result_HB)
        result_HB = self._result_HB[: self._size]
        return np.add(result_HB, hidden_HB, result_HB)

    def _mixed_of_one(self, query_D: Floats, seen: slice) -> Floats:
        """Return the mean of the values (D,) by the scores of the only stream."""
        scores_W = np.dot(self._keys_BLD[0, seen], query_D)
        scores_W += self._added_BL[0, seen]
        scores_W -= np.maximum.reduce(scores_W)
        np.exp(scores_W, scores_W)
        mixed_D: Floats = np.dot(scores_W, self._values_BLD[0, seen])
        mixed_D *= np.float32(1) / np.add.reduce(scores_W)
        return mixed_D

    def _mixed(self, query_BD: Floats, seen: slice) -> Floats:
        """Return the mean of the values (B, D) by the scores of each stream."""
        scores_BW = np.matmul(self._keys_BLD[:, seen], query_BD[..., None])[..., 0]
        scores_BW += self._added_BL[:, seen]
        scores_BW -= np.maximum.reduce(scores_BW, axis=1)[:, None]
        np.exp(scores_BW, scores_BW)
        mixed_BD: Floats = np.matmul(scores_BW[:, None], self._values_BLD[:, seen])[:, 0]
        mixed_BD *= (np.float32(1) / np.add.reduce(scores_BW, axis=1))[:, None]
        return mixed_BD


def added_bound(engine: Engine) -> float:
    """Return a bound of the absolute value of the logits' part that attention adds, for outputs of any value."""
    weights, head = engine.attention, engine.architecture.attention_size
    value = weights["weight"][2 * head : 3 * head]
    # a normalized output has the length of the square root of its size at most
    of_norm = np.linalg.norm(value * weights["norm_weight"], axis=1) * np.sqrt(engine.architecture.output_size)
    bound_D = of_norm + np.abs(value @ weights["norm_bias"] + weights["bias"][2 * head : 3 * head])
    return float((np.abs(engine.output_VH) @ (np.abs(weights["output"]) @ bound_D)).max())
