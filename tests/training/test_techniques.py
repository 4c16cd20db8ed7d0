"""Techniques from papers, through the command line."""

import json
from pathlib import Path

import pytest

from charnn.training.run import session

TEXT = "the cats which ate were full\nthe cat which ate was full\n" * 60
SMALL = ("--hidden-size", 12, "--precision", "fp32", "--batch-size", 4, "--bptt", 16)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return "text.txt"


TECHNIQUES = {
    "leaky": ("--cell", "leaky"),
    "fixed leak": ("--cell", "leaky", "--leak", 0.4, "--nonlinearity", "relu", "--init-recurrent", "identity"),
    "skip": ("--cell", "rnn", "--skip", 12),
    "mogrifier": ("--cell", "mogrifier", "--mogrifier-rounds", 3, "--mogrifier-rank", 2),
    "mlstm": ("--cell", "mlstm", "--forget-bias", 2),
    "depth-lstm": ("--cell", "depth-lstm"),
    "mingru": ("--cell", "mingru", "--num-layers", 2, "--residual"),
    "minlstm": ("--cell", "minlstm", "--initial-state", "learned"),
    "one-hot": ("--inputs", "one-hot", "--init-input", "uniform", "--init-range", 0.1),
    "attention": ("--attention", "single", "--attention-window", 24, "--attention-dropout", 0.2),
    "attention of a gru over units": ("--cell", "gru", "--attention", "single", "--num-layers", 2, "--tie-weights"),
    "tied": ("--tie-weights", "--num-layers", 2),
    "naive dropout": ("--dropout", 0.4, "--dropout-kind", "naive", "--output-dropout", 0.1),
    "variational dropout": ("--dropout", 0.4, "--dropout-kind", "variational"),
    "awd": ("--weight-drop", 0.5, "--embedding-dropout", 0.1, "--ar", 2, "--tar", 1, "--bptt-jitter"),
    "noise": ("--token-noise", 0.2, "--label-smoothing", 0.1),
    "scheduled sampling": (
        "--teacher-forcing",
        0.5,
        "--teacher-forcing-schedule",
        "exponential",
        "--sampling-passes",
        2,
    ),
    "nt-asgd": ("--optimizer", "nt-asgd", "--clip-norm", 0.25, "--clip-value", 0.1),
    "adamw one-cycle": ("--optimizer", "adamw", "--schedule", "one-cycle"),
    "muon one-cycle": ("--schedule", "one-cycle", "--warmup", 0.4),
    "plateau": ("--optimizer", "sgd", "--schedule", "plateau"),
    "exponential": ("--optimizer", "sgd", "--schedule", "exponential", "--hold", 0.3, "--final-rate", 0.1),
}


@pytest.mark.parametrize("options", TECHNIQUES.values(), ids=TECHNIQUES)
def test_each_technique_trains_resumes_bit_for_bit_and_scores_its_validation_loss(charnn, text, options, monkeypatch):
    arguments = ("train", text, *SMALL, *options)
    assert charnn(*arguments, "-o", "whole", "--steps", 24).status == 0
    real = session.run
    monkeypatch.setattr(session, "run", interrupted_after_ten_steps(real))
    assert charnn(*arguments, "-o", "parts", "--steps", 24).status == 130
    monkeypatch.setattr(session, "run", real)
    assert charnn("train", "--resume", "-o", "parts").status == 0
    assert Path("parts/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    held_out = TEXT[-round(len(TEXT) * 0.1) :]
    scored = charnn("score", "-m", "whole", "--unit", "stream", "--text", held_out, "--format", "jsonl")
    assert scored.status == 0, scored.err
    score = json.loads(scored.out)
    loss = json.loads(charnn("info", "whole", "--json").out)["valid_loss_nats"]
    assert -score["log_prob"] / score["num_tokens"] == pytest.approx(loss, abs=1e-5)


def interrupted_after_ten_steps(run):
    def until_then(session, *, should_stop, write_sample):
        yield from run(session, write_sample=write_sample, should_stop=lambda: session.trainer.position.step >= 10)

    return until_then
