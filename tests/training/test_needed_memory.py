"""The memory that training takes is estimated, compared with what there is, and the option that helps is named."""

import sys
from pathlib import Path

import pytest
import torch

from charnn.cells import CELL_NAMES
from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture, TrainingOptions
from charnn.training.network.network import Network
from charnn.training.optim.optimizers import LEARNING_RATES, make_optimizers
from charnn.training.planning import needed_memory as memory
from charnn.training.planning.saved_memory import saved_bytes

SMALL = ("--hidden-size", 16, "--embedding-size", 8, "--precision", "fp32", "--batch-size", 8, "--bptt", 32)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_two_short_batches_tell_what_a_long_one_keeps(cell):
    shape = Architecture(cell, 50, 6, 16, 2, mogrifier_rounds=2 * (cell == "mogrifier"))  # type: ignore[arg-type]
    network, options = Network(shape), TrainingOptions(steps=1, bptt_length=48, dropout=0.0)
    needed = memory.needed_memory(network, options, batch_size=7, num_workers=1)
    kept = sum(saved_bytes(network, options, length=48, batch_size=7).values())
    logits = 4 * 50 * 48 * 7
    assert needed.step == pytest.approx(kept + logits, rel=0.1)


def test_parameters_count_with_their_copies():
    shape = Architecture("lstm", 50, 6, 8, 1)
    size = 4 * sum(int(memory.math.prod(each)) for each in expected_shapes(shape).values())
    assert memory.parameter_memory(shape, "sgd") == (3 * size, 7 * size)
    assert memory.parameter_memory(shape, "adamw") == (5 * size, 11 * size)


@pytest.mark.parametrize("optimizer", LEARNING_RATES)
def test_the_state_of_the_optimizer_is_what_it_allocates(optimizer):
    shape = Architecture(
        "lstm",
        50,
        6,
        8,
        2,
        embedding_order=3,
        word_rows=300,
        attention_window=4,
        attention_size=3,
        initial_state="learned",
    )
    options = TrainingOptions(steps=1, optimizer=optimizer, batch_size=4, bptt_length=16)
    allocated = []

    def zeros_like(tensor):
        allocated.append(4 * tensor.numel())
        return torch.zeros_like(tensor)

    make_optimizers(Network(shape), options, zeros_like)
    size = 4 * sum(int(memory.math.prod(each)) for each in expected_shapes(shape).values())
    minimum, all_copies = memory.parameter_memory(shape, optimizer)
    assert minimum == 3 * size + sum(allocated)
    assert all_copies == 7 * size + 2 * sum(allocated)


def test_a_wide_window_of_attention_is_no_less_than_is_expected_without_measuring():
    shape = Architecture("rnn", 50, 6, 8, 1, attention_window=20_000, attention_size=16)
    options = TrainingOptions(steps=1, bptt_length=64, dropout=0.0)
    kept = sum(saved_bytes(Network(shape), options, length=64, batch_size=2).values())
    assert kept < memory._rough_bytes(shape, options, 2)


def test_only_the_rows_of_groups_that_run_at_the_same_time_count():
    network, options = Network(Architecture("gru", 20, 4, 8, 1)), TrainingOptions(steps=1, bptt_length=16)
    rows = [
        memory.needed_memory(network, options, batch_size=50, num_workers=number).num_rows for number in (1, 2, 4, 9)
    ]
    assert rows == [13, 26, 50, 50]  # four groups


@pytest.mark.parametrize(
    ("per_row", "parameters", "vocab_size", "advice"),
    [
        (10, 100, 50, "use --batch-size 64"),
        (100, 100, 50, "use --batch-size 8"),
        (4000, 100, 50, "use --batch-size 1 --bptt 16"),
        (10, 2000, 50, "use a smaller --hidden-size"),
        (10, 2000, 5000, "use a smaller --vocab-size"),
    ],
)
def test_the_advice_names_the_option_that_helps(per_row, parameters, vocab_size, advice):
    needed = memory.NeededMemory(10, parameters, per_row, 200)
    shape = Architecture("gru", vocab_size, 4, 8, 1)
    options = TrainingOptions(steps=1, bptt_length=64)
    assert memory._advice(needed, shape, options, 200, 1000.0 + 100) == advice


def test_a_run_that_is_likely_not_to_fit_is_warned_and_goes_on(charnn, monkeypatch):
    Path("text.txt").write_text("the cats which ate were full\n" * 60, encoding="utf-8")
    monkeypatch.setattr(memory, "available_bytes", lambda _device: 200_000)
    said = charnn("train", "text.txt", *SMALL, "--embedding-order", 1, "--steps", 2, "-o", "m")
    assert said.status == 0
    (line,) = [line for line in said.err.splitlines() if "training will take about" in line]
    assert "MB for parameters and checkpoints, " in line
    assert "but this machine has 0 MB available: use " in line
    monkeypatch.setattr(memory, "available_bytes", lambda _device: 8_000_000_000)
    said = charnn("train", "text.txt", *SMALL, "--steps", 2, "-o", "other")
    assert "training will take" not in said.err


def test_only_what_is_certainly_impossible_is_refused(charnn, monkeypatch):
    Path("text.txt").write_text("the cats which ate were full\n" * 60, encoding="utf-8")
    monkeypatch.setattr(memory, "total_bytes", lambda _device: 10_000)
    said = charnn("train", "text.txt", *SMALL, "--steps", 2, "-o", "m")
    assert said.status == 1
    assert said.err.splitlines()[-1].startswith("charnn: error: --hidden-size: found 16, but the parameters, ")
    assert said.err.splitlines()[-1].endswith("and this machine has 0 MB; use a smaller value")
    assert not Path("m").exists()


def test_the_limit_of_a_control_group_counts(tmp_path):
    group = tmp_path / "memory"
    group.mkdir()
    assert memory._group_number("memory.max", "memory.limit_in_bytes", tmp_path) is None
    (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory._group_number("memory.max", "memory.limit_in_bytes", tmp_path) is None
    (group / "memory.limit_in_bytes").write_text("4000000\n")
    assert memory._group_number("memory.max", "memory.limit_in_bytes", tmp_path) == 4_000_000
    (tmp_path / "memory.max").write_text("3000000\n")
    assert memory._group_number("memory.max", "memory.limit_in_bytes", tmp_path) == 3_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._group_number("memory.max", "memory.limit_in_bytes", tmp_path) == 4_000_000


def test_the_memory_of_this_machine_is_read(tmp_path):
    available, total = memory.available_bytes("cpu"), memory.total_bytes("cpu")
    if sys.platform.startswith("linux"):
        assert available is not None
        assert total is not None
        assert 0 < available <= total
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       100 kB\nMemAvailable:    40 kB\n")
    assert memory._meminfo("MemAvailable:", file) == 40 * 1024
    assert memory._meminfo("SwapTotal:", file) is None
    assert memory._meminfo("MemTotal:", tmp_path / "none") is None
