"""Batches: stretches of a stream side by side, or whole units packed by length. Time comes first.

Both are functions of (seed, epoch, index) alone, so that a position in the corpus is two numbers.
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
    """What one step learns from.

    Args:
        inputs_TB: the true tokens read (teacher forcing).
        targets_TB: the tokens that follow them, `IGNORED` where there is none.
        places_TB: where in the text the targets stand.
        num_targets: targets that count.
        opens: whether the streams begin here, from an empty state.
        length_share: the length that was drawn for this step over the usual one.
    """

    inputs_TB: IdArray
    targets_TB: IdArray
    places_TB: IdArray
    num_targets: int
    opens: bool
    length_fraction: float = 1.0


class Batches(Protocol):
    """An encoded text cut into batches."""

    steps_per_epoch: int

    def batch(self, epoch: int, index: int) -> Batch | None:
        """Return a batch of an epoch, or None past its end."""
        ...


class UnknownNoise:
    """Replaces rare tokens by <unk>, so that it is learned where the vocabulary leaves nothing unknown.

    Whether the token at a place is replaced in an epoch is decided by a hash of both: the same for input and target.
    """

    def __init__(self, vocabulary: Vocabulary, seed: int) -> None:
        self._replaceable = replaceable_tokens(vocabulary)
        self._unknown_id = vocabulary.unknown_id if self._replaceable.any() else None
        self._seed = seed

    def apply(self, ids: IdArray, places: IdArray, epoch: int) -> None:
        """Replace ids in place; `places` are their positions in the text, of the same shape."""
        if self._unknown_id is None:
            return
        candidates = np.nonzero(self._replaceable[ids])
        chosen = _uniform_hash(places[candidates], self._seed, epoch) < REPLACEMENT_PROBABILITY
        ids[tuple(axis[chosen] for axis in candidates)] = self._unknown_id


def _uniform_hash(places: IdArray, seed: int, epoch: int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each position, a function of the position alone."""
    start = np.random.default_rng([seed, epoch, 1]).integers(2**63, dtype=np.uint64)
    hashed: npt.NDArray[np.uint64] = splitmix64(places.astype(np.uint64) * np.uint64(WEYL_INCREMENT) + start)
    return (hashed >> np.uint64(11)).astype(np.float64) / 2.0**53


USUAL_LENGTH, SPREAD_OF_LENGTH, LEAST_DRAWN_LENGTH = 0.95, 5, 5


class _Step(NamedTuple):
    """What a step reads: which texts, from which of their tokens on, and how many tokens of each at most."""

    texts: IdArray
    first: int
    length: int


class _Deal(NamedTuple):
    """An epoch of lanes: the place in the text where it begins, and what each step reads, as `_steps` says."""

    offset: int
    steps: list[_Step]


def _steps(
    groups: list[IdArray], lengths: IdArray, bptt_length: int, jitter: np.random.Generator | None
) -> list[_Step]:
    """Return the steps that groups of texts take which are read side by side.

    Args:
        jitter: draws each step's length; without it all are `bptt_length`.
    """
    steps = []
    for group in groups:
        first, longest = 0, int(lengths[group].max())
        while first < longest:
            length = bptt_length if jitter is None else _drawn_length(bptt_length, jitter)
            steps.append(_Step(group, first, length))
            first += length
    return steps


def _drawn_length(bptt_length: int, random: np.random.Generator) -> int:
    """Return a length near `bptt_length`, or once in twenty near half of it.

    Source: Merity et al. (2018), Regularizing and optimizing LSTM language models.
    """
    middle = bptt_length if random.random() < USUAL_LENGTH else bptt_length / 2
    return max(LEAST_DRAWN_LENGTH, round(random.normal(middle, SPREAD_OF_LENGTH)))


