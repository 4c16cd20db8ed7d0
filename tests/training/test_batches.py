import itertools

import numpy as np
import pytest

from charnn.text.vocabulary import Vocabulary, build_vocabulary
from charnn.training.batches import LaneBatches, UnitBatches, make_batches
from charnn.training.loss import IGNORED

PLAIN = Vocabulary(tuple(map(str, range(300))), (9,) * 300, boundary_id=0, unknown_id=None)


def epoch_of(batches, epoch=0):
    return list(
        itertools.takewhile(lambda batch: batch is not None, (batches.batch(epoch, i) for i in itertools.count()))
    )


@pytest.mark.parametrize(
    ("num_ids", "num_lanes", "bptt_length"),
    [(200, 4, 10), (203, 4, 10), (7, 3, 2), (5, 9, 3), (1, 1, 1), (1000, 3, 37)],
)
@pytest.mark.parametrize("carry_length", [0, 1, 10, 25, 40, 1000])
def test_every_token_is_a_target_once_per_epoch(num_ids, num_lanes, bptt_length, carry_length):
    ids = np.arange(num_ids) + 1
    batches = LaneBatches(ids, PLAIN, num_lanes=num_lanes, bptt_length=bptt_length, carry_length=carry_length, seed=5)
    for epoch in range(3):
        epoch_batches = epoch_of(batches, epoch)
        assert abs(len(epoch_batches) - batches.steps_per_epoch) <= batches.steps_per_epoch / 2
        targets = np.concatenate([batch.targets_TB.ravel() for batch in epoch_batches])
        assert sorted(targets[targets != IGNORED]) == ids.tolist()
        assert sum(batch.num_targets for batch in epoch_batches) == num_ids
        assert all(batch.num_targets for batch in epoch_batches)


def test_the_input_is_the_token_before_the_target_and_the_first_input_is_the_boundary():
    batches = LaneBatches(np.arange(100) + 1, PLAIN, num_lanes=3, bptt_length=7, carry_length=0, seed=1)
    for batch in epoch_of(batches):
        counted = batch.targets_TB != IGNORED
        inputs, targets = batch.inputs_TB[counted], batch.targets_TB[counted]
        assert (inputs == np.where(targets == 1, PLAIN.boundary_id, targets - 1)).all()


def test_lanes_continue_across_steps():
    batches = epoch_of(LaneBatches(np.arange(90) + 1, PLAIN, num_lanes=3, bptt_length=10, carry_length=0, seed=2))
    lanes = np.concatenate([batch.targets_TB for batch in batches]).T
    for lane in lanes:
        assert (np.diff(lane) % 90 == 1).all()
    assert [batch.is_first for batch in batches] == [True, False, False]


def test_after_each_segment_lanes_restart_elsewhere_from_the_initial_state():
    batches = LaneBatches(np.arange(1000) + 1, PLAIN, num_lanes=3, bptt_length=10, carry_length=40, seed=2)
    read = epoch_of(batches)
    assert [batch.is_first for batch in read] == [True, False, False, False] * 9
    jumps = 0
    for number in range(0, len(read), 4):
        for lane in np.concatenate([batch.targets_TB for batch in read[number : number + 4]]).T:
            counted = lane[lane != IGNORED]
            assert (np.diff(counted) % 1000 == 1).all()
            assert 36 <= len(counted) <= 40
            jumps += number > 0 and counted[0] not in read[number - 1].targets_TB + 1
    assert jumps > 20


