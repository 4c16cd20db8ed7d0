"""Groups of lanes and workers: bit-identical results with any number of workers."""

import contextlib
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from charnn.config import Architecture, TrainingOptions
from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import UnitBatches
from charnn.training.evaluation import fixed_window_loss, held_out_log_probs, validate
from charnn.training.held_out import HeldOutText
from charnn.training.loss import IGNORED
from charnn.training.network.dropout import RegularizationRates
from charnn.training.network.network import Network
from charnn.training.objective import Counts, objective
from charnn.training.optim.averaging import AveragedWeights
from charnn.training.optim.optimizers import make_optimizers
from charnn.training.parallel import tuning
from charnn.training.parallel.groups import group_bounds, joined_state, make_generator, split_state
from charnn.training.parallel.ranks import owned
from charnn.training.parallel.step import TrainingStep
from charnn.training.parallel.tuning import WorkerTuner
from charnn.training.parallel.workers import Workers, one_torch_thread
from charnn.training.planning.devices import supports_bf16
from tests.conftest import REPOSITORY, ramp_weights, seeded

PLAIN = Vocabulary(tuple(map(str, range(11))), (9,) * 11, boundary_id=0, unknown_id=None)
EVERYTHING = {
    "dropout": 0.3,
    "embedding_dropout": 0.2,
    "ngram_dropout": 0.25,
    "weight_drop": 0.3,
    "activation_penalty": 2.0,
    "temporal_penalty": 1.0,
    "label_smoothing": 0.1,
    "batch_size": 6,
}


@pytest.mark.parametrize(
    ("num_lanes", "number"), [(1, 1), (7, 1), (8, 2), (32, 2), (47, 2), (48, 4), (64, 4), (96, 8), (128, 8), (1000, 8)]
)
def test_the_number_of_groups_depends_on_the_lanes(num_lanes, number):
    bounds = group_bounds(num_lanes)
    assert len(bounds) == number
    assert [lane for first, last in bounds for lane in range(first, last)] == list(range(num_lanes))
    sizes = [last - first for first, last in bounds]
    assert max(sizes) - min(sizes) <= 1
    assert group_bounds(num_lanes, device="cuda") == [(0, num_lanes)]


@pytest.mark.parametrize(("batch_size", "number"), [(128, 8), (383, 8), (384, 16), (768, 32), (4096, 64)])
def test_only_large_batches_have_more_than_eight_groups(batch_size, number):
    assert len(group_bounds(4096, batch_size)) == number


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
def test_each_gpu_has_a_group(num_ranks):
    assert len(group_bounds(32, device="cuda", num_ranks=num_ranks)) == num_ranks


