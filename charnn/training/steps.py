"""The steps of an epoch: packs of texts that are processed in parallel, each in steps of truncated backpropagation.

They are arrays, not lists: an epoch of two billion tokens has a million steps, and tens of millions of lines.
"""

from array import array
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IdArray = npt.NDArray[np.int64]

FULL_LENGTH_PROBABILITY, LENGTH_STD, MIN_DRAWN_LENGTH = 0.95, 5, 5


class Packs(NamedTuple):
    """Texts that are processed in parallel.

    Args:
        texts: indices of segments or units, those of one pack next to each other (N,).
        starts, ends: the bounds of each pack in `texts` (P,).
        longest: the length of the longest text of each pack, in tokens (P,).
    """

    texts: npt.NDArray[np.integer]
    starts: IdArray
    ends: IdArray
    longest: IdArray


def empty_packs() -> Packs:
    """Return no packs."""
    return Packs(*(np.zeros(0, dtype=np.int64) for _ in Packs._fields))


class Step(NamedTuple):
    """The input of a step: indices of segments or units, the first token of each to process, and the maximum length."""

    texts: IdArray
    first: int
    length: int


class Steps:
    """The steps of an epoch.

    Args:
        packs: processed one after another.
        bptt_length: tokens per step.
        jitter: generator for the length of each step; if None, every step has length `bptt_length`.
    """

    def __init__(self, packs: Packs, bptt_length: int, jitter: np.random.Generator | None) -> None:
        self._packs, self._bptt_length = packs, bptt_length
        self._firsts = None if jitter is None else _drawn_firsts(packs.longest, bptt_length, jitter)
        numbers = -(-packs.longest // bptt_length) if self._firsts is None else self._firsts.numbers
        self._first_steps = np.cumsum(numbers) - numbers
        self._num_steps = int(numbers.sum())

    def __len__(self) -> int:
        return self._num_steps

    def step(self, index: int) -> Step:
        """Return a step."""
        pack = int(np.searchsorted(self._first_steps, index, side="right")) - 1
        texts = self._packs.texts[self._packs.starts[pack] : self._packs.ends[pack]].astype(np.int64)
        if self._firsts is None:
            return Step(texts, (index - int(self._first_steps[pack])) * self._bptt_length, self._bptt_length)
        return Step(texts, int(self._firsts.firsts[index]), int(self._firsts.lengths[index]))

    def starts_of_packs(self) -> IdArray:
        """Return the index of the first step of each pack (P,)."""
        return self._first_steps


class _DrawnFirsts(NamedTuple):
    """Steps of random lengths.

    Args:
        firsts, lengths: of each step, in tokens.
        numbers: of steps in each pack (P,).
    """

    firsts: IdArray
    lengths: IdArray
    numbers: IdArray


def _drawn_firsts(longest: IdArray, bptt_length: int, jitter: np.random.Generator) -> _DrawnFirsts:
    firsts, lengths, numbers = array("q"), array("q"), array("q")
    for end in longest.tolist():
        first, before = 0, len(firsts)
        while first < end:
            length = _draw_length(bptt_length, jitter)
            firsts.append(first)
            lengths.append(length)
            first += length
        numbers.append(len(firsts) - before)
    return _DrawnFirsts(*(np.array(values, dtype=np.int64) for values in (firsts, lengths, numbers)))


def _draw_length(bptt_length: int, random: np.random.Generator) -> int:
    """Draw a length near `bptt_length`, or with probability 0.05 near half of it.

    Source: Merity et al. (2018), Regularizing and optimizing LSTM language models.
    """
    mean = bptt_length if random.random() < FULL_LENGTH_PROBABILITY else bptt_length / 2
    return max(MIN_DRAWN_LENGTH, round(random.normal(mean, LENGTH_STD)))
