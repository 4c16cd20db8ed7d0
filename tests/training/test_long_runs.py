"""What goes wrong in a run of days: weights that are not finite, signals of a batch system, disks that fill up."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from charnn.training.parallel.step import TrainingStep

TEXT = "the cats which ate were full\nthe cat which ate was full\n" * 40
SMALL = ("--hidden-size", 8, "--embedding-size", 4, "--batch-size", 4, "--bptt", 16)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return "text.txt"


def records(run, event=None):
    lines = Path(run, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return [record for record in found if event is None or record["event"] == event]


def assert_finite(run):
    for file in ("model", "training"):
        for name, array in load_file(Path(run, f"{file}.safetensors")).items():
            assert np.isfinite(array).all(), f"{file} {name}"


def injecting(kind, at, monkeypatch):
    """Make the gradient or a weight NaN at some steps, counted from 1 without those that are repeated."""
    real, steps = TrainingStep.update, []

    def update(self, step, groups):
        steps.append(step)
        if kind == "gradient" and len(steps) in at:
            groups[0].gradients[0].fill_(math.nan)
        result = real(self, step, groups)
        if kind == "weight" and len(steps) in at:
            with torch.no_grad():
                self.network.layers[0].named_weights()["weight_hh"][3, 2] = math.nan
        if kind == "unused weight" and len(steps) in at:  # no loss shows it until the token occurs
            with torch.no_grad():
                self.network.embedding.weight[0, 0] = math.inf
        return result

    monkeypatch.setattr(TrainingStep, "update", update)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["gradient", "weight", "unused weight"])
@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
def test_a_run_goes_on_from_the_last_good_snapshot(charnn, text, monkeypatch, precision, kind, optimizer):
    monkeypatch.setattr("charnn.training.planning.devices.supports_bf16", lambda device: True)
    monkeypatch.setattr("charnn.training.trainer.MAX_CHECKPOINT_FRACTION", 1e9)  # at each step
    injecting(kind, (9, 25), monkeypatch)
    arguments = ("--steps", 40, "--precision", precision, "--optimizer", optimizer, "--save-every", 1e-6)
    cell = "mlstm" if precision == "bf16" else "lstm"  # whose products any processor computes in bf16, if slowly
    said = charnn("train", text, *SMALL, *arguments, "--cell", cell, "-o", "m")
    assert said.status == 0, said.err
    rolled = records("m", "rolledback")
    assert len(rolled) == 2
    for record in rolled:
        assert record["step"] - 2 <= record["to_step"] < record["step"]  # a snapshot is taken with each checkpoint
    assert records("m", "stopped")[0]["step"] == 40
    assert said.err.count("the loss was not finite; rolled back to step") == 2
    assert_finite("m")


def test_without_checkpoints_it_goes_back_to_the_last_evaluation(charnn, text, monkeypatch):
    injecting("gradient", (33,), monkeypatch)
    assert charnn("train", text, *SMALL, "--steps", 40, "--precision", "fp32", "-o", "m").status == 0
    (record,) = records("m", "rolledback")
    evaluated = [each["step"] for each in records("m", "evaluated") if each["step"] < record["step"]]
    assert record["to_step"] == max(evaluated, default=0)


def test_what_is_not_finite_is_never_saved(charnn, text, monkeypatch):
    injecting("unused weight", (40,), monkeypatch)  # at the last step
    assert charnn("train", text, *SMALL, "--steps", 40, "--precision", "fp32", "-o", "m").status == 0
    assert_finite("m")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends a process no signal but its end")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_batch_system_s_warning_saves_and_says_how_to_resume(charnn, text, name):
    command = [sys.executable, "-m", "charnn", "train", text, *SMALL, "--steps", 10**6, "-o", "m"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not Path("m/metrics.jsonl").exists():
            time.sleep(0.02)
        process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + getattr(signal, name)
    assert err.splitlines()[-1].startswith("charnn: interrupted and saved at step ")
    assert err.splitlines()[-1].endswith("; resume with: charnn train --resume -o m")
    step = json.loads(Path("m/training.json").read_text(encoding="utf-8"))["step"]
    assert charnn("train", "--resume", "-o", "m", "--steps", step + 2).status == 0
    assert os.listdir()