def test_each_epoch_and_seed_begins_at_another_position():
    def first(seed, epoch):
        batch = LaneBatches(
            np.arange(1000) % 250 + 1, PLAIN, num_lanes=2, bptt_length=5, carry_length=0, seed=seed
        ).batch(epoch, 0)
        return batch.targets_TB.tolist()

    assert first(1, 0) == first(1, 0)
    assert len({str(first(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


UNITS = [[5], [6, 7], [8, 9, 10, 11, 12, 13, 14], [15, 16], [17, 18, 19], [20] * 30]
UNIT_IDS = np.array([id for unit in UNITS for id in (*unit, 0)])


def read_units(epoch_batches):
    """Reassemble the units from the targets, checking that each begins after the boundary."""
    found, open_rows = [], []
    for batch in epoch_batches:
        if batch.is_first:
            found.extend(open_rows)
            open_rows = [[] for _ in range(batch.targets_TB.shape[1])]
            assert (batch.inputs_TB[0] == 0).all()
        for row, targets in zip(open_rows, batch.targets_TB.T, strict=True):
            row.extend(targets[targets != IGNORED].tolist())
    return found + open_rows


@pytest.mark.parametrize("bptt_length", [1, 3, 8, 64])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_units_are_complete_and_appear_once_per_epoch(bptt_length, seed):
    batches = UnitBatches(UNIT_IDS, PLAIN, batch_size=2, bptt_length=bptt_length, seed=seed)
    units = read_units(epoch_of(batches, epoch=1 if seed else 0))
    assert sorted(units) == sorted([*unit, 0] for unit in UNITS)


def test_inputs_of_units_are_the_previous_targets():
    for batch in epoch_of(UnitBatches(UNIT_IDS, PLAIN, batch_size=2, bptt_length=64, seed=3)):
        for inputs, targets in zip(batch.inputs_TB.T, batch.targets_TB.T, strict=True):
            length = np.count_nonzero(targets != IGNORED)
            assert inputs[1:length].tolist() == targets[: length - 1].tolist()


def test_short_units_are_packed_into_a_step():
    ids = np.array([5, 0] * 1000)
    batches = UnitBatches(ids, PLAIN, batch_size=4, bptt_length=50, seed=1)
    assert batches.steps_per_epoch == 1000 * 2 / (4 * 50)


def test_each_epoch_has_another_order():
    ids = np.array([id for number in range(50) for id in (number + 1, 0)])
    batches = UnitBatches(ids, PLAIN, batch_size=2, bptt_length=4, seed=1)
    assert [batch.targets_TB.tolist() for batch in epoch_of(batches, 0)] != [
        batch.targets_TB.tolist() for batch in epoch_of(batches, 1)
    ]


def test_the_rarest_tokens_sometimes_become_unk_in_input_and_target_alike():
    counts = {"a": 99_000, "z": 900, "\n": 100}
    vocabulary = build_vocabulary(counts, boundary="\n")
    rare = vocabulary.ids["z"]
    ids = np.full(100_000, vocabulary.ids["a"])
    ids[::111] = rare
    batches = LaneBatches(ids, vocabulary, num_lanes=4, bptt_length=500, carry_length=0, seed=1)
    replaced = []
    for epoch in range(30):
        epoch_batches = epoch_of(batches, epoch)
        inputs = np.concatenate([batch.inputs_TB for batch in epoch_batches])
        targets = np.concatenate([batch.targets_TB for batch in epoch_batches])
        assert np.count_nonzero(inputs[1:] != targets[:-1]) <= 1  # the boundary before the first token
        replaced.append(np.count_nonzero(targets == vocabulary.unknown_id))
        assert np.count_nonzero(targets == rare) + replaced[-1] == np.count_nonzero(ids == rare)
    assert 0.005 < np.mean(replaced) / np.count_nonzero(ids == rare) < 0.02
    assert len(set(replaced)) > 1


def test_validation_replaces_no_tokens():
    vocabulary = build_vocabulary({"a": 10, "\n": 5}, boundary="\n")
    ids = np.tile([vocabulary.ids["a"], vocabulary.boundary_id], 5000)
    batches = UnitBatches(ids, vocabulary, batch_size=4, bptt_length=50, seed=None)
    assert not any((batch.targets_TB == vocabulary.unknown_id).any() for batch in epoch_of(batches))


def test_the_unit_decides_the_kind_of_batches():
    made = [
        make_batches(UNIT_IDS, PLAIN, unit=unit, batch_size=1, bptt_length=4, carry_length=0, seed=1)
        for unit in ("stream", "line")
    ]
    assert [type(batches) for batches in made] == [LaneBatches, UnitBatches]


@pytest.mark.parametrize("unit", ["stream", "line"])
def test_drawn_lengths_vary_around_the_bptt_length_and_skip_no_token(unit):
    ids = np.arange(20_000) % 250 + 1
    ids[249::250] = PLAIN.boundary_id
    options = {"batch_size": 2, "bptt_length": 70, "carry_length": 0, "seed": 3, "jitter": True}
    batches = make_batches(ids, PLAIN, unit=unit, **options)
    read = epoch_of(batches)
    assert sum(batch.num_targets for batch in read) == len(ids)
    assert len(read) == pytest.approx(batches.steps_per_epoch)
    lengths = [len(batch.inputs_TB) for batch in read]
    assert len(set(lengths)) > 10
    again = make_batches(ids, PLAIN, unit=unit, **options)
    assert [len(batch.inputs_TB) for batch in epoch_of(again)] == lengths
    if unit == "stream":
        near, far = [sum(abs(length - middle) < 20 for length in lengths) for middle in (70, 35)]
        assert near > 0.8 * len(lengths)
        assert far >= 2
