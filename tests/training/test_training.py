"""Evaluation, schedule, optimizers, planning and the trainer."""

import ctypes
import itertools
import math
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from charnn.config import Architecture, ModelOptions, TextOptions, TrainingOptions
from charnn.errors import CharnnError, OptionError, TrainingError
from charnn.ngrams.mixture import NUM_WEIGHTS
from charnn.text.corpus import prepare_corpus
from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import LaneBatches
from charnn.training.evaluation import Validation, fixed_window_loss, held_out_log_probs, validate
from charnn.training.events import Evaluated, Progressed, RolledBack, SpeedChanged, Stopped, event_json
from charnn.training.held_out import HeldOutText
from charnn.training.loss import IGNORED, LossTotal, summed_cross_entropy
from charnn.training.network.dropout import RegularizationRates
from charnn.training.network.network import Network
from charnn.training.objective import TokenNoise
from charnn.training.optim.averaging import AveragedWeights
from charnn.training.optim.gradient import Gradient
from charnn.training.optim.muon import COEFFICIENTS, NEWTON_SCHULZ_STEPS, ROW_BETA, Muon, orthogonalized
from charnn.training.optim.optimizers import (
    SGD,
    AdamW,
    load_optimizer_arrays,
    make_optimizers,
    optimizer_arrays,
    set_learning_rate,
)
from charnn.training.optim.row_rmsprop import RowRMSProp
from charnn.training.optim.schedule import Budget, seconds_for_steps
from charnn.training.parallel.step import PreparedStep
from charnn.training.parallel.workers import Workers
from charnn.training.planning import plan as planning
from charnn.training.planning import sizes, timing
from charnn.training.planning.devices import choose_device, supported_precision, supports_bf16
from charnn.training.planning.memory import memory_kept, memory_returned
from charnn.training.position import TrainingPosition
from charnn.training.run import create
from charnn.training.run.metrics import estimate_ngrams, evaluate_ngrams, measure_final_metrics
from charnn.training.speed_check import SpeedCheck
from charnn.training.trainer import STEPS_PER_READ, Trainer
from tests.conftest import ramp_weights
from tests.notices import collected_notices

SHAPE = Architecture("lstm", 11, 6, 8, 1)
PLAIN = Vocabulary(tuple(map(str, range(11))), (9,) * 11, boundary_id=0, unknown_id=None)


def network(scale=0.4, order=1):
    shape = replace(SHAPE, embedding_order=order)
    made = Network(shape)
    made.load_arrays(ramp_weights(shape, scale))
    return made


def test_losses_are_summed_without_padding():
    logits = torch.zeros(2, 1, 4)
    total = summed_cross_entropy(logits, torch.tensor([[3], [IGNORED]]))
    assert float(total) == pytest.approx(math.log(4))
    assert (LossTotal(2.0, 1) + LossTotal(4.0, 2)).nats_per_token == 2.0
    assert math.isnan(LossTotal().nats_per_token)


def slow_loss(model, ids, boundary):
    """One long forward pass over one stream."""
    inputs = torch.tensor([[boundary], *([id] for id in ids[:-1])])
    with torch.no_grad():
        logits, _ = model(inputs, model.initial_state(1))
    return float(summed_cross_entropy(logits, torch.tensor(ids)[:, None]))


@pytest.mark.parametrize("num_ids", [1, 5, 1535, 3200, 9000])
@pytest.mark.parametrize("order", [1, 3])
def test_validation_in_batch_rows_is_one_long_forward_pass(num_ids, order):
    model = network(order=order)
    ids = np.arange(num_ids) ** 2 % 11
    log_probs = held_out_log_probs(model, held_out_of(ids, "stream"), PLAIN)
    assert len(log_probs) == num_ids
    assert -log_probs.sum() == pytest.approx(slow_loss(model, ids.tolist(), 0), rel=1e-5)
    assert model.training


@pytest.mark.parametrize("limits", [{}, {"max_tokens": 4000}], ids=["whole", "pieces"])
def test_each_row_of_a_validation_sees_the_whole_window_of_attention(limits):
    shape = replace(SHAPE, attention_window=700, attention_size=4)
    model, weights = Network(shape), ramp_weights(shape)
    weights["attention.output"] *= 20
    model.load_arrays(weights)
    ids = np.arange(16_000) ** 2 // 7 % 11
    text = held_out_of(ids, "stream", **limits)
    assert len(text.starts) > 1 or not limits
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(np.append(0, ids[:-1]))[:, None], model.initial_state(1))
    expected = logits[:, 0].log_softmax(dim=-1).numpy()[np.arange(len(ids)), ids]
    positions = np.concatenate([start + np.arange(size) for start, size in zip(text.starts, text.lengths, strict=True)])
    np.testing.assert_allclose(held_out_log_probs(model, text, PLAIN), expected[positions], atol=1e-3)


def test_validation_begins_each_unit_from_the_initial_state():
    model = network(order=2)
    units = [[1, 2, 3], [4], [5, 6] * 100]
    ids = np.array([id for unit in units for id in (*unit, 0)])
    log_probs = held_out_log_probs(model, held_out_of(ids, "line"), PLAIN)
    create_run = 0
    for unit in units:
        own = log_probs[create_run : create_run + len(unit) + 1]
        assert -own.sum() == pytest.approx(slow_loss(model, [*unit, 0], 0), rel=1e-5)
        create_run += len(own)


def held_out_of(ids, unit, **limits):
    return HeldOutText.of(ids, PLAIN, unit=unit, **limits)


def drawn_from(model, number, *, temperature):
    """Sample a text from a network, each line from the initial state, truncating long ones."""
    random, ids = np.random.default_rng(1), [0]
    while len(ids) < number or ids[-1] != 0:
        if ids[-1] == 0:
            state = model.initial_state(1)
        with torch.no_grad():
            logits, state = model(torch.tensor([[ids[-1]]]), state)
        probs = torch.softmax(logits[0, 0] / temperature, -1).double().numpy()
        ids.append(int(random.choice(11, p=probs / probs.sum())) if len(ids) % 50 else 0)
    return np.array(ids[1:])


