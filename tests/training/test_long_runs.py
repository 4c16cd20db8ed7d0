"""What goes wrong in a run of days: weights that are not finite, signals of a batch system, disks that fill up."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from charnn import files
from charnn.errors import StorageError
from charnn.training.parallel.step import TrainingStep
from charnn.training.run import saving

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
    monkeypatch.setattr("charnn.training.planning.devices.supports_bf16", lambda _device: True)
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


class Disk:
    """A disk that is full while `is_full` says so, given the number of the next write of a file."""

    def __init__(self, monkeypatch, is_full, code=errno.ENOSPC):
        self.num_writes, self.is_full, real = 0, is_full, files._write_through

        def write_through(path, content):
            self.num_writes += 1
            if self.is_full(self.num_writes):
                raise OSError(code, os.strerror(code))
            real(path, content)

        monkeypatch.setattr(files, "_write_through", write_through)
        monkeypatch.setattr("charnn.training.trainer.MAX_CHECKPOINT_FRACTION", 1e9)  # a checkpoint after each step
        monkeypatch.setattr(saving, "FINAL_INTERVAL_SECONDS", 0.01)


def NEVER(_number):
    return False


RUN = ("--steps", 30, "--precision", "fp32", "--save-every", 1e-6)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.ENOSPC, "no space is left on the disk; free some"), (errno.EROFS, "the file system is read-only")],
    ids=["full", "read-only"],
)
def test_a_disk_that_fails_for_a_while_postpones_checkpoints(charnn, text, monkeypatch, code, reason):
    disk = Disk(monkeypatch, NEVER, code)
    assert charnn("train", text, *SMALL, *RUN, "-o", "whole").status == 0
    assert disk.num_writes > 60
    disk.num_writes, disk.is_full = 0, lambda number: 20 <= number < 40
    said = charnn("train", text, *SMALL, *RUN, "-o", "m")
    assert said.status == 0, said.err
    assert Path("m/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    failures = [line for line in said.err.splitlines() if reason in line]
    assert len(failures) == 1
    assert failures[0].startswith("charnn: step ")
    assert failures[0].endswith("; training goes on, and the next checkpoint is tried when it is due")
    steps = [record["step"] for record in records("m", "evaluated")]
    assert steps == [record["step"] for record in records("whole", "evaluated")]


@pytest.mark.parametrize("ends", ["in time", "never"])
def test_a_disk_that_is_full_at_the_end_is_waited_for(charnn, text, monkeypatch, ends):
    waits = []
    disk = Disk(monkeypatch, lambda number: number >= 20 and (ends == "never" or len(waits) < 3))
    monkeypatch.setattr(saving, "_wait", lambda seconds, _should_stop: waits.append(seconds))
    monkeypatch.setattr(saving, "FINAL_WAIT_SECONDS", 600 if ends == "in time" else 0.1)
    said = charnn("train", text, *SMALL, *RUN, "-o", "m")
    last = said.err.splitlines()[-1]
    if ends == "in time":
        assert said.status == 0
        assert len(waits) == 3
        assert json.loads(Path("m/config.json").read_text(encoding="utf-8"))["results"]["stopped"] == "budget"
        assert records("m", "stopped")
    else:
        assert said.status == 1
        assert last.endswith("; the files saved in m are intact; resume with: charnn train --resume -o m")
        disk.is_full = NEVER
        assert charnn("train", "--resume", "-o", "m").status == 0
    assert_finite("m")


def test_a_signal_ends_the_waiting(charnn, text, monkeypatch):
    Disk(monkeypatch, lambda number: number >= 20)
    real = saving._wait

    def wait(seconds, should_stop):
        os.kill(os.getpid(), signal.SIGINT)
        real(60, should_stop)

    monkeypatch.setattr(saving, "_wait", wait)
    said = charnn("train", text, *SMALL, *RUN, "-o", "m")
    assert said.status == 1
    assert "no space is left on the disk" in said.err.splitlines()[-1]


def test_metrics_that_could_not_be_written_follow_whole(charnn, text, monkeypatch):
    real, calls = saving._append, []

    def append(path, content):
        calls.append(content)
        if len(calls) in (2, 3):
            raise StorageError(f"{path}: cannot be written: no space is left on the disk")
        real(path, content)

    monkeypatch.setattr(saving, "_append", append)
    assert charnn("train", text, *SMALL, *RUN, "-o", "m").status == 0
    steps = [record["step"] for record in records("m")]
    assert steps == sorted(steps)
    assert sum(line.count("\n") for line in calls[:1]) + calls[3].count("\n") == 4


def test_a_line_is_appended_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    saving._append(path, "one\n")
    real = Path.open

    def full(_text):
        raise OSError(errno.ENOSPC, "No space left on device")

    def opened(self, *arguments, **options):
        file = real(self, *arguments, **options)
        if arguments[:1] == ("a",):
            file.write("tw")
            file.flush()
            file.write = full
        return file

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(StorageError, match="no space is left on the disk"):
        saving._append(path, "two\n")
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == "one\n"


def test_a_missing_tensorboard_is_one_line(charnn, text, monkeypatch):
    monkeypatch.setattr("charnn.training.run.event_files.PACKAGE", "no_such_package")
    said = charnn("train", text, *SMALL, "--log", "tensorboard", "-o", "m")
    assert said.status == 2
    assert said.err == (
        "charnn: error: --log tensorboard: tensorboard is not installed; in the clone, run pip install -e '.[tensorboard]'\n"
    )
    assert not Path("m").exists()


class Writer:
    """Stands for TensorBoard's writer."""

    made: ClassVar[list["Writer"]] = []
    fails = False

    def __init__(self, directory, purge_step):
        self.directory, self.purge_step, self.scalars, self.texts, self.is_open = directory, purge_step, [], [], True
        self.made.append(self)

    def add_scalar(self, name, value, step):
        if self.fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.scalars.append((name, value, step))

    def add_text(self, name, value, step):
        self.texts.append((name, value, step))

    def flush(self):
        pass

    def close(self):
        self.is_open = False


