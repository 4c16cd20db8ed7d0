import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from charnn.inference.engine import Engine
from charnn.inference.label_engine import LabelEngine
from charnn.storage.label_ngrams import read_label_ngrams
from charnn.storage.labels import labels_of, with_label, without_labels
from charnn.storage.model_directory import Model, read_model
from charnn.text.corpus import open_ids
from charnn.text.labels import read_labels
from charnn.training.batches import UnitBatches, with_labels
from charnn.training.network.network import Network
from charnn.training.objective import TokenNoise
from charnn.training.run import session
from tests.conftest import VOICES, ramp_weights
from tests.training.test_techniques import interrupted_after_ten_steps

SMALL = ("--hidden-size", "16", "--embedding-size", "8", "--batch-size", "8", "--bptt", "16", "--precision", "fp32")


@pytest.fixture
def model(voices_run: Path) -> Model:
    """A model of three labels with weights that matter."""
    model = read_model(voices_run)
    model.weights.update(ramp_weights(model.architecture))
    return model


def test_a_network_with_a_label_is_the_model_of_that_label(model):
    network = Network(model.architecture)
    network.load_arrays(model.weights)
    ids_TB = np.random.default_rng(1).integers(model.architecture.vocab_size, size=(9, 4))
    labels_B = np.array([0, 1, 2, 3])
    inputs = torch.from_numpy(with_labels(ids_TB, labels_B, model.architecture.vocab_size))
    with torch.no_grad():
        logits_TBV = network(inputs, network.initial_state(4))[0].numpy()
    for stream, name in enumerate([None, "ANN", "BEN", "CYD"]):
        engine = Engine.of(with_label(model, name))
        outputs, _ = engine.forward(ids_TB[:, stream : stream + 1], engine.initial_state())
        assert engine.logits(outputs)[:, 0] == pytest.approx(logits_TBV[:, stream], abs=1e-5)
    streams = LabelEngine(model)
    streams.set_labels(np.arange(3))
    outputs, _ = streams.forward(ids_TB[:, 1:], streams.initial_state(3))
    assert streams.logits(outputs) == pytest.approx(logits_TBV[:, 1:], abs=1e-5)


def test_a_model_of_one_label_is_like_any_other(model):
    labelled = with_label(model, "BEN")
    assert labelled.architecture.num_labels == 0
    assert labelled.weights.keys() == without_labels(model).weights.keys() == model.weights.keys() - {"labels.weight"}
    added = labelled.weights["embedding.weight"] - model.weights["embedding.weight"]
    assert added == pytest.approx(np.broadcast_to(model.weights["labels.weight"][1], added.shape), abs=1e-6)