@pytest.mark.parametrize("num_ranks", range(1, 10))
@pytest.mark.parametrize("num_groups", [1, 2, 8, 64])
def test_each_group_has_one_rank_and_the_first_group_is_of_the_first_rank(num_groups, num_ranks):
    of_ranks = [owned(num_groups, rank, num_ranks) for rank in range(num_ranks)]
    assert [group for groups in of_ranks for group in groups] == list(range(num_groups))
    assert max(map(len, of_ranks)) == -(-num_groups // num_ranks)
    assert 0 in of_ranks[0]


def test_split_states_are_joined_again():
    state = ((torch.arange(10.0).reshape(5, 2), torch.ones(5, 3)), (torch.arange(5)[:, None],))
    parts = split_state(state, [(0, 2), (2, 5)])
    assert parts[1][0][0].tolist() == [[4, 5], [6, 7], [8, 9]]
    for found, wanted in zip(joined_state(parts), state, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_a_generator_is_a_function_of_its_key():
    def drawn(*place):
        return torch.rand(4, generator=make_generator(place)).tolist()

    places = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (7, 3, 1)]
    assert [drawn(*place) for place in places] == [drawn(*place) for place in places]
    assert len({tuple(drawn(*place)) for place in places}) == len(places)


def test_workers_return_results_in_the_tasks_order():
    with Workers(3) as made:
        assert made.run([lambda number=number: number**2 for number in range(50)]) == [n**2 for n in range(50)]
        assert made.run([]) == []
        made.num_active = 1
        assert made.run([threading.get_ident] * 4) == [threading.get_ident()] * 4


def test_tasks_run_in_parallel():
    meeting = threading.Barrier(3, timeout=60)
    with Workers(3) as made:  # each task waits for the other two
        names = made.run([lambda: meeting.wait() is not None and threading.current_thread().name] * 3)
    assert len(set(names)) == 3


def test_the_first_error_is_raised_after_all_tasks_have_ended():
    def fail():
        raise ValueError("the second")

    done = []
    with Workers(2) as made:
        with pytest.raises(ValueError, match="the second"):
            made.run([lambda: done.append(1), fail])
        assert made.run([lambda: "still there"]) == ["still there"]


def test_closed_workers_end_their_threads_and_restart_on_demand():
    made, before = Workers(3), set(threading.enumerate())
    made.run([lambda: None] * 9)
    started = set(threading.enumerate()) - before
    made.close()
    assert len(started) == 2
    assert not any(thread.is_alive() for thread in started)
    assert made.run([lambda: 1] * 3) == [1, 1, 1]
    made.close()


def test_a_run_leaves_the_number_of_torch_threads_unchanged():
    before, inside, fresh = torch.get_num_threads(), [], []
    with Workers(2) as made:
        made.run([lambda: inside.append(torch.get_num_threads())] * 4)
        thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert torch.get_num_threads() == before
    assert inside == [1] * 4
    assert fresh == [before]
    with one_torch_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


WORKER_ON_ITS_OWN = """
import torch
from charnn.training.parallel.workers import Workers, _Job
made = Workers(3)
made._start_threads()
torch.set_num_threads(2)  # inherited by threads that have not asked yet
job = _Job([torch.get_num_threads] * 20)
made._jobs.put(job)
job.wait()
print(set(job.results), torch.get_num_threads())
"""


def test_a_worker_uses_one_torch_thread_from_its_first_operation():
    done = subprocess.run([sys.executable, "-c", WORKER_ON_ITS_OWN], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["{1}", "2"]


def architecture_of(cell):
    return Architecture(
        cell, 11, 6, 8, 2, embedding_order=3, mogrifier_rounds=2 * (cell == "mogrifier"), initial_state="learned"
    )


def trained(cell, num_workers, *, num_lanes=9, steps=4, change=None, precision="fp32", **options):
    """Return the weights after some steps, the losses, and the state."""
    chosen = TrainingOptions(**{**EVERYTHING, "bptt_length": 5, **options})
    architecture = architecture_of(cell)
    network = Network(architecture, rates=RegularizationRates.of(chosen))
    network.load_arrays(ramp_weights(architecture))
    average = AveragedWeights(network)
    losses, states = [], None
    with Workers(num_workers) as made:
        step = TrainingStep(network, make_optimizers(network, chosen), chosen, precision, made)
        for number in range(steps):
            made.num_active = num_workers if change is None else change[number]
            ids = (np.arange(6 * num_lanes).reshape(6, num_lanes) * (number + 3)) % 11
            targets = ids[1:].copy()
            targets[-1, 0] = IGNORED
            result = train_on(
                step, ids[:-1], targets, states, learning_rate=0.05, step_index=number, teacher_forcing_probability=0.7
            )
            states = result.states
            losses.append((float(result.loss), float(result.norm), result.num_targets))
            made.run(average.updates_after(number + 1))
    return network.arrays() | average.arrays(), losses, joined_state(states)


def train_on(step, inputs, targets, states, **options):
    prepared = step.prepare(inputs, targets, states, **options)
    return step.update(prepared, step.workers.run(prepared.tasks))


@pytest.mark.parametrize("kind", ["locked", "variational"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "mogrifier", "mingru"])
def test_weights_are_bit_identical_with_any_number_of_workers(cell, kind):
    weights, losses, state = trained(cell, 1, num_lanes=50, dropout_kind=kind)
    for num_workers, change in [(2, None), (4, None), (4, [1, 4, 2, 3])]:
        others, other_losses, other_state = trained(cell, num_workers, num_lanes=50, change=change, dropout_kind=kind)
        assert other_losses == losses
        for name, array in others.items():
            np.testing.assert_array_equal(array, weights[name], err_msg=name)
        for layer, other_layer in zip(state, other_state, strict=True):
            assert all(torch.equal(one, other) for one, other in zip(layer, other_layer, strict=True))


@contextlib.contextmanager
def autocast_elsewhere():
    """Let another thread enter and leave autocast all the time, which empties its cache for all threads."""
    is_done = threading.Event()

    def work():
        while not is_done.is_set():
            with torch.autocast("cpu", torch.bfloat16):
                pass

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()


@pytest.mark.skipif(not supports_bf16("cpu"), reason="this processor has no bf16")
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "mogrifier"])
@pytest.mark.parametrize("weight_drop", [0.0, 0.3])
def test_bf16_weights_do_not_depend_on_other_threads(cell, weight_drop):
    weights, losses, _ = trained(cell, 1, precision="bf16", weight_drop=weight_drop)
    with autocast_elsewhere():
        others, other_losses, _ = trained(cell, 2, precision="bf16", weight_drop=weight_drop)
    assert other_losses == losses
    for name, array in others.items():
        np.testing.assert_array_equal(array, weights[name], err_msg=name)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_other_optimizers_are_bit_identical_too(optimizer):
    one, two = (trained("lstm", number, optimizer=optimizer, clip_value=0.01)[0] for number in (1, 2))
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name], err_msg=name)


