"""Event files, read by TensorBoard itself: the figures of metrics.jsonl, each step once."""

import json
from pathlib import Path

import pytest

from charnn.training.run import session
from tests.training.test_long_runs import SMALL, TEXT, injecting
from tests.training.test_techniques import interrupted_after_ten_steps

accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="needs the extra tensorboard"
)
ARGUMENTS = ("--steps", 40, "--precision", "fp32", "--log", "tensorboard", "-o", "m")
SCALARS = {
    "train/loss": ("progressed", "loss_nats"),
    "train/learning_rate": ("progressed", "learning_rate"),
    "train/gradient_norm": ("progressed", "gradient_norm"),
    "train/tokens_per_second": ("progressed", "tokens_per_second"),
    "valid/loss": ("evaluated", "valid_loss_nats"),
}


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return "text.txt"


def assert_like_metrics(run):
    lines = Path(run, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records, kept = [json.loads(line) for line in lines], []
    for record in records:
        if record["event"] == "rolledback":
            kept = [each for each in kept if each["step"] <= record["to_step"]]
        kept.append(record)
    found = accumulators.EventAccumulator(str(run)).Reload()
    for tag, (event, name) in SCALARS.items():
        expected = [(record["step"], record[name]) for record in kept if record["event"] == event]
        scalars = [(scalar.step, scalar.value) for scalar in found.Scalars(tag)]
        assert [step for step, _ in scalars] == [step for step, _ in expected]
        assert [value for _, value in scalars] == pytest.approx([value for _, value in expected], rel=1e-5)
    samples = [record["sample"] for record in kept if record["event"] == "evaluated"]
    texts = [tensor.tensor_proto.string_val[0].decode() for tensor in found.Tensors("sample/text_summary")]
    assert texts == ["\n".join(f"    {line}" for line in sample.split("\n")) for sample in samples]


def test_a_resumed_run_continues_without_a_step_twice(charnn, text, monkeypatch):
    real = session.run
    monkeypatch.setattr(session, "run", interrupted_after_ten_steps(real))
    assert charnn("train", text, *SMALL, *ARGUMENTS).status == 130
    monkeypatch.setattr(session, "run", real)
    assert charnn("train", "--resume", "-o", "m").status == 0
    assert len(list(Path("m").glob("events.out.tfevents.*"))) == 2
    assert_like_metrics("m")
    assert charnn("train", text, *SMALL, *ARGUMENTS, "--overwrite").status == 0
    assert_like_metrics("m")
    assert "for TensorBoard" in charnn("info", "m", "--files").out


def test_steps_that_were_rolled_back_are_not_shown(charnn, text, monkeypatch):
    injecting("gradient", (33,), monkeypatch)
    assert charnn("train", text, *SMALL, *ARGUMENTS).status == 0
    assert_like_metrics("m")