def test_one_unit_in_ten_is_read_without_its_label_but_none_in_validation(voices_run):
    tokenizer = read_model(voices_run).tokenizer
    ids, labels = open_ids(voices_run / "train.bin", tokenizer), read_labels(voices_run, "train")

    def labels_read(seed: int | None, epoch: int) -> np.ndarray:
        batches = UnitBatches(ids, tokenizer.vocabulary, batch_size=8, bptt_length=64, seed=seed, labels=labels)
        found = [batches.batch(epoch, index) for index in range(batches.steps_per_epoch)]
        first = [batch.inputs_TB[0] // len(tokenizer.vocabulary) for batch in found if batch and batch.is_first]
        assert all(((batch.targets_TB < len(tokenizer.vocabulary)).all()) for batch in found if batch)
        return np.concatenate(first)

    assert sorted(labels_read(None, 0)) == sorted(labels)
    read = np.concatenate([labels_read(1, epoch) for epoch in range(10)])
    assert (read == 0).mean() == pytest.approx(0.1, abs=0.03)
    assert labels_read(1, 3).tolist() == labels_read(1, 3).tolist() != labels_read(1, 4).tolist()


def test_noise_keeps_labels():
    inputs = with_labels(np.zeros((50, 4), dtype=np.int64), np.array([0, 1, 2, 3]), 9)
    noisy = TokenNoise(np.full(5, 7), 0.5, vocab_size=9).apply(inputs, np.random.default_rng(1))
    assert (noisy // 9 == inputs // 9).all()
    assert set((noisy % 9).ravel().tolist()) == {0, 7}


@pytest.mark.parametrize("options", [(), ("--teacher-forcing", "0.5", "--token-noise", "0.1")], ids=["plain", "noisy"])
def test_training_is_the_same_on_any_number_of_threads_and_after_an_interrupt(charnn, monkeypatch, options):
    Path("voices.csv").write_text(VOICES, encoding="utf-8")
    arguments = ("train", "voices.csv", "--column", "text", "--label-from", "who", "--unit", "line", "--steps", 20)
    arguments = (*arguments, *SMALL, *options)
    assert charnn(*arguments, "-o", "whole", "--threads", 1).status == 0
    real = session.run
    monkeypatch.setattr(session, "run", interrupted_after_ten_steps(real))
    assert charnn(*arguments, "-o", "parts", "--threads", 3).status == 130
    monkeypatch.setattr(session, "run", real)
    assert charnn("train", "--resume", "-o", "parts", "--threads", 2).status == 0
    assert Path("parts/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    results = [
        json.loads(Path(run, "config.json").read_text(encoding="utf-8"))["results"] for run in ("parts", "whole")
    ]
    assert results[0]["label_accuracy"] == results[1]["label_accuracy"]


def test_a_model_without_labels_stores_nothing_of_them(run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert "num_labels" not in config["architecture"]
    assert "labels" not in config["corpus"]
    assert not any(name.startswith("label_") for name in config["results"])
    assert not list(run.glob("*.labels.bin"))
    assert "labels.weight" not in read_model(run).weights


def test_further_training_leaves_labels_behind(charnn, voices_run):
    Path("more.txt").write_text("the kettle is on\nthe boat is off\n" * 30, encoding="utf-8")
    shutil.copytree(voices_run, "old")
    result = charnn("train", "more.txt", "--init-from", "old", "-o", "new", "--steps", 3)
    assert result.status == 0, result.err
    assert read_model(Path("new")).architecture.num_labels == 0


def test_a_run_whose_labels_are_missing_is_not_resumed(charnn, voices_run):
    (voices_run / "train.labels.bin").unlink()
    result = charnn("train", "--resume", "-o", voices_run, "--steps", 200)
    assert result.status == 1
    num_units = json.loads((voices_run / "config.json").read_text(encoding="utf-8"))["corpus"]["train"]["num_units"]
    assert result.err.splitlines()[-1] == (
        f"charnn: error: {voices_run / 'train.labels.bin'}: holds the labels of 0 units, the run was started with "
        f"{num_units:,}; restore the file, or start a new run"
    )


def test_n_grams_of_labels_are_those_of_their_units(voices_run):
    model = read_model(voices_run)
    ngrams = read_label_ngrams(voices_run, model.architecture.vocab_size, model.tokenizer_sha256)
    boundary_id = model.tokenizer.vocabulary.boundary_id

    def log_prob(label: str, text: str) -> float:
        number = [each.name for each in labels_of(model)].index(label)
        ids = np.append(model.tokenizer.encode(text), boundary_id)
        return float(np.log(ngrams[number].read_text(ids, boundary_id=boundary_id, cut_at_boundary=True).probs).sum())

    assert log_prob("ANN", "is the kettle on") > -1
    assert log_prob("BEN", "is the kettle on") < -30
    assert log_prob("BEN", "never mind the boat 2") > -3


def test_damaged_n_grams_of_labels_are_named(charnn, voices_run):
    config = json.loads((voices_run / "config.json").read_text(encoding="utf-8"))
    config["results"]["label_ngram_weight"] = 0.5
    (voices_run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    file = voices_run / "labels.safetensors"
    file.unlink()
    result = charnn("classify", "hm", "-m", voices_run)
    assert result.err.splitlines()[-1] == (
        f"charnn: error: {file}: the n-gram models of the labels are missing; restore them, or train again"
    )