@pytest.mark.parametrize("cell", ["lstm", "mogrifier"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_step_in_groups_is_a_step_on_the_whole_batch(cell, tied):
    """The reference: the loss of the whole batch, its dense gradient, torch's clipping and torch's AdamW."""
    options = TrainingOptions(
        optimizer="adamw",
        dropout=0.0,
        weight_decay=0.1,
        batch_size=8,
        clip_norm=0.05,
        activation_penalty=2.0,
        temporal_penalty=1.0,
    )
    shape = replace(architecture_of(cell), embedding_size=8, tie_weights=tied)
    ours, theirs = Network(shape), Network(shape)
    for network in (ours, theirs):
        network.load_arrays(ramp_weights(shape))
    ids = np.arange(48).reshape(6, 8) * 7 % 11
    targets = ids[1:].copy()
    targets[3:, 0] = IGNORED
    with Workers(2) as made:
        step = TrainingStep(ours, make_optimizers(ours, options), options, "fp32", made)
        result = train_on(step, ids[:-1], targets, None, learning_rate=0.01, step_index=0)
    whole = objective(
        theirs,
        torch.from_numpy(ids[:-1]),
        torch.from_numpy(targets),
        theirs.initial_state(8),
        counts=Counts.of(targets),
        options=options,
        generator=seeded(),
    )
    weights = list(theirs.named_weights().values())
    for weight, gradient in zip(weights, torch.autograd.grad(whole.objective_nats, weights), strict=True):
        weight.grad = gradient.to_dense()
    norm = torch.nn.utils.clip_grad_norm_(weights, 0.05)
    groups = [
        {"params": [weight for weight in weights if weight.dim() == dim], "weight_decay": decay}
        for dim, decay in ((2, 0.1), (1, 0.0))
    ]
    torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.99)).step()
    assert float(result.loss) == pytest.approx(float(whole.loss), rel=1e-5)
    assert float(result.norm) == pytest.approx(float(norm), rel=1e-4)
    for name, weight in ours.named_weights().items():
        torch.testing.assert_close(weight, theirs.named_weights()[name], rtol=1e-3, atol=2e-4, msg=name)


def test_rows_that_were_not_looked_up_have_no_gradient():
    options = TrainingOptions(optimizer="sgd", weight_decay=0.0, dropout=0.0, batch_size=2, clip_norm=0.0)
    shape = Architecture("lstm", 11, 6, 8, 1)
    network = Network(shape)
    network.load_arrays(ramp_weights(shape))
    step = TrainingStep(network, make_optimizers(network, options), options, "fp32", Workers())
    for number, tokens in enumerate([[[1, 2], [3, 1]], [[4, 4], [4, 5]]]):
        before = network.arrays()["embedding.weight"]
        train_on(step, np.array(tokens), np.array(tokens), None, learning_rate=0.1, step_index=number)
        moved = (network.arrays()["embedding.weight"] != before).any(axis=1)
        assert np.flatnonzero(moved).tolist() == sorted(np.unique(tokens).tolist())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_rows_that_are_never_looked_up_only_decay(optimizer):
    """Token 9 never occurs: in each of ten steps its embedding decays by learning rate x weight decay, and nothing else."""
    options = TrainingOptions(optimizer=optimizer, weight_decay=0.1, dropout=0.0, batch_size=2, clip_norm=0.0)
    shape = Architecture("lstm", 11, 6, 8, 1)
    network = Network(shape)
    network.load_arrays(ramp_weights(shape))
    before = network.arrays()["embedding.weight"][9]
    step = TrainingStep(network, make_optimizers(network, options), options, "fp32", Workers())
    for number in range(10):
        tokens = np.array([[1, 2], [3 + number % 4, 1]])
        train_on(step, tokens, tokens, None, learning_rate=0.1, step_index=number)
    np.testing.assert_allclose(network.arrays()["embedding.weight"][9], before * 0.99**10, rtol=1e-5)


def test_if_no_more_threads_can_start_the_existing_ones_do_the_work(monkeypatch):
    start = threading.Thread.start

    def refused(thread):
        if thread.name == "charnn-worker-2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)
    with Workers(4) as made:
        assert made.run([lambda number=number: number for number in range(9)]) == list(range(9))
        assert (made.max_workers, made.num_active) == (2, 2)


