"""Batches: segments of a stream in parallel, or whole units packed by length. Time is the first dimension.

Each batch is a function of (seed, epoch, index) alone, so a checkpoint stores the position in the corpus as two integers.
"""

from array import array
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from charnn.randomness import WEYL_INCREMENT, splitmix64
from charnn.text.stored_ids import as_array, index_type, positions_of, tokens_at
from charnn.text.vocabulary import REPLACEMENT_PROBABILITY, Vocabulary, replaceable_tokens
from charnn.training.loss import IGNORED
from charnn.training.steps import Packs, Steps, empty_packs

IdArray = npt.NDArray[np.int64]
UNLABELLED_FRACTION = 0.1
"""Fraction of units that are read without their label in an epoch."""


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


def with_labels(ids: IdArray, labels: IdArray, vocab_size: int) -> IdArray:
    """Return inputs of a network that say to which label each token belongs: its id + V x its label.

    Args:
        ids: token ids, of any shape.
        labels: their labels, from 1, 0 for none, of a shape that fits.
        vocab_size: V.
    """
    return ids + vocab_size * labels


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


def _uniform_hash(positions: IdArray, seed: int, epoch: int, purpose: int = 1) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each position, independent of the other positions and of other purposes."""
    key = np.random.default_rng([seed, epoch, purpose]).integers(2**63, dtype=np.uint64)
    hashed: npt.NDArray[np.uint64] = splitmix64(positions.astype(np.uint64) * np.uint64(WEYL_INCREMENT) + key)
    return (hashed >> np.uint64(11)).astype(np.float64) / 2.0**53


class _EpochOfLanes(NamedTuple):
    """An epoch of `LaneBatches`: the position in the text at which it begins, and its steps."""

    offset: int
    steps: Steps


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
        self._ids = as_array(ids)
        self._jitter = jitter
        self._boundary_id = vocabulary.boundary_id
        self._noise = UnknownNoise(vocabulary, seed)
        self._seed = seed
        self._bptt_length = bptt_length
        self.num_lanes = min(num_lanes, len(ids))
        tokens_per_round = self.num_lanes * (carry_length or len(ids))
        num_rounds = max(1, min(-(-len(ids) // tokens_per_round), len(ids) // self.num_lanes))
        self._num_segments = self.num_lanes * num_rounds
        self._cached_epoch = -1
        self.steps_per_epoch = len(self._steps_of(0).steps)

    def batch(self, epoch: int, index: int) -> Batch | None:
        """Return a batch of an epoch, or None past its end."""
        offset, steps = self._steps_of(epoch)
        if index >= len(steps):
            return None
        segments, first, length = steps.step(index)
        starts = self._starts(segments)
        lengths = self._starts(segments + 1) - starts
        times = np.arange(first - 1, min(first + length, int(lengths.max())))[:, None]
        positions = (starts + offset + times) % len(self._ids)
        block = tokens_at(self._ids, positions)
        self._noise.apply(block, positions, epoch)
        inputs, targets = block[:-1], block[1:].copy()
        inputs[positions[1:] == 0] = self._boundary_id
        targets[times[1:] >= lengths] = IGNORED
        num_targets = int(np.count_nonzero(targets != IGNORED))
        return Batch(inputs, targets, positions[1:], num_targets, first == 0, length / self._bptt_length)

    def _starts(self, segments: IdArray) -> IdArray:
        """Return where segments begin, in a text that begins with the first one; of their number, the end of the text."""
        return segments * len(self._ids) // self._num_segments

    def _steps_of(self, epoch: int) -> _EpochOfLanes:
        """Return the steps of an epoch, which are cached."""
        if epoch != self._cached_epoch:
            random = np.random.default_rng([self._seed, epoch])
            offset, order = int(random.integers(len(self._ids))), np.arange(self._num_segments)
            if len(order) > self.num_lanes:
                order = random.permutation(order)
            starts = np.arange(0, len(order), self.num_lanes)
            longest = np.maximum.reduceat(self._starts(order + 1) - self._starts(order), starts)
            jitter = np.random.default_rng([self._seed, epoch, 2]) if self._jitter else None
            packs = Packs(order, starts, starts + self.num_lanes, longest)
            self._epoch = _EpochOfLanes(offset, Steps(packs, self._bptt_length, jitter))
            self._cached_epoch = epoch
        return self._epoch


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
        labels: of each unit, from 1, 0 for none (see `with_labels`). With a seed, one unit in ten is read without its label,
            other ones in each epoch, so that the network can do without.
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
        labels: IdArray | None = None,
    ) -> None:
        self._ids = as_array(ids)
        self._jitter, self._labels, self._vocab_size = jitter, labels, len(vocabulary)
        self._boundary_id = vocabulary.boundary_id
        self._noise = None if seed is None else UnknownNoise(vocabulary, seed)
        self._seed = seed
        self._batch_size = batch_size
        self._bptt_length = bptt_length
        self._ends = positions_of(ids, self._boundary_id)
        self._cached_epoch = -1
        self.steps_per_epoch = len(self._steps_of(0))

    def batch(self, epoch: int, index: int) -> Batch | None:
        """Return a batch of an epoch, or None past its end."""
        steps = self._steps_of(epoch)
        if index >= len(steps):
            return None
        units, first, length = steps.step(index)
        starts, lengths = self._starts(units), self._lengths(units)
        times = np.arange(first - 1, min(first + length, int(lengths.max())))[:, None]
        positions = np.clip(starts + np.minimum(times, lengths - 1), 0, None)
        block = tokens_at(self._ids, positions)
        if self._noise is not None:
            self._noise.apply(block, positions, epoch)
        inputs, targets = block[:-1], block[1:].copy()
        inputs[np.broadcast_to(times[:-1] < 0, inputs.shape)] = self._boundary_id
        if self._labels is not None:
            inputs = with_labels(inputs, self._drawn_labels(self._labels[units], units, epoch), self._vocab_size)
        targets[times[1:] >= lengths] = IGNORED
        num_targets = int(np.count_nonzero(targets != IGNORED))
        return Batch(inputs, targets, positions[1:], num_targets, first == 0, length / self._bptt_length)

    def _drawn_labels(self, labels: IdArray, units: IdArray, epoch: int) -> IdArray:
        if self._seed is None:
            return labels
        is_read = _uniform_hash(units.astype(np.int64), self._seed, epoch, 6) >= UNLABELLED_FRACTION
        return np.where(is_read, labels, 0)

    def unit_ranges(self) -> list[range]:
        """Return ranges of consecutive batches of epoch 0: the first of each starts units, and the others continue them."""
        starts = self._steps_of(0).starts_of_packs().tolist()
        return [range(*bounds) for bounds in pairwise([*starts, self.steps_per_epoch])]

    def _starts(self, units: IdArray) -> IdArray:
        """Return where units begin."""
        return np.where(units > 0, self._ends[np.maximum(units, 1) - 1].astype(np.int64) + 1, 0)

    def _lengths(self, units: IdArray) -> IdArray:
        """Return the lengths of units, with their boundaries."""
        return self._ends[units].astype(np.int64) - self._starts(units) + 1

    def _steps_of(self, epoch: int) -> Steps:
        """Return the steps of an epoch, which are cached."""
        if epoch != self._cached_epoch:
            self._cached_steps = Steps(empty_packs(), self._bptt_length, None)  # frees the steps of the epoch before
            jitter = np.random.default_rng([self._seed or 0, epoch, 2]) if self._jitter else None
            self._cached_steps = Steps(self._packs(epoch), self._bptt_length, jitter)
            self._cached_epoch = epoch
        return self._cached_steps

    def _packs(self, epoch: int) -> Packs:
        """Pack units of similar length, drawn at random; without a seed, in the order of their lengths."""
        num_units = len(self._ends)
        random = None if self._seed is None else np.random.default_rng([self._seed, epoch])
        order = np.arange(num_units, dtype=index_type(num_units))
        if random is not None:
            random.shuffle(order)
        tokens_per_step = self._batch_size * self._bptt_length
        window = num_units if random is None else max(64 * self._batch_size, 4096)
        starts = array("q")
        for window_start in range(0, num_units, window):
            candidates = order[window_start : window_start + window]
            lengths = self._lengths(candidates)
            in_order = np.argsort(lengths, kind="stable")
            candidates[:], lengths = candidates[in_order], lengths[in_order]
            num_packed = 0
            while num_packed < len(candidates):
                size = max(1, tokens_per_step // min(self._bptt_length, int(lengths[num_packed])))
                longest = int(lengths[min(num_packed + size, len(candidates)) - 1])
                size = max(1, tokens_per_step // min(self._bptt_length, longest))
                starts.append(window_start + num_packed)
                num_packed += size
        bounds = np.append(np.array(starts, dtype=np.int64), num_units)
        drawn = np.arange(len(starts)) if random is None else random.permutation(len(starts))
        firsts, ends = bounds[drawn], bounds[drawn + 1]
        return Packs(order, firsts, ends, self._lengths(order[ends - 1]))


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
    labels: IdArray | None = None,
) -> Batches:
    """Return the batches of a training text: `LaneBatches` for a stream, else `UnitBatches`, which ignore `carry_length`.

    Args:
        labels: of each unit, if they have labels (see `UnitBatches`).
    """
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
    return UnitBatches(
        ids, vocabulary, batch_size=batch_size, bptt_length=bptt_length, seed=seed, jitter=jitter, labels=labels
    )