class LaneBatches:
    """A stream cut into stretches of about one length, dealt anew to B lanes in each epoch and read side by side.

    Each stretch is read from an empty state, which is carried to its end. So a step learns from B places that have nothing
    to do with each other, where lanes that go through the whole text stay with the same few documents for long. An epoch begins
    at a new random place and goes round the whole text, so that every token is a target once.

    Args:
        ids: the text.
        num_lanes: B, fewer where the text has fewer tokens.
        bptt_length: tokens a step and lane.
        carry_length: tokens a stretch at most; 0 makes one stretch of each lane.
        seed: that of the order.
        jitter: whether the length of each step is drawn (see `_drawn_length`).
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
        tokens_a_round = self.num_lanes * (carry_length or len(ids))
        num_rounds = max(1, min(-(-len(ids) // tokens_a_round), len(ids) // self.num_lanes))
        num_stretches = self.num_lanes * num_rounds
        bounds = np.arange(num_stretches + 1) * len(ids) // num_stretches
        self._starts, self._lengths = bounds[:-1], np.diff(bounds)
        self._planned_epoch = -1
        self.steps_per_epoch = len(self._plan(0).steps)

    def batch(self, epoch: int, index: int) -> Batch | None:
        """Return a batch of an epoch, or None past its end."""
        offset, steps = self._plan(epoch)
        if index >= len(steps):
            return None
        segments, first, length = steps[index]
        lengths = self._lengths[segments]
        times = np.arange(first - 1, min(first + length, int(lengths.max())))[:, None]
        places = (self._starts[segments] + offset + times) % len(self._ids)
        block = self._ids[places].astype(np.int64)
        self._noise.apply(block, places, epoch)
        inputs, targets = block[:-1], block[1:].copy()
        inputs[places[1:] == 0] = self._boundary_id
        targets[times[1:] >= lengths] = IGNORED
        num_targets = int(np.count_nonzero(targets != IGNORED))
        return Batch(inputs, targets, places[1:], num_targets, first == 0, length / self._bptt_length)

    def _plan(self, epoch: int) -> _Deal:
        """Return where an epoch begins, and its steps."""
        if epoch != self._planned_epoch:
            random = np.random.default_rng([self._seed, epoch])
            offset, order = int(random.integers(len(self._ids))), np.arange(len(self._starts))
            if len(order) > self.num_lanes:
                order = random.permutation(order)
            rounds = [order[first : first + self.num_lanes] for first in range(0, len(order), self.num_lanes)]
            jitter = np.random.default_rng([self._seed, epoch, 2]) if self._jitter else None
            self._deal = _Deal(offset, _steps(rounds, self._lengths, self._bptt_length, jitter))
            self._planned_epoch = epoch
        return self._deal


class UnitBatches:
    """Whole units (lines, documents), each read from an empty state, packed with others of about its length.

    Short units share a step in such numbers that a step has about B x T places; units longer than T go on in the next step
    with their state carried.
    """

    def __init__(
        self,
        ids: npt.NDArray[Any],
        vocabulary: Vocabulary,
        *,
        num_lanes: int,
        bptt_length: int,
        seed: int | None,
        jitter: bool = False,
    ) -> None:
        self._ids = np.asarray(ids)
        self._jitter = jitter
        self._boundary_id = vocabulary.boundary_id
        self._noise = None if seed is None else UnknownNoise(vocabulary, seed)
        self._seed = seed
        self._num_lanes = num_lanes
        self._bptt_length = bptt_length
        ends = np.flatnonzero(self._ids == self._boundary_id)
        self._starts = np.concatenate([[0], ends[:-1] + 1])
        self._lengths = ends - self._starts + 1
        self._planned_epoch = -1
        self.steps_per_epoch = len(self._plan(0))

    def batch(self, epoch: int, index: int) -> Batch | None:
        """Return a batch of an epoch, or None past its end."""
        plan = self._plan(epoch)
        if index >= len(plan):
            return None
        units, first, length = plan[index]
        lengths = self._lengths[units]
        times = np.arange(first - 1, min(first + length, int(lengths.max())))[:, None]
        places = np.clip(self._starts[units] + np.minimum(times, lengths - 1), 0, None)
        block = self._ids[places].astype(np.int64)
        if self._noise is not None:
            self._noise.apply(block, places, epoch)
        inputs, targets = block[:-1], block[1:].copy()
        inputs[np.broadcast_to(times[:-1] < 0, inputs.shape)] = self._boundary_id
        targets[times[1:] >= lengths] = IGNORED
        num_targets = int(np.count_nonzero(targets != IGNORED))
        return Batch(inputs, targets, places[1:], num_targets, first == 0, length / self._bptt_length)

    def runs(self) -> list[range]:
        """Return the batches of an epoch that go on with each other's units: each run begins where units open."""
        opening = [index for index, step in enumerate(self._plan(0)) if step.first == 0]
        return [range(*bounds) for bounds in pairwise([*opening, self.steps_per_epoch])]

    def _plan(self, epoch: int) -> list[_Step]:
        """Return the steps of an epoch."""
        if epoch != self._planned_epoch:
            jitter = np.random.default_rng([self._seed or 0, epoch, 2]) if self._jitter else None
            self._cached_plan = _steps(self._groups(epoch), self._lengths, self._bptt_length, jitter)
            self._planned_epoch = epoch
        return self._cached_plan

    def _groups(self, epoch: int) -> list[IdArray]:
        """Return the units that are read side by side: random ones of about one length; without a seed, all by length."""
        num_units = len(self._starts)
        random = None if self._seed is None else np.random.default_rng([self._seed, epoch])
        order = np.arange(num_units) if random is None else random.permutation(num_units)
        places_a_step = self._num_lanes * self._bptt_length
        window = num_units if random is None else max(64 * self._num_lanes, 4096)
        groups = []
        for begin in range(0, num_units, window):
            drawn = order[begin : begin + window]
            by_length = drawn[np.argsort(self._lengths[drawn], kind="stable")]
            taken = 0
            while taken < len(by_length):
                size = max(1, places_a_step // min(self._bptt_length, int(self._lengths[by_length[taken]])))
                longest = int(self._lengths[by_length[min(taken + size, len(by_length)) - 1]])
                size = max(1, places_a_step // min(self._bptt_length, longest))
                groups.append(by_length[taken : taken + size])
                taken += size
        return groups if random is None else [groups[number] for number in random.permutation(len(groups))]


def make_batches(
    ids: npt.NDArray[Any],
    vocabulary: Vocabulary,
    *,
    unit: str,
    num_lanes: int,
    bptt_length: int,
    carry_length: int,
    seed: int,
    jitter: bool = False,
) -> Batches:
    """Return the batches of a training text: lanes through a stream, or packed units, which need no `carry_length`."""
    if unit == "stream":
        return LaneBatches(
            ids,
            vocabulary,
            num_lanes=num_lanes,
            bptt_length=bptt_length,
            carry_length=carry_length,
            seed=seed,
            jitter=jitter,
        )
    return UnitBatches(ids, vocabulary, num_lanes=num_lanes, bptt_length=bptt_length, seed=seed, jitter=jitter)