def test_concurrent_forward_passes_do_not_deadlock():
    """Without `retained_accumulators` they did within a second, and sometimes in training."""
    program = (
        "import sys, threading, torch\n"
        "from charnn.config import Architecture, TrainingOptions\n"
        "from charnn.training.network.network import Network\n"
        "from charnn.training.optim.optimizers import make_optimizers\n"
        "from charnn.training.parallel.step import TrainingStep\n"
        "from charnn.training.parallel.workers import Workers\n"
        "sys.setswitchinterval(1e-5)\n"
        "torch.set_num_threads(1)\n"
        "options, network = TrainingOptions(batch_size=2), Network(Architecture('leaky', 3, 3, 3, 1))\n"
        "step = TrainingStep(network, make_optimizers(network, options), options, 'fp32', Workers())\n"
        "weight, other = network.named_weights()['output.weight'], torch.ones(3, 3)\n"
        "def multiply():\n"
        "    for _ in range(20_000): weight * other\n"
        "def transpose():\n"
        "    with torch.no_grad():\n"
        "        for _ in range(20_000): weight.T\n"
        "threads = [threading.Thread(target=do, daemon=True) for do in [multiply, transpose] * 2]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=REPOSITORY)


@pytest.mark.parametrize("unit", ["stream", "line"])
def test_evaluation_is_bit_identical_with_any_number_of_workers(unit):
    shape = architecture_of("lstm")
    network = Network(shape)
    network.load_arrays(ramp_weights(shape, 2.0))
    ids = np.arange(80_000) ** 2 % 11
    ids[-1] = 0
    results = []
    for number in (1, 2, 4):
        with Workers(number) as made:
            text = HeldOutText.of(ids, PLAIN, unit=unit)
            results.append(
                (
                    validate(network, text, PLAIN, workers=made),
                    held_out_log_probs(network, text, PLAIN, workers=made).tobytes(),
                    fixed_window_loss(network, text, PLAIN, workers=made),
                )
            )
    assert results[0] == results[1] == results[2]


def test_unit_ranges_begin_where_units_begin():
    ids = np.array([id for length in (3, 40, 8, 1, 17) for id in (*[1] * length, 0)])
    batches = UnitBatches(ids, PLAIN, batch_size=2, bptt_length=8, seed=None)
    runs = batches.unit_ranges()
    assert [index for run in runs for index in run] == list(range(batches.steps_per_epoch))
    for run in runs:
        assert [batches.batch(0, index).is_first for index in run] == [True] + [False] * (len(run) - 1)


class Machine:
    """Simulates a machine with given seconds per step by number of workers."""

    def __init__(self, most, seconds):
        self.workers = Workers(most)
        self.seconds = seconds
        self.now = 0.0
        self.tuner = WorkerTuner(self.workers, clock=lambda: self.now)
        self.history = []

    def train(self, steps):
        for _ in range(steps):
            self.history.append(self.workers.num_active)
            taken = self.seconds[self.workers.num_active]
            self.now += taken
            self.tuner.note(taken, 100)


def test_the_number_of_workers_adapts_to_the_load():
    machine = Machine(4, {1: 0.4, 2: 0.2, 4: 0.3})
    machine.train(400)
    assert machine.workers.num_active == 2
    assert machine.history[0] == 4
    assert machine.history.count(1) <= 400 * tuning.MAX_TIME_FRACTION
    machine.seconds.update({1: 0.5, 2: 1.0, 4: 2.0})  # another process is running
    machine.train(60)
    assert machine.workers.num_active == 1
    machine.seconds.update({1: 0.3, 2: 0.2, 4: 0.1})  # the other process has ended
    machine.train(250)
    assert machine.workers.num_active == 4


def test_steps_of_varying_length_do_not_trigger_constant_comparisons():
    machine = Machine(4, {1: 0.2, 2: 0.1, 4: 0.05})
    for number in range(300):
        slower = 1 if number % 2 else 4
        machine.seconds = {most: slower * 0.2 / most for most in (1, 2, 4)}
        machine.train(10)
    tried = sum(number != 4 for number in machine.history)
    assert tried < len(machine.history) * tuning.MAX_TIME_FRACTION_EARLY


def test_an_equally_fast_number_of_workers_does_not_replace_the_current_one():
    machine = Machine(2, {1: 0.2, 2: 0.2})
    machine.train(1000)
    assert machine.workers.num_active == 2
    alone = Machine(1, {1: 0.2})
    alone.train(1000)
    assert set(alone.history) == {1}
