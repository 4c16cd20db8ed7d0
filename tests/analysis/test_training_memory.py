"""Tests of the memory of backpropagation through time."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import charnn as library
from charnn.analysis import training_memory
from charnn.analysis.training_memory import MemoryFit, SavedBytes, saved_bytes, training_network
from charnn.config import Architecture, TrainingOptions
from charnn.errors import ModelError

PLAIN = TrainingOptions(dropout=0.0)


def total(network, length, batch_size, options=PLAIN):
    return sum(saved_bytes(network, options, length=length, batch_size=batch_size).values())


def test_a_simple_network_saves_what_its_derivatives_need():
    """Without the weights. The ids: read by the embedding, and as targets, one storage of 7 * 2. The log probabilities of the
    loss, and the number that it is divided by. The layer: its inputs, and each new state, which is the derivative of tanh too;
    the initial state. The output layer: the states, put together."""
    shape = Architecture("rnn", vocab_size=7, embedding_size=3, hidden_size=5, num_layers=1)
    parts = saved_bytes(training_network(shape, PLAIN), PLAIN, length=6, batch_size=2)
    assert parts == {
        "embedding and loss": 8 * 7 * 2 + 4 * 6 * 2 * 7 + 4,
        "layer 1": 4 * 6 * 2 * (3 + 5) + 4 * 2 * 5,
        "output layer": 4 * 6 * 2 * 5,
    }


def test_attention_is_a_part_of_its_own():
    plain = Architecture("rnn", vocab_size=7, embedding_size=3, hidden_size=5, num_layers=1)
    shape = replace(plain, attention_window=40, attention_size=4)
    parts, without = (
        saved_bytes(training_network(each, PLAIN), PLAIN, length=6, batch_size=2) for each in (shape, plain)
    )
    assert parts.pop("attention") > 4 * 2 * 6 * (39 + 6)  # of which its weights are a part
    assert parts == without


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "mogrifier", "mingru"])
def test_memory_is_linear_in_time_and_in_rows(cell):
    shape = Architecture(
        cell, vocab_size=7, embedding_size=16, hidden_size=32, num_layers=2, mogrifier_rounds=4 * (cell == "mogrifier")
    )
    network = training_network(shape, PLAIN)
    lengths, rows = (16, 32, 64), (4, 8, 16)
    found = np.array([[total(network, length, batch_size) for batch_size in rows] for length in lengths])
    saved = SavedBytes("run", cell, lengths, rows, found.astype(float), {}, 8, 2, 100, 1)
    assert saved.largest_error < 0.02
    assert 3.7 < found[2, 1] / found[0, 1] < 4.1
    assert 3.7 < found[1, 2] / found[1, 0] < 4.1


def test_weights_do_not_count_and_shared_storages_count_once():
    shape = Architecture("rnn", vocab_size=3, embedding_size=2, hidden_size=64, num_layers=1)
    network = training_network(shape, PLAIN)
    assert total(network, 1, 1) < 4 * 64 * 64  # of one weight matrix alone
    tied = total(network, 4, 2)
    network.requires_grad_(False)
    assert total(network, 4, 2) == 0
    network.requires_grad_(True)
    assert total(network, 4, 2) == tied


def test_dropout_saves_its_masks():
    options = TrainingOptions(dropout=0.5, dropout_kind="naive")
    shape = Architecture("gru", vocab_size=7, embedding_size=8, hidden_size=16, num_layers=1)
    without, network = training_network(shape, PLAIN), training_network(shape, options)
    parts = saved_bytes(network, options, length=10, batch_size=3)
    assert parts["input dropout"] == 4 * 10 * 3 * 8
    assert total(network, 10, 3, options) >= total(without, 10, 3) + 4 * 10 * 3 * (8 + 16)


def test_the_fit_finds_the_terms_and_extrapolates():
    lengths, rows = (16, 64, 512), (1, 4, 64)
    true = np.array([[300 * length * row + 40 * row + 7 for row in rows] for length in lengths], dtype=float)
    true[2, 2] = np.nan
    saved = SavedBytes("run", "lstm", lengths, rows, true, {}, 128, 32, 100_000, 1)
    assert saved.fit.per_token == pytest.approx(300)
    assert saved.fit.per_row == pytest.approx(40)
    assert saved.fit.constant == pytest.approx(7, abs=1e-4)
    assert saved.largest_error < 1e-9
    assert isinstance(saved.fit, MemoryFit)
    assert saved.expected(100_000, 1) == pytest.approx(300 * 100_000 + 47)


def test_the_inspection_leaves_out_what_is_too_large(run, monkeypatch):
    monkeypatch.setattr(training_memory, "LENGTHS", (8, 16))
    monkeypatch.setattr(training_memory, "BATCH_SIZES", (1, 16))
    monkeypatch.setattr(training_memory, "MAX_BYTES", 200_000)
    before = torch.random.get_rng_state()
    found = library.inspect("memory", run)
    assert torch.equal(torch.random.get_rng_state(), before)
    (one,) = found.runs
    assert np.isfinite(one.num_bytes[:, 0]).all()
    assert np.isnan(one.num_bytes[1, 1])
    truncation, parts, measured = ([*table.records()] for table in found.tables())
    assert truncation[0]["train_tokens"] == (run / "train.bin").stat().st_size
    assert truncation[0]["bptt_length"] == 32
    assert truncation[0]["ratio"] == pytest.approx(one.expected(one.num_train_tokens, 1) / one.expected(32, 8))
    assert [row["saved_bytes"] for row in measured] == [
        None if np.isnan(number) else number for number in one.num_bytes.ravel()
    ]
    assert sum(row["bytes_per_token"] for row in parts) == pytest.approx(one.num_bytes[1, 0] / 16)


def test_a_run_whose_configuration_lacks_the_batch_size(run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["options"]["training"]["batch_size"] = None
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match=r"config.json: found no batch_size in options.training; restore the file"):
        library.inspect("memory", run)
