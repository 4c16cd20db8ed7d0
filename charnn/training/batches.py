"""Batches: segments of a stream in parallel, or whole units packed by length. Time is the first dimension.

Each batch is a function of (seed, epoch, index) alone, so a checkpoint stores the position in the corpus as two integers.
"""

from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from charnn.randomness import WEYL_INCREMENT, splitmix64
from charnn.text.vocabulary import REPLACEMENT_PROBABILITY, Vocabulary, replaceable_tokens
from charnn.training.loss import IGNORED

IdArray = npt.NDArray[np.int64]


class Batch(NamedTuple):
    """The inputs and targets of one training step.

    Args:
        inputs_TB: the reference tokens (teacher forcing).
        targets_TB: the next token of each input, `IGNORED` at padding.
        positions_TB: positions of the targets in the text, in tokens.
        num_targets: number of targets that are not padding.
        is_first: whether all streams begin in this batch, from the initial state.
        length_fraction: the drawn BPTT length divided by the configured one.
    """

    inputs_TB: IdArray
    targets_TB: IdArray
    positions_TB: IdArray
    num_targets: int
    is_first: bool
    length_fraction: float = 1.0


class Batches(Protocol):
    """The batches of an encoded text."""

    steps_per_epoch: int

    def batch(self, epoch: int, index: int) -> Batch | None:
        """Return a batch of an epoch, or None past its end.

        Args:
            epoch: number of the epoch, from 0.
            index: index of the batch within the epoch.
        """
        ...


class UnknownNoise:
    """Replaces rare tokens by <unk>, so that its embedding is learned even if the vocabulary covers the whole text.

    A hash of position and epoch determines whether a token is replaced, so that its input and its target agree.
    """

    def __init__(self, vocabulary: Vocabulary, seed: int) -> None:
        self._replaceable = replaceable_tokens(vocabulary)
        self._unknown_id = vocabulary.unknown_id if self._replaceable.any() else None
        self._seed = seed

    def apply(self, ids: IdArray, positions: IdArray, epoch: int) -> None:
        """Replace ids in place.

        Args:
            ids: token ids, of any shape.
            positions: their positions in the text, of the same shape.
            epoch: number of the epoch, from 0.
        """
        if self._unknown_id is None:
            return
        candidates = np.nonzero(self._replaceable[ids])
        is_replaced = _uniform_hash(positions[candidates], self._seed, epoch) < REPLACEMENT_PROBABILITY
        ids[tuple(axis[is_replaced] for axis in candidates)] = self._unknown_id