@pytest.mark.parametrize("unit", ["stream", "line"])
def test_the_temperature_of_validation_has_the_lowest_loss(unit, monkeypatch):
    model = network(scale=2.0)
    ids = drawn_from(model, 600, temperature=1.5)
    found = validate(model, held_out_of(ids, unit), PLAIN)
    assert 1.2 < found.temperature < 1.8
    by_temperature = {
        temperature: -held_out_log_probs(model, held_out_of(ids, unit), PLAIN, temperature=temperature).sum()
        for temperature in (1.0, found.temperature * 0.98, found.temperature, found.temperature * 1.02)
    }
    assert min(by_temperature, key=by_temperature.get) == found.temperature
    assert found.loss.nats == pytest.approx(by_temperature[found.temperature], rel=1e-5)
    assert found.loss.num_tokens == len(ids)
    cooled = network()
    cooled.load_arrays(model.arrays(temperature=found.temperature))
    assert -held_out_log_probs(cooled, held_out_of(ids, unit), PLAIN).sum() == pytest.approx(found.loss.nats, rel=1e-5)
    monkeypatch.setattr("charnn.training.evaluation.MAX_STORED_LOGITS", 11 * 200)
    of_a_part = validate(model, held_out_of(ids, unit), PLAIN)
    assert of_a_part.loss.num_tokens == len(ids)
    assert of_a_part.loss.nats < by_temperature[1.0]


def test_tied_weights_have_no_temperature():
    model = Network(replace(SHAPE, embedding_size=8, tie_weights=True))
    assert validate(model, held_out_of(np.arange(30) % 11, "stream"), PLAIN).temperature == 1.0


def test_fixed_windows_begin_from_the_initial_state():
    model = network()
    ids = np.arange(600) ** 2 % 11
    windows = [(0, ids[:256]), (ids[255], ids[256:512]), (ids[511], ids[512:])]
    expected = sum(slow_loss(model, window.tolist(), int(before)) for before, window in windows)
    assert fixed_window_loss(model, held_out_of(ids, "stream"), PLAIN).nats == pytest.approx(expected, rel=1e-5)
    lines = np.array([1, 2, 0, *[3, 4] * 150, 0])
    long = lines[3:]
    windows = [(0, lines[:3]), (0, long[:256]), (long[255], long[256:])]
    expected = sum(slow_loss(model, window.tolist(), int(before)) for before, window in windows)
    found = fixed_window_loss(model, held_out_of(lines, "line"), PLAIN)
    assert found.nats == pytest.approx(expected, rel=1e-5)
    assert found.num_tokens == len(lines)


def test_progress_is_the_larger_spent_fraction():
    assert Budget(steps=100, seconds=10).progress(20, 5) == 0.5
    assert Budget(steps=100, seconds=None).progress(20, 1e9) == 0.2
    assert Budget(steps=None, seconds=10).progress(10**9, 20) == 1.0
    assert Budget(steps=None, seconds=0).progress(0, 0) == 1.0


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd", "nt-asgd"])
def test_every_parameter_has_exactly_one_optimizer_and_biases_are_not_decayed(name):
    model = network(order=3)
    optimizers = make_optimizers(model, TrainingOptions(optimizer=name, weight_decay=0.5, batch_size=32))
    owned = [id(parameter) for optimizer in optimizers for parameter in optimizer.parameters]
    assert sorted(owned) == sorted(id(parameter) for parameter in model.parameters())
    before = {id(parameter): parameter.detach().clone() for parameter in model.parameters()}
    set_learning_rate(optimizers, 0.1)
    for optimizer in optimizers:
        update(optimizer, [torch.zeros_like(parameter) for parameter in optimizer.parameters])
    tables = [
        id(table) for optimizer in optimizers if isinstance(optimizer, RowRMSProp) for table in optimizer.parameters
    ]
    assert len(tables) == (2 if name == "muon" else 0)
    for parameter in model.parameters():  # without a gradient, only decay changes them, and tables nothing
        factor = 1 - 0.1 * 0.5 if parameter.dim() == 2 and id(parameter) not in tables else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[id(parameter)])