@pytest.fixture
def writers(monkeypatch):
    monkeypatch.setattr(Writer, "made", [])
    monkeypatch.setattr("charnn.training.run.request.check_installed", lambda _log: None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    return Writer.made


LOGGED = ("--steps", 40, "--precision", "fp32", "--log", "tensorboard", "-o", "m")


def test_events_are_logged_and_a_new_file_begins_where_training_goes_back(charnn, text, monkeypatch, writers):
    injecting("gradient", (33,), monkeypatch)
    assert charnn("train", text, *SMALL, *LOGGED).status == 0
    (record,) = records("m", "rolledback")
    first, second = writers
    assert (first.purge_step, second.purge_step) == (None, record["to_step"] + 1)
    assert not first.is_open
    assert not second.is_open
    found = [scalar for writer in writers for scalar in writer.scalars]
    evaluated, progressed = records("m", "evaluated"), records("m", "progressed")
    assert [scalar[1:] for scalar in found if scalar[0] == "valid/loss"] == [
        (each["valid_loss_nats"], each["step"]) for each in evaluated
    ]
    for name, key in (
        ("loss", "loss_nats"),
        ("learning_rate",) * 2,
        ("gradient_norm",) * 2,
        ("tokens_per_second",) * 2,
    ):
        expected = [(each[key], each["step"]) for each in progressed]
        assert [scalar[1:] for scalar in found if scalar[0] == f"train/{name}"] == expected
    assert len(writers[0].texts) + len(writers[1].texts) == len(evaluated)
    assert charnn("train", "--resume", "-o", "m", "--steps", 44).status == 0
    assert writers[2].purge_step == 41


def test_event_files_that_cannot_be_written_do_not_end_training(charnn, text, monkeypatch, writers):
    monkeypatch.setattr(Writer, "fails", True)
    said = charnn("train", text, *SMALL, *LOGGED)
    assert said.status == 0
    assert said.err.count("m: event files cannot be written (No space left on device); no more are written") == 1