def _uniform_hash(positions: IdArray, seed: int, epoch: int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each position, independent of the other positions."""
    key = np.random.default_rng([seed, epoch, 1]).integers(2**63, dtype=np.uint64)
    hashed: npt.NDArray[np.uint64] = splitmix64(positions.astype(np.uint64) * np.uint64(WEYL_INCREMENT) + key)
    return (hashed >> np.uint64(11)).astype(np.float64) / 2.0**53


FULL_LENGTH_PROBABILITY, LENGTH_STD, MIN_DRAWN_LENGTH = 0.95, 5, 5


class _StepSlice(NamedTuple):
    """The input of a step: indices of segments or units, the first token of each to process, and the maximum length."""

    texts: IdArray
    first: int
    length: int


class _EpochSteps(NamedTuple):
    """An epoch of `LaneBatches`: the position in the text at which it begins, and its steps."""

    offset: int
    steps: list[_StepSlice]


def _split_into_steps(
    packs: list[IdArray], lengths: IdArray, bptt_length: int, jitter: np.random.Generator | None
) -> list[_StepSlice]:
    """Split packs of texts into steps of truncated backpropagation through time.

    Args:
        packs: indices of the texts that are processed in parallel.
        lengths: lengths of all texts, in tokens.
        jitter: generator for the length of each step; if None, every step has length `bptt_length`.
    """
    steps = []
    for pack in packs:
        first, longest = 0, int(lengths[pack].max())
        while first < longest:
            length = bptt_length if jitter is None else _draw_length(bptt_length, jitter)
            steps.append(_StepSlice(pack, first, length))
            first += length
    return steps


def _draw_length(bptt_length: int, random: np.random.Generator) -> int:
    """Draw a length near `bptt_length`, or with probability 0.05 near half of it.

    Source: Merity et al. (2018), Regularizing and optimizing LSTM language models.
    """
    mean = bptt_length if random.random() < FULL_LENGTH_PROBABILITY else bptt_length / 2
    return max(MIN_DRAWN_LENGTH, round(random.normal(mean, LENGTH_STD)))


class LaneBatches:
    """A stream split into segments of about equal length, assigned at random to B lanes in each epoch.

    Each segment begins from the initial state, and the state is carried to its end. So the gradient of a step comes from B
    unrelated parts of the text, whereas lanes that run through the whole text would stay in the same few documents for many
    steps. An epoch begins at a random position and wraps around the end of the text, so that every token is a target once.

    Args:
        ids: the encoded text (N,).
        num_lanes: B, at most N.
        bptt_length: tokens per step and lane.
        carry_length: maximum tokens per segment; 0 makes each lane one segment.
        seed: seed of the order of the segments.
        jitter: randomize the length of each step (see `_draw_length`).
    """

    def __init__(
        self,
        ids: npt.NDArray[Any],
        vocabulary: Vocabulary,
        *,
        num_lanes: int,
        bptt_length: int,
        carry_length: int,
        seed: int,
        jitter: bool = False,
    ) -> None:
        self._ids = np.asarray(ids)
        self._jitter = jitter
        self._boundary_id = vocabulary.boundary_id
        self._noise = UnknownNoise(vocabulary, seed)
        self._seed = seed
        self._bptt_length = bptt_length
        self.num_lanes = min(num_lanes, len(ids))
        tokens_per_round = self.num_lanes * (carry_length or len(ids))
        num_rounds = max(1, min(-(-len(ids) // tokens_per_round), len(ids) // self.num_lanes))
        num_segments = self.num_lanes * num_rounds
        bounds = np.arange(num_segments + 1) * len(ids) // num_segments
        self._starts, self._lengths = bounds[:-1], np.diff(bounds)
        self._cached_epoch = -1
        self.steps_per_epoch = len(self._steps_of(0).steps)

    def batch(self, epoch: int, index: int) -> Batch | None:
        """Return a batch of an epoch, or None past its end."""
        offset, steps = self._steps_of(epoch)
        if index >= len(steps):
            return None
        segments, first, length = steps[index]
        lengths = self._lengths[segments]
        times = np.arange(first - 1, min(first + length, int(lengths.max())))[:, None]
        positions = (self._starts[segments] + offset + times) % len(self._ids)
        block = self._ids[positions].astype(np.int64)
        self._noise.apply(block, positions, epoch)
        inputs, targets = block[:-1], block[1:].copy()
        inputs[positions[1:] == 0] = self._boundary_id
        targets[times[1:] >= lengths] = IGNORED
        num_targets = int(np.count_nonzero(targets != IGNORED))
        return Batch(inputs, targets, positions[1:], num_targets, first == 0, length / self._bptt_length)

    def _steps_of(self, epoch: int) -> _EpochSteps:
        """Return the steps of an epoch, which are cached."""
        if epoch != self._cached_epoch:
            random = np.random.default_rng([self._seed, epoch])
            offset, order = int(random.integers(len(self._ids))), np.arange(len(self._starts))
            if len(order) > self.num_lanes:
                order = random.permutation(order)
            rounds = [order[first : first + self.num_lanes] for first in range(0, len(order), self.num_lanes)]
            jitter = np.random.default_rng([self._seed, epoch, 2]) if self._jitter else None
            self._epoch_steps = _EpochSteps(offset, _split_into_steps(rounds, self._lengths, self._bptt_length, jitter))
            self._cached_epoch = epoch
        return self._epoch_steps


class UnitBatches:
    """Whole units (lines, documents), each from the initial state, packed with others of similar length.

    The number of units in a step is chosen so that the step has about B x T tokens. Units longer than T continue in the next
    step with carried state.

    Args:
        ids: the encoded text (N,); each unit ends with the boundary token.
        batch_size: B.
        bptt_length: T, maximum tokens per step and unit.
        seed: seed of the order of the units and of the noise; if None, all units are sorted by length and no noise is added.
        jitter: randomize the length of each step (see `_draw_length`).
    """

    def __init__(
        self,
        ids: npt.NDArray[Any],
        vocabulary: Vocabulary,
        *,
        batch_size: int,
        bptt_length: int,
        seed: int | None,
        jitter: bool = False,
    ) -> None:
        self._ids = np.asarray(ids)
        self._jitter = jitter
        self._boundary_id = vocabulary.boundary_id
        self._noise = None if seed is None else UnknownNoise(vocabulary, seed)
        self._seed = seed
        self._batch_size = batch_size
        self._bptt_length = bptt_length
        ends = np.flatnonzero(self._ids == self._boundary_id)
        self._starts = np.concatenate([[0], ends[:-1] + 1])
        self._lengths = ends - self._starts + 1
        self._cached_epoch = -1
        self.steps_per_epoch = len(self._steps_of(0))

    def batch(self, epoch: int, index: int) -> Batch | None:
        """Return a batch of an epoch, or None past its end."""
        steps = self._steps_of(epoch)
        if index >= len(steps):
            return None
        units, first, length = steps[index]
        lengths = self._lengths[units]
        times = np.arange(first - 1, min(first + length, int(lengths.max())))[:, None]
        positions = np.clip(self._starts[units] + np.minimum(times, lengths - 1), 0, None)
        block = self._ids[positions].astype(np.int64)
        if self._noise is not None:
            self._noise.apply(block, positions, epoch)
        inputs, targets = block[:-1], block[1:].copy()
        inputs[np.broadcast_to(times[:-1] < 0, inputs.shape)] = self._boundary_id
        targets[times[1:] >= lengths] = IGNORED
        num_targets = int(np.count_nonzero(targets != IGNORED))
        return Batch(inputs, targets, positions[1:], num_targets, first == 0, length / self._bptt_length)

    def unit_ranges(self) -> list[range]:
        """Return ranges of consecutive batches of epoch 0: the first of each starts units, and the others continue them."""
        starts = [index for index, step in enumerate(self._steps_of(0)) if step.first == 0]
        return [range(*bounds) for bounds in pairwise([*starts, self.steps_per_epoch])]

    def _steps_of(self, epoch: int) -> list[_StepSlice]:
        """Return the steps of an epoch, which are cached."""
        if epoch != self._cached_epoch:
            jitter = np.random.default_rng([self._seed or 0, epoch, 2]) if self._jitter else None
            self._cached_steps = _split_into_steps(self._packs(epoch), self._lengths, self._bptt_length, jitter)
            self._cached_epoch = epoch
        return self._cached_steps

    def _packs(self, epoch: int) -> list[IdArray]:
        """Pack units of similar length, drawn at random; without a seed, in the order of their lengths."""
        num_units = len(self._starts)
        random = None if self._seed is None else np.random.default_rng([self._seed, epoch])
        order = np.arange(num_units) if random is None else random.permutation(num_units)
        tokens_per_step = self._batch_size * self._bptt_length
        window = num_units if random is None else max(64 * self._batch_size, 4096)
        packs = []
        for window_start in range(0, num_units, window):
            candidates = order[window_start : window_start + window]
            by_length = candidates[np.argsort(self._lengths[candidates], kind="stable")]
            num_packed = 0
            while num_packed < len(by_length):
                size = max(1, tokens_per_step // min(self._bptt_length, int(self._lengths[by_length[num_packed]])))
                longest = int(self._lengths[by_length[min(num_packed + size, len(by_length)) - 1]])
                size = max(1, tokens_per_step // min(self._bptt_length, longest))
                packs.append(by_length[num_packed : num_packed + size])
                num_packed += size
        return packs if random is None else [packs[index] for index in random.permutation(len(packs))]


def make_batches(
    ids: npt.NDArray[Any],
    vocabulary: Vocabulary,
    *,
    unit: str,
    batch_size: int,
    bptt_length: int,
    carry_length: int,
    seed: int,
    jitter: bool = False,
) -> Batches:
    """Return the batches of a training text: `LaneBatches` for a stream, else `UnitBatches`, which ignore `carry_length`."""
    if unit == "stream":
        return LaneBatches(
            ids,
            vocabulary,
            num_lanes=batch_size,
            bptt_length=bptt_length,
            carry_length=carry_length,
            seed=seed,
            jitter=jitter,
        )
    return UnitBatches(ids, vocabulary, batch_size=batch_size, bptt_length=bptt_length, seed=seed, jitter=jitter)