def update(optimizer, gradients, scale=1.0):
    """Run an update in this thread."""
    for tasks in optimizer.updates([Gradient(gradient.clone()) for gradient in gradients], torch.tensor(scale)):
        for task in tasks:
            task()


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optimizers_update_as_torch_does(name, monkeypatch):
    monkeypatch.setattr("charnn.training.optim.optimizers.FLAT_CHUNK_SIZE", 16)  # 60 numbers in four chunks
    weights = [torch.nn.Parameter(torch.cos(torch.arange(60.0)).reshape(12, 5)) for _ in range(2)]
    biases = [torch.nn.Parameter(torch.sin(torch.arange(7.0))) for _ in range(2)]
    make = {"adamw": AdamW, "sgd": SGD}[name]
    ours = make(weights[:1], biases[:1], weight_decay=0.3)
    groups = [{"params": weights[1:], "weight_decay": 0.3}, {"params": biases[1:], "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.99)) if name == "adamw" else torch.optim.SGD(groups, 0.02)
    ours.learning_rate = 0.02
    for number in range(10):
        gradients = [torch.sin(torch.arange(60.0) * 0.3 + number).reshape(12, 5), torch.cos(torch.arange(7.0) + number)]
        update(ours, gradients, scale=0.5)
        for parameter, gradient in zip((weights[1], biases[1]), gradients, strict=True):
            parameter.grad = 0.5 * gradient
        theirs.step()
    torch.testing.assert_close(weights[0], weights[1])
    torch.testing.assert_close(biases[0], biases[1])


def test_rmsprop_by_rows_updates_the_rows_that_were_looked_up():
    table = torch.nn.Parameter(torch.cos(torch.arange(60.0)).reshape(12, 5))
    optimizer = RowRMSProp([table], weight_decay=0.3, relative_rate=0.5, warm_up=8.0)
    optimizer.learning_rate = 0.02
    expected, squares, counts = table.detach().clone(), torch.zeros(12), torch.zeros(12)
    for number, rows in enumerate([[0, 3, 7], [3, 11], [0, 3], [3]]):
        gradient = torch.zeros(12, 5)
        gradient[rows] = torch.sin(torch.arange(5.0 * len(rows)) * 0.3 + number).reshape(-1, 5)
        looked_up = [torch.tensor(rows[:1]), torch.tensor(rows)] if number % 2 else []  # or not known
        for task in optimizer.updates([Gradient(gradient.clone(), looked_up)], torch.tensor(0.5))[0]:
            task()
        for row in rows:
            value = 0.5 * gradient[row]
            counts[row] += 1
            squares[row] = 0.99 * squares[row] + 0.01 * (value**2).mean()
            length = (squares[row] / (1 - 0.99 ** counts[row])).sqrt()
            rate = 0.02 * 0.5 * counts[row] / (counts[row] + 8)  # rare rows move less
            expected[row] = expected[row] * (1 - 0.02 * 0.3) - rate * value / length
    torch.testing.assert_close(table.detach(), expected)
    assert optimizer.state(0)["counts"].tolist() == counts.tolist() == [2, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(("dropout", "warm_up"), [(0.0, 8.0), (0.25, 4.0), (0.5, 0.0), (0.75, 0.0)])
def test_rows_of_tables_warm_up_unless_ngram_dropout_keeps_them_from_learning_by_heart(dropout, warm_up):
    options = TrainingOptions(optimizer="muon", batch_size=32, ngram_dropout=dropout)
    tables = make_optimizers(network(order=3), options)[-1]
    tables.learning_rate = 0.1
    before = tables.parameters[0].detach().clone()
    gradient = torch.zeros_like(before)
    gradient[1] = 1.0
    update(tables, [gradient, torch.zeros_like(tables.parameters[1])])
    moved = before[1] * (1 - 0.1 * 2 * 0.2) - tables.parameters[0].detach()[1]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * 0.5 / (1 + warm_up)))


def test_a_checkpoint_whose_tables_adamw_updated_is_read_with_a_moment_for_each_row():
    model = network(order=3)
    options = TrainingOptions(optimizer="muon", batch_size=32)
    optimizers = make_optimizers(model, options)
    new = optimizer_arrays(optimizers)
    muon, adamw, tables = optimizers
    order = [adamw.parameters[0], *tables.parameters, *adamw.parameters[1:]]
    older = {
        f"0.{index}.{name}": value.numpy()
        for index in range(len(muon.parameters))
        for name, value in muon.state(index).items()
        if name != "row_squares"
    }
    for index, parameter in enumerate(order):
        squares = np.zeros(parameter.shape, dtype=np.float32)
        squares[0] = np.arange(1, squares[0].size + 1).reshape(squares[0].shape)
        older |= {
            f"1.{index}.step": np.float32(9),
            f"1.{index}.exp_avg": squares + index,
            f"1.{index}.exp_avg_sq": squares,
        }
    load_optimizer_arrays(optimizers, older)
    loaded = optimizer_arrays(optimizers)
    assert loaded.keys() == new.keys()
    for index, table in enumerate(tables.parameters):
        mean = (table.shape[1] + 1) / 2
        assert loaded[f"optimizer.2.{index}.exp_avg_sq"].tolist() == [mean, *[0] * (len(table) - 1)]
        assert loaded[f"optimizer.2.{index}.counts"].tolist() == [9, *[0] * (len(table) - 1)]
    for index in range(1, len(adamw.parameters)):
        assert (
            loaded[f"optimizer.1.{index}.exp_avg"].flat[-1]
            == older[f"1.{index + len(tables.parameters)}.exp_avg"].flat[-1]
        )


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
def test_a_parameter_without_a_gradient_is_unchanged(name):
    model = network()
    optimizers = make_optimizers(model, TrainingOptions(optimizer=name, weight_decay=0.5, batch_size=32))
    set_learning_rate(optimizers, 0.1)
    for optimizer in optimizers:
        assert not any(optimizer.updates([None] * len(optimizer.parameters), torch.tensor(1.0)))


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (16, 16), (1, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalized_matrices_are_those_of_newton_schulz(shape, dtype):
    matrices = torch.sin(torch.arange(2 * shape[0] * shape[1]) ** 1.5).reshape(2, *shape)
    found = orthogonalized(matrices.to(dtype)).double()
    a, b, c = COEFFICIENTS
    for matrix, update in zip(matrices.double(), found, strict=True):
        expected = matrix / matrix.norm()
        for _ in range(NEWTON_SCHULZ_STEPS):
            gram = expected @ expected.T
            expected = a * expected + (b * gram + c * gram @ gram) @ expected
        assert (update - expected).norm() / expected.norm() < (1e-4 if dtype == torch.float32 else 0.05)
        assert torch.linalg.svdvals(update).max() < 1.3
    assert torch.equal(orthogonalized(torch.zeros_like(matrices)), torch.zeros_like(matrices))


def test_muon_without_normalized_rows_updates_as_torch_does(monkeypatch):
    """Source: torch.optim.Muon, which iterates on the full matrix, in bf16."""
    monkeypatch.setattr(Muon, "_row_factors", lambda *_: torch.ones(12, 1))
    ours, theirs = (torch.nn.Parameter(torch.cos(torch.arange(60.0)).reshape(12, 5)) for _ in range(2))
    optimizer = Muon([ours], weight_decay=0.1)
    optimizer.learning_rate = 0.02
    torchs = torch.optim.Muon(
        [theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", ns_steps=NEWTON_SCHULZ_STEPS
    )
    for number in range(20):
        theirs.grad = torch.sin(torch.arange(60.0) * 0.3 + number).reshape(12, 5)
        update(optimizer, [theirs.grad])
        torchs.step()
    torch.testing.assert_close(ours, theirs, atol=0.01, rtol=0.02)


def test_a_muon_update_includes_all_gradients_since_the_last_one():
    """Its rows are divided by the roots of their running mean squares, and the whole has the norm that it had before."""
    before = torch.cos(torch.arange(60.0)).reshape(12, 5)
    moving, beside = torch.nn.Parameter(before.clone()), torch.nn.Parameter(torch.ones(12, 5))
    optimizer = Muon([moving, beside], weight_decay=0.1, momentum=0.95, steps_per_update=3, dtype=torch.float32)
    optimizer.learning_rate = 0.02
    momentum, average, squares = 0.95 ** (1 / 3), torch.zeros(12, 5), torch.zeros(12)
    for number in range(9):
        assert torch.equal(moving, before), f"moved after {number} gradients"
        gradient = torch.sin(torch.arange(60.0) * (number + 0.3)).reshape(12, 5)
        average = momentum * average + (1 - momentum) * gradient
        update(optimizer, [gradient, gradient.flip(0)])
        if number % 3 == 2:
            direction = orthogonalized((momentum * average + (1 - momentum) * gradient)[None])[0]
            squares = ROW_BETA * squares + (1 - ROW_BETA) * direction.square().mean(dim=1)
            normalized = direction / squares.sqrt()[:, None]
            normalized *= direction.norm() / normalized.norm()
            before = before * (1 - 0.02 * 0.1) - 0.02 * 0.2 * math.sqrt(12) * normalized
            torch.testing.assert_close(moving.detach(), before)
            before = moving.detach().clone()
    assert (beside != 1).all()


def test_rows_without_a_gradient_and_matrices_of_zeros_do_not_move():
    weights = [torch.nn.Parameter(torch.ones(6, 4)) for _ in range(2)]
    optimizer = Muon(weights, weight_decay=0.0, dtype=torch.float32)
    optimizer.learning_rate = 0.02
    gradient = torch.sin(torch.arange(24.0)).reshape(6, 4)
    gradient[2] = 0
    update(optimizer, [gradient, torch.zeros(6, 4)])
    moved = (weights[0].detach() - 1).abs().sum(dim=1)
    assert moved[2] == 0
    assert moved[[0, 1, 3, 4, 5]].min() > 0
    assert torch.equal(weights[1].detach(), torch.ones(6, 4))


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
@pytest.mark.parametrize("batch_size", [32, 16])
def test_the_state_of_an_optimizer_is_restored_from_arrays(name, batch_size):
    def steps(model, optimizers, numbers):
        for number in numbers:
            set_learning_rate(optimizers, 0.01)
            for optimizer in optimizers:
                waves = [torch.sin(torch.arange(weight.numel()) * 0.3 + number) for weight in optimizer.parameters]
                shapes = [weight.shape for weight in optimizer.parameters]
                update(optimizer, [wave.reshape(shape) for wave, shape in zip(waves, shapes, strict=True)])
        return model.arrays()

    options = TrainingOptions(optimizer=name, batch_size=batch_size, bptt_length=64)
    model = network(order=3)
    optimizers = make_optimizers(model, options)
    halfway = steps(model, optimizers, range(3))
    arrays = optimizer_arrays(optimizers)
    expected = steps(model, optimizers, range(3, 6))
    other = network(order=3)
    other.load_arrays(halfway)
    again = make_optimizers(other, options)
    load_optimizer_arrays(again, {key.removeprefix("optimizer."): array for key, array in arrays.items()})
    for key, array in steps(other, again, range(3, 6)).items():
        np.testing.assert_array_equal(array, expected[key])


def trainer(steps=20, validate=lambda: Validation(LossTotal(1.0, 1)), position=None, interval=0.25, **options):
    made = TrainingOptions(**{"learning_rate": 0.01, "dropout": 0.3, "batch_size": 4, "optimizer": "adamw", **options})
    model = Network(SHAPE, rates=RegularizationRates.of(made))
    model.load_arrays(ramp_weights(SHAPE))
    ids = (np.arange(800) % 10 + 1).astype(np.uint8)
    return Trainer(
        network=model,
        optimizers=make_optimizers(model, made),
        batches=LaneBatches(ids, PLAIN, num_lanes=4, bptt_length=16, carry_length=0, seed=1),
        noise=TokenNoise(ids, made.token_noise),
        validate=validate,
        options=made,
        precision="fp32",
        budget=Budget(steps=steps, seconds=None),
        evaluation_interval=interval,
        position=position or TrainingPosition(),
        started=time.monotonic(),
    )


def never():
    return False


def test_a_trainer_reports_evaluates_and_stops_at_its_budget():
    events = list(trainer(steps=40).run(never))
    evaluations = [event.step for event in events if isinstance(event, Evaluated)]
    assert evaluations == [10, 20, 30, 40]
    assert events[-1] == replace(events[-1], step=40, reason="budget")
    progressed = [event for event in events if isinstance(event, Progressed)]
    assert progressed[-1].step == 40
    assert 0 < progressed[-1].loss_nats < 3
    assert 0 <= progressed[-1].clipped_fraction <= 1
    assert event_json(events[-1])["event"] == "stopped"


def test_losses_that_are_read_late_are_reported_before_an_evaluation(monkeypatch):
    """On a GPU, the losses of several steps are read at once."""

    def reported():
        events = list(trainer(steps=20, interval=0.2).run(never))
        assert sum(isinstance(event, Evaluated) for event in events) == 5
        return {event.step: event.loss_nats for event in events if isinstance(event, Progressed)}

    monkeypatch.setattr(f"{Trainer.__module__}.REPORT_SECONDS", math.inf)
    expected = reported()
    monkeypatch.setitem(STEPS_PER_READ, "cpu", 16)
    assert list(expected) == [4, 8, 12, 16, 20]
    assert reported() == expected


def test_samples_are_part_of_evaluations_and_change_no_bit():
    plain, sampling = trainer(steps=40), trainer(steps=40)
    drawn = iter(["a", "b", "c", "d"])
    sampling.write_sample = lambda: next(drawn)
    assert [event.sample for event in plain.run(never) if isinstance(event, Evaluated)] == [None] * 4
    evaluated = [event for event in sampling.run(never) if isinstance(event, Evaluated)]
    assert [(event.step, event.sample) for event in evaluated] == [(10, "a"), (20, "b"), (30, "c"), (40, "d")]
    assert event_json(evaluated[0])["sample"] == "a"
    for name, array in sampling.network.arrays().items():
        np.testing.assert_array_equal(array, plain.network.arrays()[name])


def test_the_time_of_a_sample_is_part_of_the_budget(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def validate():
        now[0] += 1.0
        return Validation(LossTotal(1.0, 1))

    made = trainer(steps=None, minutes=1.0, validate=validate)
    made.budget = Budget(steps=None, seconds=seconds_for_steps(1.0, 1.0))

    def write_sample():
        now[0] += 6.0
        return "slow"

    made.write_sample = write_sample
    assert made._evaluate(0.1).sample == "slow"
    assert made.budget.seconds == 60 - 1.5 - 4 - 6 == seconds_for_steps(1.0, 1.0, sample_seconds=6.0)
    assert made.position.next_evaluation == 1.0  # 20 times the duration is more than is left


def test_a_trainer_learns_a_cycle():
    made = trainer(steps=150, dropout=0.0, learning_rate=0.05)
    losses = [event.loss_nats for event in made.run(never) if isinstance(event, Progressed)]
    assert losses[-1] < 0.2


def test_resuming_from_a_checkpoint_is_bit_identical_to_not_stopping():
    whole = trainer(steps=40)
    list(whole.run(never))
    first = trainer(steps=40)
    counter = itertools.count()
    events = list(first.run(lambda: next(counter) == 17))
    assert events[-1].reason == "interrupted"
    position, tensors = first.checkpoint()
    second = trainer(steps=40, position=position)
    second.restore(position, tensors)
    list(second.run(never))
    for name, array in second.network.arrays().items():
        np.testing.assert_array_equal(array, whole.network.arrays()[name])
    np.testing.assert_array_equal(second.checkpoint()[1]["recurrent.0.1"], whole.checkpoint()[1]["recurrent.0.1"])


def test_weights_are_averaged_over_the_last_tenth_of_the_steps():
    model = network()
    averaged = AveragedWeights(model)
    for step in range(1, 2001):
        with torch.no_grad():
            model.output.bias.fill_(float(step))
        for task in averaged.updates_after(step):
            task()
    found = float(averaged.arrays()["output.bias"][0])
    assert 1700 < found < 1900
    with averaged.in_place():
        assert model.arrays()["output.bias"][0] == found
    assert model.arrays()["output.bias"][0] == 2000
    assert next(model.parameters()) is model.embedding.weight


def test_the_average_of_early_steps_is_the_current_weights():
    model = network()
    averaged = AveragedWeights(model)
    with torch.no_grad():
        model.output.bias.fill_(5.0)
    for task in averaged.updates_after(3):
        task()
    assert float(averaged.arrays()["output.bias"][0]) == 5.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is what is told")
def test_the_c_library_keeps_memory_and_then_returns_it(monkeypatch):
    is_reported = []

    def tell(*, mmap_max, trim_threshold):
        is_reported.append((mmap_max, trim_threshold))
        return False

    with memory_kept() as has_glibc:
        assert has_glibc == (hasattr(ctypes.CDLL(None), "mallopt") and hasattr(ctypes.CDLL(None), "malloc_trim"))
    keep, usual = (0, 2**31 - 1), (65536, 128 * 1024)
    with monkeypatch.context() as patch:
        patch.setattr("charnn.training.planning.memory._configure_malloc", tell)
        with memory_kept(), memory_kept():
            pass
        assert is_reported == [keep, keep, usual]
        is_reported.clear()
        with memory_returned():
            with memory_kept(trim=False):
                assert is_reported[-1] == keep
            assert is_reported[-1] == usual
        assert is_reported.count(keep) == 2
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "100000")
    with memory_kept() as is_configured:
        assert not is_configured  # the user has


@pytest.mark.parametrize("unit", ["stream", "line"])
def test_final_metrics_are_those_of_network_and_ngrams(unit):
    model = network(scale=2.0)
    ids = drawn_from(model, 3000, temperature=1.0)
    ngrams = estimate_ngrams(ids[:2500], PLAIN, order=3, unit=unit, seconds=None)
    held_out = held_out_of(ids[2500:], unit)
    scores = evaluate_ngrams(ngrams, held_out)
    metrics = measure_final_metrics(model, held_out, PLAIN, ngrams=ngrams)
    alone = -float(held_out_log_probs(model, held_out, PLAIN).mean())
    ngram = -float(np.log(scores.probs).mean())
    assert metrics.loss_nats == pytest.approx(alone)
    assert metrics.num_tokens == len(held_out)
    assert metrics.mixture_loss_nats < max(alone, ngram)
    assert metrics.mixture_loss_nats == pytest.approx(alone, abs=0.05)  # the network wrote the text
    assert metrics.fixed_window_loss_nats == pytest.approx(alone, abs=0.05)
    assert [len(each) for each in metrics.mixture_weights] == [NUM_WEIGHTS] * 3
    assert measure_final_metrics(model, held_out, PLAIN).mixture_loss_nats is None


def test_parts_of_a_text_too_long_for_the_budget_are_counted(monkeypatch):
    monkeypatch.setattr("charnn.training.run.metrics.TOKENS_COUNTED_PER_SECOND", 100)
    ids = np.arange(10_000) % 11
    few = estimate_ngrams(ids, PLAIN, order=2, unit="stream", seconds=70)
    every = estimate_ngrams(ids, PLAIN, order=2, unit="stream", seconds=None)
    assert every.num_ngrams - 11 == 12  # eleven pairs of the cycle, and the first token after the boundary
    assert few.num_ngrams - 11 > 12  # ten seams
    assert few.distribution([4])[0][5] > 0.5


def test_training_stops_when_validation_no_longer_improves():
    losses = iter([3.0, 2.0, 2.5, 2.5, 2.0, 9.0])
    made = trainer(steps=100, validate=lambda: Validation(LossTotal(next(losses), 1)), interval=0.1, patience=3)
    events = list(made.run(never))
    assert events[-1] == Stopped(50, events[-1].seconds, "patience")
    assert made.position.best_step == 20
    assert [event.is_best for event in events if isinstance(event, Evaluated)] == [True, True, False, False, False]


def test_without_held_out_text_the_latest_weights_are_the_best():
    events = list(trainer(steps=8, validate=None).run(never))
    assert [(event.valid_loss_nats, event.is_best) for event in events if isinstance(event, Evaluated)] == [
        (None, True)
    ] * 4


def test_a_loss_that_is_not_finite_is_rolled_back_to_half_the_learning_rate():
    made = trainer(steps=30, interval=0.5)
    events = []
    for event in made.run(never):
        events.append(event)
        if isinstance(event, Evaluated) and event.step == 15:
            with torch.no_grad():
                made.network.output.bias.fill_(math.nan)
    rolled = [event for event in events if isinstance(event, RolledBack)]
    assert [(event.step, event.to_step) for event in rolled] == [(16, 15)]
    assert made.position.rate_scale == 0.5
    assert events[-1].reason == "budget"
    assert all(np.isfinite(array).all() for array in made.network.arrays().values())


def test_a_loss_that_stays_infinite_ends_training_with_advice():
    with pytest.raises(TrainingError, match=r"the loss is not finite, .* restart with a lower --learning-rate"):
        list(
            trainer(steps=50, learning_rate=1e38, optimizer="sgd", clip_norm=0.0, warmup=0.0, weight_decay=0.01).run(
                never
            )
        )


def test_gradients_longer_than_the_limit_are_counted():
    clipped = [event for event in trainer(clip_norm=1e-6).run(never) if isinstance(event, Progressed)]
    free = [event for event in trainer(clip_norm=0.0).run(never) if isinstance(event, Progressed)]
    assert clipped[-1].clipped_fraction == 1.0
    assert free[-1].clipped_fraction == 0.0


def resolved(num_tokens=10**6, kind="char", seconds=90.0, vocab_size=65, device="cpu", **options):
    return sizes.resolve_architecture(
        ModelOptions(**options), kind=kind, vocab_size=vocab_size, num_tokens=num_tokens, seconds=seconds, device=device
    )


def test_default_sizes_grow_with_the_budget_and_the_corpus():
    widths = [resolved(seconds=seconds).hidden_size for seconds in (10, 40, 90, 300, 3600)]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    assert resolved(num_tokens=10_000, seconds=3600).hidden_size <= 128
    assert resolved(hidden_size=77, num_layers=3, embedding_size=5) == Architecture(
        "lstm", 65, 5, 77, 3, embedding_order=3
    )
    assert resolved(tie_weights=True).embedding_size == resolved(tie_weights=True).hidden_size
    assert resolved(tie_weights=True, embedding_size=40).hidden_size == 40
    assert resolved(device="cuda").num_layers == 2


def test_tied_weights_of_different_sizes_are_refused():
    with pytest.raises(OptionError, match="--tie-weights: found --embedding-size 5 and --hidden-size 6"):
        resolved(tie_weights=True, embedding_size=5, hidden_size=6)


def test_the_effective_time_factor_depends_on_speed_and_epochs():
    speed = planning.REFERENCE_SPEEDS[256]
    assert planning.effective_time_factor(256, speed, 5) == 1
    assert planning.effective_time_factor(256, speed * 1.2, 5) == 1
    assert planning.effective_time_factor(256, speed * 4, 5) == 4
    assert planning.effective_time_factor(256, speed / 4, 5) == 0.25
    assert planning.effective_time_factor(256, speed, 0.5) == 0.5
    assert planning.effective_time_factor(256, speed, 50) == 1.5
    assert planning.effective_time_factor(333, speed, 5) == 1


@pytest.mark.parametrize(("speed_ratio", "expected"), [(1.0, 256), (8.0, 384), (16.0, 512), (0.1, 128)])
def test_the_hidden_size_is_revised_for_a_machine_of_another_speed(tmp_path, monkeypatch, speed_ratio, expected):
    timed = []

    def measured(architecture, *_args, **_options):
        timed.append(architecture.hidden_size)
        speed = speed_ratio * planning.REFERENCE_SPEEDS.get(architecture.hidden_size, 1e5)
        return timing.Speed("fp32", 1, speed, speed, None)

    monkeypatch.setattr(planning, "measure_speed", measured)
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat\n" * 25_000, encoding="utf-8")
    corpus = prepare_corpus(tmp_path, [str(path)], TextOptions(), seed=1)

    def chosen(**model):
        plan = planning.make_plan(
            ModelOptions(**model),
            TrainingOptions(minutes=1.5),
            corpus=corpus,
            device="cpu",
            workers=Workers(),
        )
        return plan.architecture.hidden_size

    assert chosen() == expected
    assert timed == list(dict.fromkeys([256, expected]))
    assert chosen(hidden_size=32) == 32


def test_timing_ends_early_on_a_busy_machine(monkeypatch):
    clock = itertools.count()
    calls = []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))

    def delayed(name, seconds):
        def do():
            calls.append(name)
            for _ in range(seconds):
                next(clock)

        return do

    quick, stalled, never = timing._median_times(
        [delayed("quick", 1), delayed("stalled", 50), delayed("never", 1)], "cpu", max_seconds=10
    )
    assert calls == ["quick", "stalled"]
    assert quick < 5 < stalled < math.inf == never


def test_a_short_text_gets_a_smaller_batch():
    def lanes(wanted, num_tokens, hidden_size=256):
        return planning.choose_batch_size(
            wanted, hidden_size=hidden_size, num_tokens=num_tokens, bptt_length=64, device="cpu"
        )

    assert lanes(None, 10**6, hidden_size=1024) > lanes(None, 10**6)

    assert [lanes(None, 10**6), lanes(None, 640), lanes(None, 3), lanes(50, 640), lanes(5, 10**6)] == [32, 10, 1, 10, 5]


def test_a_segment_is_about_512_tokens_in_whole_steps():
    def carry(unit="stream", **given):
        return planning.resolve_training(
            TrainingOptions(**given), unit=unit, num_epochs=1, num_tokens=10**6, batch_size=1
        ).carry_length

    assert [carry(), carry(bptt_length=160), carry(bptt_length=2000)] == [512, 480, 2000]
    assert [carry(carry_length=0), carry(carry_length=77), carry("line")] == [0, 77, None]


def test_a_segment_holds_two_windows_of_attention():
    def carry(window):
        return planning.resolve_training(
            TrainingOptions(), unit="stream", num_epochs=1, num_tokens=10**6, batch_size=1, attention_window=window
        ).carry_length

    assert [carry(0), carry(256), carry(1000)] == [512, 512, 2048]


def test_a_short_run_has_a_higher_learning_rate_with_muon_only():
    def rate(num_steps, **given):
        options = TrainingOptions(**given)
        return planning.resolve_training(
            options, unit="stream", num_tokens=num_steps * 128, num_epochs=1, batch_size=1
        ).learning_rate

    assert [rate(700), rate(3000), rate(3001), rate(5000), rate(5001)] == [0.04, 0.04, 0.03, 0.03, 0.02]
    assert rate(700, optimizer="adamw") == rate(6000, optimizer="adamw")
    assert rate(700, learning_rate=0.005) == 0.005


def test_ngrams_of_a_short_text_are_memorized_sooner():
    def ngram_dropout(num_tokens, num_epochs):
        return planning.resolve_training(
            TrainingOptions(), unit="stream", num_tokens=num_tokens, num_epochs=num_epochs, batch_size=32
        ).ngram_dropout

    assert [ngram_dropout(10**6, 7), ngram_dropout(125_000, 7), ngram_dropout(125_000, 4)] == [0.0, 0.25, 0.0]
    assert ngram_dropout(10**6, 40) == ngram_dropout(125_000, 40) == 0.5


def test_dropout_grows_with_the_number_of_epochs():
    def dropout(num_epochs, wanted=None, num_tokens=10**6):
        options = TrainingOptions(dropout=wanted)
        return planning.resolve_training(
            options, unit="stream", num_epochs=num_epochs, num_tokens=num_tokens, batch_size=1
        ).dropout

    assert [dropout(number) for number in (1, 8, 20, 45, 80, 1000)] == [0.0, 0.05, 0.1, 0.2, 0.3, 0.4]
    assert [dropout(number, num_tokens=125_000) for number in (1.9, 4.9, 14, 22, 49)] == [0.0, 0.05, 0.1, 0.2, 0.3]
    assert dropout(14, num_tokens=1_000) == 0.1
    assert dropout(1000, 0.05) == 0.05
    few, many = (
        planning.resolve_training(
            TrainingOptions(), unit="stream", num_epochs=number, num_tokens=10**6, batch_size=1
        ).ngram_dropout
        for number in (1, 100)
    )
    assert few == 0.0
    assert many > 0.5


def test_evaluations_take_at_most_a_twentieth_of_the_time():
    def plan(num_valid, num_training, seconds=None):
        return planning.plan_evaluations(
            num_valid=num_valid, num_training=num_training, seconds=seconds, evaluation_speed=1e5
        )

    assert plan(1000, 10**7) == (1 / 40, 1000, 1000)
    interval, most, final = plan(10**7, 10**6, seconds=60)
    assert (most, final) == (10**5, 2 * 10**5)
    assert 1 / interval * most <= 0.05 * 60 * 1e5 * 1.01
    assert plan(0, 10**6) == (1 / 20, 0, 0)


@pytest.fixture
def fake_step(monkeypatch):
    """Replaces steps by fake ones with given seconds per precision, on a fake clock."""
    clock, seconds, calls = [0.0], {"fp32": [0.3], "bf16": [0.1]}, []

    class Step:
        def __init__(self, _network, _optimizers, _options, precision, workers):
            self.precision, self.workers = precision, workers

        def prepare(self, *_arguments, **_options):
            return PreparedStep([], 0.0, 0, 0)

        def update(self, *_arguments):
            of_step = seconds[self.precision]
            clock[0] += of_step[calls.count(self.precision) % len(of_step)]
            calls.append(self.precision)

    monkeypatch.setattr(timing, "TrainingStep", Step)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    return seconds, calls


@pytest.mark.parametrize(("faster", "ratio"), [("bf16", 3.0), ("fp32", None)])
def test_with_a_time_budget_the_faster_precision_is_chosen(monkeypatch, fake_step, faster, ratio):
    monkeypatch.setattr(timing, "supports_bf16", lambda _: True)
    fake_step[0].update({"bf16": [0.1], "fp32": [0.3]} if faster == "bf16" else {"bf16": [0.3], "fp32": [0.1]})
    speed = timing.measure_speed(SHAPE, TrainingOptions(bptt_length=4), batch_size=2, device="cpu", seconds=600)
    assert speed.precision == faster
    assert speed.bf16_speedup == (None if ratio is None else pytest.approx(ratio))
    assert speed.training == pytest.approx(8 / 0.1)


@pytest.mark.parametrize(
    ("units", "wanted", "timed"),
    [(True, "auto", "bf16"), (False, "auto", "fp32"), (True, "fp32", "fp32"), (True, "bf16", "bf16")],
)
def test_with_a_budget_of_steps_the_processor_and_not_the_clock_decides(monkeypatch, fake_step, units, wanted, timed):
    monkeypatch.setattr(timing, "supports_bf16", lambda _: units)
    options = TrainingOptions(bptt_length=4, precision=wanted)
    speed = timing.measure_speed(SHAPE, options, batch_size=2, device="cpu")
    assert (speed.precision, speed.bf16_speedup) == (timed, None)
    assert set(fake_step[1]) == {timed}


def test_one_delayed_step_does_not_change_the_precision(monkeypatch, fake_step):
    monkeypatch.setattr(timing, "supports_bf16", lambda _: True)
    fake_step[0].update({"bf16": [0.1, 0.1, 5.0, 0.1, 0.1, 0.1], "fp32": [0.2]})
    speed = timing.measure_speed(SHAPE, TrainingOptions(bptt_length=4), batch_size=2, device="cpu", seconds=6000)
    assert speed.precision == "bf16"


def test_timing_restores_generators_and_threads():
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    speed = timing.measure_speed(SHAPE, TrainingOptions(bptt_length=4, precision="fp32"), batch_size=2, device="cpu")
    assert speed.training > 0
    assert speed.evaluation > 0
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_unsupported_bf16_becomes_fp32_with_a_notice(monkeypatch):
    monkeypatch.setattr("charnn.training.planning.devices.supports_bf16", lambda _: False)
    with collected_notices() as notices:
        assert supported_precision("bf16", "cpu") == "fp32"
    assert notices == ["--precision bf16: this processor does not support bf16; training in fp32"]
    with collected_notices() as notices:
        assert supported_precision("auto", "cpu") == "auto"
        monkeypatch.setattr("charnn.training.planning.devices.supports_bf16", lambda _: True)
        assert supported_precision("bf16", "cpu") == "bf16"
    assert notices == []


@pytest.mark.parametrize(
    ("capabilities", "onednn", "expected"),
    [
        ({"avx2": True}, True, False),
        ({"avx512_bf16": True}, True, True),
        ({"avx512_bf16": True}, False, False),  # restricted by ONEDNN_MAX_CPU_ISA
        ({"bf16": True}, True, True),  # arm64
    ],
)
def test_bf16_requires_support_of_the_processor_and_onednn(monkeypatch, capabilities, onednn, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr("charnn.training.planning.devices._onednn_supports_bf16", lambda: onednn)
    assert supports_bf16("cpu") == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_an_error():
    with pytest.raises(CharnnError) as error:
        choose_device("cuda")
    assert str(error.value) == (
        "--device cuda: found no CUDA device that torch can use; pass --device cpu, or leave it out"
    )
    assert choose_device("auto") == choose_device("cpu") == "cpu"


def test_the_default_budget_is_five_minutes():
    assert planning.resolve_budget(TrainingOptions()).minutes == 5
    assert planning.resolve_budget(TrainingOptions(steps=3)).minutes is None


def test_a_loss_that_is_not_finite_after_resuming_is_rolled_back_to_the_checkpoint():
    first = trainer(steps=30)
    counter = itertools.count()
    list(first.run(lambda: next(counter) == 10))
    position, tensors = first.checkpoint()
    second = trainer(steps=30, position=position)
    second.restore(position, tensors)
    with torch.no_grad():
        second.network.output.bias.fill_(math.nan)
    events = second.run(never)
    rolled = next(event for event in events if isinstance(event, RolledBack))
    assert rolled.to_step == position.step
    for name, array in second.network.arrays().items():
        np.testing.assert_array_equal(array, tensors[f"network.{name}"])


def test_a_validation_loss_that_is_not_finite_is_never_the_best():
    losses = iter([math.nan, 3.0, 2.0, math.inf, 1.0, 0.5, 0.4, 0.3])
    made = trainer(steps=40, validate=lambda: Validation(LossTotal(next(losses), 1)))
    events = list(made.run(never))
    found = [event.valid_loss_nats for event in events if isinstance(event, Evaluated)]
    assert [type(event) for event in events].count(RolledBack) == 2
    assert found[:2] == [3.0, 2.0]
    assert all(math.isfinite(loss) for loss in found)
    assert made.position.best_loss_nats == found[-1] == min(found)


class Clock:
    """A fake clock for the trainer, on which steps and evaluations take given seconds."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("charnn.training.trainer.time.monotonic", lambda: self.now)
        monkeypatch.setattr("charnn.training.trainer.time.perf_counter", lambda: self.now)

    def timed(self, work, seconds):
        def do(*arguments, **options):
            self.now += seconds
            return work(*arguments, **options)

        return do


def timed_trainer(clock, *, step_seconds, evaluation_seconds, planned_speed):
    """A trainer with a budget of one minute."""
    validate = clock.timed(lambda: Validation(LossTotal(1.0, 1)), evaluation_seconds)
    made = trainer(validate=validate, minutes=1.0, patience=0, save_every=1e9, interval=0.1)
    made.started, made._speed_check = 0.0, SpeedCheck(planned_speed)
    made.budget = Budget(steps=None, seconds=seconds_for_steps(1.0, 0.1))
    made._finish = clock.timed(made._finish, step_seconds)
    return made


@pytest.mark.parametrize(("planned", "is_reported"), [(64.0, False), (80.0, False), (200.0, True), (20.0, True)])
def test_an_unexpected_speed_is_reported_once_after_a_fifth_of_the_time(monkeypatch, planned, is_reported):
    clock = Clock(monkeypatch)
    made = timed_trainer(clock, step_seconds=1.0, evaluation_seconds=0.1, planned_speed=planned)
    events = list(made.run(never))
    changes = [event for event in events if isinstance(event, SpeedChanged)]
    assert len(changes) == is_reported
    for change in changes:  # 4 lanes of 16 tokens per second
        assert change == SpeedChanged(change.step, planned, pytest.approx(64.0, rel=0.05))
        assert 11 <= change.step <= 14


def test_training_ends_in_time_if_evaluations_take_longer_than_planned(monkeypatch):
    # Planned were 0.1 s for each; they take 5, so the four at the end need 20 s of the minute.
    clock = Clock(monkeypatch)
    made = timed_trainer(clock, step_seconds=1.0, evaluation_seconds=5.0, planned_speed=None)
    events = list(made.run(never))
    assert events[-1].reason == "budget"
    last_step = 60 - 1.5 - 4 * 5
    assert last_step - 1 <= clock.now <= last_step + 1 + 5  # with the last evaluation, one of the four


def test_at_least_half_of_a_time_budget_is_for_steps():
    assert seconds_for_steps(1.0, 0.5) == 60 - 1.5 - 2
    assert seconds_for_steps(1.0, 100.0) == 30


@pytest.mark.parametrize(
    ("minutes", "speed", "vocab_size", "smaller"),
    [
        (0.2, 640.0, SHAPE.vocab_size, "--hidden-size or --batch-size"),
        (0.2, 640.0, 5000, "--vocab-size, --hidden-size or --batch-size"),
        (0.2, 64_000.0, 5000, None),
        (2.0, 640.0, 5000, None),
    ],
)
def test_a_budget_without_room_for_a_step_is_refused_with_sufficient_minutes(minutes, speed, vocab_size, smaller):
    options = TrainingOptions(minutes=minutes, batch_size=32, bptt_length=128)
    measured = timing.Speed("fp32", 1, speed, 1000.0, None)
    shape = replace(SHAPE, vocab_size=vocab_size)
    plan = planning.Plan(shape, options, "cpu", measured, 0.1, 500, 500, 0, 1.0)
    if smaller is None:
        create._refuse_too_little_time(plan, 4.0)
        return
    # A step of 4,096 tokens takes 6.4 s, the end 1.5 s and four evaluations of half a second: 4 + 20 * 6.4 + 3.5 = 135.5 s.
    with pytest.raises(TrainingError) as error:
        create._refuse_too_little_time(plan, 4.0)
    assert str(error.value) == (
        "--minutes 0.2: reading and timing took 4 s, and a step takes 6.4 s here; use --minutes 2.3 or more, "
        f"or a smaller {smaller}"
    )


def test_a_resumed_run_reserves_the_same_time_for_the_end(monkeypatch):
    clock = Clock(monkeypatch)
    first = timed_trainer(clock, step_seconds=1.0, evaluation_seconds=5.0, planned_speed=None)
    list(first.run(lambda: first.position.step >= 12))
    assert first.budget.seconds == 60 - 1.5 - 20
    second = timed_trainer(clock, step_seconds=1.0, evaluation_seconds=5.0, planned_speed=None)
    second.restore(*first.checkpoint())
    assert second.budget.seconds == first.budget.seconds
