import subprocess
import sys

import numpy as np
import pytest

from charnn.config import Architecture
from charnn.inference import input_projection
from charnn.inference.engine import Engine
from charnn.inference.numpy_steppers import FUSED, MANY_STREAMS
from charnn.inference.stepper import PlainStepper, stepper_for
from tests.conftest import ARCHITECTURES, REPOSITORY, ramp_weights

MORE = [
    pytest.param(Architecture(cell, 11, 6, 8, 3, embedding_order=order), id=f"{cell}-3-order-{order}")  # type: ignore[arg-type]
    for cell in FUSED
    for order in (1, 3)
]
MORE += [
    pytest.param(Architecture(cell, 11, 6, 8, 3, embedding_order=3, ngram_table_sizes=(31, 67)), id=f"{cell}-3-sized")  # type: ignore[arg-type]
    for cell in FUSED
]
MORE += [
    pytest.param(
        Architecture(cell, 11, 6, 8, 1, embedding_order=order, word_rows=29, word_codes=(-9, *range(1, 8), -3, 4, -2)),
        id=f"{cell}-words-order-{order}",
    )
    for cell in ("lstm", "mogrifier")
    for order in (1, 3)
]


def ids_at(time, num_streams, vocab_size=11):
    return (np.arange(num_streams) % 4 * 3 + time**2) % vocab_size


@pytest.mark.parametrize("num_streams", [1, 3, MANY_STREAMS + 1])
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MORE])
def test_stepping_is_what_the_engine_does(architecture, num_streams):
    engine = Engine(architecture, ramp_weights(architecture, 0.5))
    plain = PlainStepper(engine, engine.initial_state(), num_streams)
    quick = stepper_for(engine, engine.initial_state(), num_streams)
    for time in range(20):
        ids = ids_at(time, num_streams)
        np.testing.assert_allclose(quick.step(ids), plain.step(ids), atol=1e-5)
    for layer, expected in zip(quick.state(), plain.state(), strict=True):
        for part, wanted in zip(layer, expected, strict=True):
            np.testing.assert_allclose(part, wanted, atol=1e-5)


@pytest.mark.parametrize("num_streams", [1, MANY_STREAMS])
@pytest.mark.parametrize("cell", FUSED)
def test_gates_beyond_the_range_of_exp_are_open_or_shut(cell, num_streams):
    architecture = Architecture(cell, 11, 6, 8, 2)
    engine = Engine(architecture, ramp_weights(architecture, 3000.0))
    plain = PlainStepper(engine, engine.initial_state(), num_streams)
    quick = stepper_for(engine, engine.initial_state(), num_streams)
    for time in range(5):
        ids = ids_at(time, num_streams)
        np.testing.assert_allclose(quick.step(ids), plain.step(ids), rtol=1e-5)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MORE])
def test_streams_may_be_dropped_doubled_and_begun_anew(architecture):
    engine = Engine(architecture, ramp_weights(architecture, 0.5))
    steppers = [PlainStepper(engine, engine.initial_state(), 4), stepper_for(engine, engine.initial_state(), 4)]
    found = []
    for stepper in steppers:
        stepper.step(ids_at(0, 4))
        stepper.keep([3, 1, 1])
        middle = stepper.step(ids_at(1, 3)).copy()
        other = stepper.fork(stepper.state(), 3)
        fresh = stepper.fork(engine.initial_state(), 2)
        found.append([middle, other.step(ids_at(2, 3)).copy(), fresh.step(ids_at(3, 2)), stepper.step(ids_at(2, 3))])
    for expected, quick in zip(*found, strict=True):
        np.testing.assert_allclose(quick, expected, atol=1e-5)
    np.testing.assert_array_equal(found[1][1], found[1][3])


@pytest.mark.parametrize("architecture", MORE)
def test_a_vocabulary_too_large_for_a_table_gives_the_same(architecture, monkeypatch):
    engine = Engine(architecture, ramp_weights(architecture, 0.5))
    for num_streams in (1, 3):
        with_table = stepper_for(engine, engine.initial_state(), num_streams)
        monkeypatch.setattr(input_projection, "LARGEST_TABLE", 0)
        without = stepper_for(engine, engine.initial_state(), num_streams)
        monkeypatch.undo()
        for time in range(5):
            ids = ids_at(time, num_streams)
            np.testing.assert_allclose(without.step(ids), with_table.step(ids), atol=1e-5)


def test_reading_is_stepping():
    architecture = Architecture("gru", 11, 6, 8, 2, embedding_order=3)
    engine = Engine(architecture, ramp_weights(architecture, 0.5))
    one, other = (stepper_for(engine, engine.initial_state()) for _ in range(2))
    read = one.read(np.arange(9))
    for id in range(9):
        stepped = other.step(np.array([id]))
    np.testing.assert_array_equal(read, stepped)


def test_no_logit_passes_its_bound():
    architecture = Architecture("lstm", 11, 6, 8, 1)
    engine = Engine(architecture, ramp_weights(architecture, 3.0))
    stepper = stepper_for(engine, engine.initial_state())
    assert max(float(np.abs(stepper.step(ids_at(time, 1))).max()) for time in range(50)) <= stepper.largest_logit
    relu = Architecture("rnn", 11, 6, 8, 1, nonlinearity="relu")
    engine = Engine(relu, ramp_weights(relu, 0.1))
    assert stepper_for(engine, engine.initial_state()).largest_logit == np.inf


def test_a_row_of_a_table_is_the_same_whatever_is_asked_for_beside_it():
    generator = np.random.default_rng(1)
    vectors, weights = (generator.standard_normal(size, dtype=np.float32) for size in ((700, 30), (44, 30)))
    bias = np.ones(44, dtype=np.float32)
    alone, together = (input_projection.ProjectedRows(vectors, weights, bias) for _ in range(2))
    rows = np.array([[5, 9, 5], [2, 5, 0]])
    np.testing.assert_array_equal(together.many(rows)[0, 0], alone[5])
    np.testing.assert_allclose(together.many(np.arange(700)), vectors @ weights.T + 1, atol=1e-5)
    changed = together.many(np.array([5]))
    changed += 1
    np.testing.assert_array_equal(together[5], alone[5])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_one_thread_and_two_give_the_same_bits(cell):
    program = (
        "import hashlib, numpy as np\n"
        "from charnn.config import Architecture\n"
        "from charnn.cells.parameters import expected_shapes\n"
        "from charnn.inference.engine import Engine\n"
        "from charnn.inference.stepper import stepper_for\n"
        f"architecture = Architecture('{cell}', 205, 33, 301, 2, embedding_order=2)\n"
        "draws, shapes = np.random.default_rng(1), expected_shapes(architecture)\n"
        "weights = {name: 0.05 * draws.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}\n"
        "engine = Engine(architecture, weights)\n"
        "stepper = stepper_for(engine, engine.initial_state())\n"
        "logits = [stepper.step(np.array([time**2 % 205])).tobytes() for time in range(50)]\n"
        "print(hashlib.sha256(b''.join(logits)).hexdigest())\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"OPENBLAS_NUM_THREADS": threads, "PATH": ""},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(found) == 1
