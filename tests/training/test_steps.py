"""The steps of an epoch are those of the lists of arrays of which they were made at first."""

import numpy as np
import pytest

from charnn.text import stored_ids
from charnn.text.stored_ids import ShardedIds
from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import LaneBatches, UnitBatches
from charnn.training.steps import _draw_length

PLAIN = Vocabulary(tuple(map(str, range(300))), (9,) * 300, boundary_id=0, unknown_id=None)


def listed_steps(packs, lengths, bptt_length, jitter):
    steps = []
    for pack in packs:
        first, longest = 0, int(lengths[pack].max())
        while first < longest:
            length = bptt_length if jitter is None else _draw_length(bptt_length, jitter)
            steps.append((pack.tolist(), first, length))
            first += length
    return steps


def listed_lanes(num_ids, epoch, *, num_lanes, bptt_length, carry_length, seed, jitter):
    num_lanes = min(num_lanes, num_ids)
    tokens_per_round = num_lanes * (carry_length or num_ids)
    num_rounds = max(1, min(-(-num_ids // tokens_per_round), num_ids // num_lanes))
    num_segments = num_lanes * num_rounds
    lengths = np.diff(np.arange(num_segments + 1) * num_ids // num_segments)
    random = np.random.default_rng([seed, epoch])
    offset, order = int(random.integers(num_ids)), np.arange(num_segments)
    if len(order) > num_lanes:
        order = random.permutation(order)
    rounds = [order[first : first + num_lanes] for first in range(0, len(order), num_lanes)]
    return offset, listed_steps(
        rounds, lengths, bptt_length, np.random.default_rng([seed, epoch, 2]) if jitter else None
    )


def listed_units(ids, epoch, *, batch_size, bptt_length, seed, jitter):
    ends = np.flatnonzero(ids == 0)
    lengths = ends - np.concatenate([[0], ends[:-1] + 1]) + 1
    random = None if seed is None else np.random.default_rng([seed, epoch])
    order = np.arange(len(ends)) if random is None else random.permutation(len(ends))
    tokens_per_step = batch_size * bptt_length
    window = len(ends) if random is None else max(64 * batch_size, 4096)
    packs = []
    for window_start in range(0, len(ends), window):
        candidates = order[window_start : window_start + window]
        by_length = candidates[np.argsort(lengths[candidates], kind="stable")]
        num_packed = 0
        while num_packed < len(by_length):
            size = max(1, tokens_per_step // min(bptt_length, int(lengths[by_length[num_packed]])))
            longest = int(lengths[by_length[min(num_packed + size, len(by_length)) - 1]])
            size = max(1, tokens_per_step // min(bptt_length, longest))
            packs.append(by_length[num_packed : num_packed + size])
            num_packed += size
    packs = packs if random is None else [packs[index] for index in random.permutation(len(packs))]
    return listed_steps(packs, lengths, bptt_length, np.random.default_rng([seed or 0, epoch, 2]) if jitter else None)


def as_lists(steps):
    return [(step.texts.tolist(), step.first, step.length) for step in map(steps.step, range(len(steps)))]


@pytest.mark.parametrize("jitter", [False, True])
@pytest.mark.parametrize("carry_length", [0, 1, 30, 1000])
@pytest.mark.parametrize(("num_ids", "num_lanes"), [(1, 1), (7, 9), (501, 4), (3001, 3)])
def test_steps_of_a_stream(num_ids, num_lanes, carry_length, jitter):
    options = {"num_lanes": num_lanes, "bptt_length": 12, "carry_length": carry_length, "seed": 3, "jitter": jitter}
    batches = LaneBatches(np.ones(num_ids, dtype=np.uint8), PLAIN, **options)
    for epoch in range(3):
        made = batches._steps_of(epoch)
        assert (made.offset, as_lists(made.steps)) == listed_lanes(num_ids, epoch, **options)


@pytest.mark.parametrize("jitter", [False, True])
@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("num_units", [1, 9, 5000])
def test_steps_of_units(num_units, seed, jitter):
    lengths = np.random.default_rng(1).geometric(0.08, size=num_units)
    ids = np.ones(lengths.sum(), dtype=np.uint8)
    ids[np.cumsum(lengths) - 1] = 0
    options = {"batch_size": 3, "bptt_length": 12, "seed": seed, "jitter": jitter}
    batches = UnitBatches(ids, PLAIN, **options)
    for epoch in range(2):
        assert as_lists(batches._steps_of(epoch)) == listed_units(ids, epoch, **options)


@pytest.mark.parametrize("kind", ["lanes", "units"])
def test_batches_do_not_depend_on_the_number_of_shards(monkeypatch, kind):
    monkeypatch.setattr(stored_ids, "BLOCK_TOKENS", 64)
    ids = np.random.default_rng(1).integers(0, 9, 700).astype(np.uint16)
    ids[-1] = 0

    def read(text):
        if kind == "lanes":
            batches = LaneBatches(text, PLAIN, num_lanes=3, bptt_length=7, carry_length=21, seed=1)
        else:
            batches = UnitBatches(text, PLAIN, batch_size=3, bptt_length=7, seed=1)
        return [batches.batch(1, index) for index in range(batches.steps_per_epoch)]

    for one, many in zip(read(ids), read(ShardedIds([ids[:100], ids[100:101], ids[101:]])), strict=True):
        assert all(np.array_equal(left, right) for left, right in zip(one, many, strict=True))
