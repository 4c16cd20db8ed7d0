"""The held-out text, and the pieces of it that are evaluated if reading all of it would take too long."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.text.stored_ids import positions_of
from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import IdArray

PIECE_LENGTH = 512
"""Minimum length of the pieces of a running text; each is preceded by a warm-up (see `evaluation`)."""
MAX_PIECES = 128
BLOCK_LENGTHS, BLOCKS = (256, 1024), 32
"""Minimum and maximum tokens in a block of a stream, whose loss is assumed independent of other blocks, and their number."""
MIN_CLUSTERS = 8
NORMAL_97_5 = 1.959964
"""The 97.5th percentile of the standard normal distribution."""


@dataclass(eq=False)
class HeldOutText:
    """A held-out text, or pieces that are spread evenly over it.

    Args:
        ids: the whole encoded text (N,).
        unit: stream, line or document.
        boundary_id: id of the boundary token, with which each line or document ends.
        starts, lengths: the pieces in the order of the text, without overlap (P,): whole lines or documents, or pieces of
            about one length of a stream.
        labels: of all lines or documents of the text, from 1, 0 for none (U,); None if they have no labels.
        unit_labels: of those that are in the pieces.
    """

    ids: npt.NDArray[Any]
    unit: str
    boundary_id: int
    starts: IdArray
    lengths: IdArray
    labels: IdArray | None = None
    unit_labels: IdArray | None = None

    @classmethod
    def of(
        cls,
        ids: npt.NDArray[Any],
        vocabulary: Vocabulary,
        *,
        unit: str,
        max_tokens: int | None = None,
        labels: IdArray | None = None,
    ) -> "HeldOutText":
        """Return a text (N,), or pieces with about `max_tokens` tokens together, at least one, if it is longer."""
        max_tokens = None if max_tokens is None else max(max_tokens, 1)
        if max_tokens is None or len(ids) <= max_tokens:
            starts, ends = np.zeros(1, dtype=np.int64), np.array([len(ids)])
        elif unit == "stream":
            number = int(np.clip(max_tokens // PIECE_LENGTH, 1, MAX_PIECES))
            length = max_tokens // number
            starts = np.arange(number) * (len(ids) - length) // max(number - 1, 1)
            ends = starts + length
        else:
            starts, ends = _spread_units(ids, vocabulary.boundary_id, max_tokens)
        unit_labels = labels
        if labels is not None and ends[0] - starts[0] < len(ids):
            unit_labels = labels[np.searchsorted(positions_of(ids, vocabulary.boundary_id), starts)]
        return cls(ids, unit, vocabulary.boundary_id, starts, ends - starts, labels, unit_labels)

    def part(self, vocabulary: Vocabulary, *, max_tokens: int) -> "HeldOutText":
        """Return pieces of the whole text with about `max_tokens` tokens, or this text if it has no more."""
        return (
            self
            if len(self) <= max(max_tokens, 1)
            else self.of(self.ids, vocabulary, unit=self.unit, max_tokens=max_tokens, labels=self.labels)
        )

    def __len__(self) -> int:
        """Return the number of tokens in the pieces, M."""
        return int(self.lengths.sum())

    @property
    def is_whole(self) -> bool:
        """Whether the pieces are the whole text."""
        return len(self) == len(self.ids)

    @cached_property
    def offsets(self) -> IdArray:
        """The index of each piece's first token among the tokens of all pieces (P,)."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def tokens(self) -> IdArray:
        """The tokens of the pieces, one after another (M,)."""
        if len(self.starts) == 1:
            return np.asarray(self.ids[self.starts[0] : self.starts[0] + self.lengths[0]]).astype(np.int64)
        positions = np.repeat(self.starts - self.offsets, self.lengths) + np.arange(len(self))
        return np.asarray(self.ids[positions]).astype(np.int64)

    def tokens_before(self, positions: IdArray) -> IdArray:
        """Return the token before each position of the whole text; the boundary before the first and before negative ones."""
        before = np.asarray(self.ids[np.maximum(positions - 1, 0)]).astype(np.int64)
        return np.where(positions > 0, before, self.boundary_id)

    def clusters(self) -> IdArray:
        """Return where parts with nearly independent losses begin among the tokens: the units, or blocks of a stream and of a
        few long documents (C,)."""
        if self.unit != "stream":
            ends = np.flatnonzero(self.tokens == self.boundary_id)
            if len(ends) >= MIN_CLUSTERS:
                return np.concatenate(([0], ends[ends < len(self) - 1] + 1))
        length = int(np.clip(len(self) // BLOCKS, *BLOCK_LENGTHS))
        return np.arange(0, max(len(self) - length // 2, 1), length)


def _spread_units(ids: npt.NDArray[Any], boundary_id: int, max_tokens: int) -> tuple[IdArray, IdArray]:
    """Return the starts and ends of evenly spaced lines or documents with about `max_tokens` tokens together."""
    ends = positions_of(ids, boundary_id)
    number = int(np.clip(round(max_tokens / (len(ids) / len(ends))), 1, len(ends)))
    chosen = (2 * np.arange(number) + 1) * len(ends) // (2 * number)
    starts = np.where(chosen > 0, ends[chosen - 1].astype(np.int64) + 1, 0)
    return starts, ends[chosen].astype(np.int64) + 1


def margin_of_mean(losses: npt.NDArray[np.floating[Any]], cluster_starts: IdArray) -> float | None:
    """Return half the width of the 95 % confidence interval of a mean loss, or None for fewer than `MIN_CLUSTERS` clusters.

    The mean is a ratio of two sums over clusters, whose variance is estimated by linearization.
    Source: Cochran (1977), Sampling techniques, sections 2.11 and 9A.1.

    Args:
        losses: of the tokens, in nats (M,).
        cluster_starts: where clusters of tokens with nearly independent losses begin (C,).
    """
    number = len(cluster_starts)
    if number < MIN_CLUSTERS:
        return None
    sums = np.add.reduceat(losses.astype(np.float64), cluster_starts)
    sizes = np.diff(np.append(cluster_starts, len(losses)))
    residuals = sums - sizes * (sums.sum() / sizes.sum())
    variance = number / (number - 1) * float(np.square(residuals).sum())
    return NORMAL_97_5 * float(np.sqrt(variance)) / len(losses)
