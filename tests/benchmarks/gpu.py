"""Everything that needs a GPU, in one command: whether training, scoring and sampling on CUDA agree with the CPU, and how fast they are.

    python tests/benchmarks/gpu.py [TEXT] [--seconds 480] [--processes 6]

First checks, several at a time in processes of their own:

- every cell trains on CUDA as on the CPU (same seed, no dropout): validation losses within 1e-3, also where cuDNN's layers are not used
- bf16 trains within 1e-2 of fp32
- every dropout, optimizer, schedule and the like trains on CUDA
- a rank whose gradients NCCL reduces trains as a process alone
- a resumed run equals an uninterrupted one, and goes on without the GPU
- scores on CUDA are those of the CPU to 1e-3; samples are the same text where no draw is within rounding of another token

Then, alone on the card: tokens per second of training by shape and precision with their share of the measured peak of matrix
products, the speed of sampling and scoring, and what `charnn train TEXT --minutes 1` reaches. What does not fit into --seconds is
left out and named. Exits with 1 if a check fails, and with 2 where torch finds no GPU.
"""

import argparse
import contextlib
import io
import itertools
import json
import math
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, get_args

import torch

import charnn
from charnn.config.model import CellName
from charnn.inference.build import Device, Weights
from charnn.launch import Launch
from charnn.training.events import Evaluated
from charnn.training.parallel.ranks import Ranks

CHECKOUT = Path(__file__).parents[2]
SMALL = {"hidden_size": 64, "num_layers": 2, "batch_size": 8, "bptt_length": 64, "dropout": 0.0, "ngram_dropout": 0.0}
COMMON = {"seed": 1, "ngram_order": 0, "steps": 40}
TOLERANCE, BF16_TOLERANCE = 1e-3, 1e-2
SHAPES = ((1, 256), (2, 512), (1, 1024), (3, 1024))
FLOPS_A_WEIGHT = 6
PEAK_SIZE = 8192
SPEED_STEPS = 200
READINGS: tuple[tuple[Device, Weights, int], ...] = (
    ("cpu", "fp32", 1),
    ("cuda", "fp32", 1),
    ("cuda", "bf16", 1),
    ("cpu", "fp32", 64),
    ("cuda", "fp32", 64),
    ("cuda", "bf16", 64),
    ("cuda", "bf16", 512),
)
"""Device, precision and number of streams to sample with."""

Outcome = tuple[bool, str]


def train(text: Path, directory: Path, **options: Any) -> float:
    """Train by charnn's Python API and return the last validation loss, in nats; NaN without held-out text."""
    losses: list[float] = []

    def keep(event: object) -> None:
        if isinstance(event, Evaluated):
            losses.append(math.nan if event.valid_loss_nats is None else event.valid_loss_nats)

    charnn.train([text], output=directory, on_event=keep, **options)
    return losses[-1]


def run_charnn(arguments: Sequence[str], **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of charnn in a process of its own."""
    path = os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "charnn", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path, **environment}
    )


def relative(found: float, wanted: float) -> float:
    return abs(found - wanted) / abs(wanted)


def cell_agrees(text: Path, folder: Path, cell: str, extra: dict[str, Any]) -> Outcome:
    losses = {}
    for device in ("cpu", "cuda"):
        options = {**COMMON, **SMALL, "cell": cell, "precision": "fp32", **extra}
        losses[device] = train(text, folder / device, device=device, **options)
    difference = relative(losses["cuda"], losses["cpu"])
    return difference <= TOLERANCE, f"cpu {losses['cpu']:.5f}, cuda {losses['cuda']:.5f}: {difference:.1e}"


def bf16_agrees(text: Path, folder: Path, cell: str) -> Outcome:
    losses = {}
    for precision in ("fp32", "bf16"):
        options = {**COMMON, **SMALL, "cell": cell, "precision": precision}
        losses[precision] = train(text, folder / precision, device="cuda", **options)
    difference = relative(losses["bf16"], losses["fp32"])
    return difference <= BF16_TOLERANCE, f"fp32 {losses['fp32']:.4f}, bf16 {losses['bf16']:.4f}: {difference:.1e}"


def option_trains(text: Path, folder: Path, extra: dict[str, Any]) -> Outcome:
    loss = train(text, folder / "run", device="cuda", **{**COMMON, **SMALL, **extra})
    vocabulary = json.loads((folder / "run" / "config.json").read_text(encoding="utf-8"))["architecture"]["vocab_size"]
    return loss < math.log(
        vocabulary
    ) - 0.2, f"loss {loss:.4f} after {COMMON['steps']} steps (uniform {math.log(vocabulary):.2f})"


def resumes(text: Path, folder: Path) -> Outcome:
    options = {**COMMON, **SMALL, "device": "cuda", "dropout": 0.2, "schedule": "constant"}
    whole = train(text, folder / "whole", **options)
    train(text, folder / "parts", **{**options, "steps": COMMON["steps"] // 2})
    resumed = train(text, folder / "parts", resume=True, steps=COMMON["steps"])
    done = run_charnn(["train", "--resume", "-o", str(folder / "parts"), "--steps", "50"], CUDA_VISIBLE_DEVICES="")
    is_said = "GPU" in done.stderr
    difference = relative(resumed, whole)
    detail = f"whole {whole:.6f}, resumed {resumed:.6f}: {difference:.1e}; without the GPU: exit {done.returncode}, {'said' if is_said else done.stderr[-300:]}"
    return difference <= TOLERANCE and done.returncode == 0 and is_said, detail


def reads_alike(text: Path, folder: Path, cell: str, extra: dict[str, Any]) -> Outcome:
    """Score and sample with a model, on the CPU and on CUDA."""
    train(text, folder / "run", device="cuda", cell=cell, **{**COMMON, **SMALL, "steps": 200, **extra})
    model = charnn.load(folder / "run")
    part = text.read_text(encoding="utf-8")[:20000]
    scores = {device: model.score(part, device=device).log_prob_nats for device in ("cpu", "cuda")}
    difference = relative(scores["cuda"], scores["cpu"])
    samples = {
        device: [piece.text for piece in model.sample(num_samples=32, length=200, seed=3, device=device)]
        for device in ("cpu", "cuda")
    }
    same = sum(left == right for left, right in zip(samples["cpu"], samples["cuda"], strict=True))
    detail = f"scores {scores['cpu']:.3f} and {scores['cuda']:.3f}: {difference:.1e}; {same} of 32 samples of 200 characters alike"
    return difference <= TOLERANCE and same >= 24, detail


def together_agrees(text: Path, folder: Path, device: str) -> Outcome:
    """Train as one rank of one, whose gradients NCCL reduces."""
    options = {**COMMON, **SMALL, "device": device}
    alone = train(text, folder / "alone", **options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {
            "RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free.getsockname()[1]),
        }
    request = charnn.api.make_request(folder / "together", [str(text)], options)
    losses = []
    with Ranks(Launch(0, 1, 0, 1, 0, "gpu.py")) as ranks:
        if device == "cuda":
            ranks.use_gpus()
        for session in charnn.api.networks(request, started=time.monotonic()):
            session.trainer.join(ranks)
            for event in charnn.api.run(session, should_stop=lambda: False):
                losses += [event.valid_loss_nats] if isinstance(event, Evaluated) else []
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        del os.environ[name]
    difference = relative(losses[-1], alone)
    return difference <= TOLERANCE, f"alone {alone:.6f}, by NCCL {losses[-1]:.6f}: {difference:.1e}"


CHECKS: dict[str, Callable[..., Outcome]] = {
    function.__name__: function
    for function in (cell_agrees, bf16_agrees, option_trains, resumes, reads_alike, together_agrees)
}


def all_checks() -> list[tuple[str, tuple[Any, ...]]]:
    """Return the checks: names of functions, and arguments."""
    wanted: list[tuple[str, tuple[Any, ...]]] = [("cell_agrees", (cell, {})) for cell in get_args(CellName)]
    wanted += [
        ("cell_agrees", ("lstm", extra))
        for extra in (
            {"skip": 2},
            {"residual": True, "embedding_size": 64},
            {"inputs": "one-hot", "embedding_order": 1},
            {"tie_weights": True, "embedding_size": 64},
            {"initial_state": "learned"},
            {"optimizer": "adamw"},
            {"optimizer": "sgd", "learning_rate": 0.5},
            {"tokenizer": "word"},
            {"direction": "backward"},
            {"unit": "line"},
        )
    ]
    wanted += [("bf16_agrees", (cell,)) for cell in ("lstm", "gru", "rnn", "mingru")]
    wanted += [
        ("option_trains", (extra,))
        for extra in (
            {"dropout": 0.3, "dropout_kind": "naive"},
            {"dropout": 0.3, "dropout_kind": "locked"},
            {"dropout": 0.3, "dropout_kind": "variational"},
            {"embedding_dropout": 0.1, "ngram_dropout": 0.2},
            {"weight_drop": 0.3},
            {"weight_drop": 0.3, "cell": "gru"},
            {"weight_drop": 0.3, "precision": "bf16"},
            {"activation_penalty": 1.0, "temporal_penalty": 1.0},
            {"label_smoothing": 0.1},
            {"token_noise": 0.1},
            {"teacher_forcing": 0.8},
            {"teacher_forcing": 0.5, "teacher_forcing_schedule": "linear", "sampling_passes": 2},
            {"optimizer": "nt-asgd", "learning_rate": 1.0},
            {"schedule": "one-cycle"},
            {"schedule": "plateau"},
            {"bptt_jitter": True},
            {"compile": "yes", "cell": "mogrifier"},
            {"direction": "both"},
            {"ngram_order": 5},
            {"clip_value": 0.1},
            {"precision": "bf16", "cell": "mogrifier"},
            {"optimizer": "muon", "precision": "bf16"},
        )
    ]
    wanted += [("resumes", ()), ("together_agrees", ("cuda",))]
    wanted += [("reads_alike", (cell, {})) for cell in ("lstm", "gru", "rnn")]
    wanted += [("reads_alike", ("lstm", {"initial_state": "learned"}))]
    return wanted


def run_check(name: str, text: Path, arguments: tuple[Any, ...]) -> tuple[Outcome, float]:
    """Run one check in a process of the pool, and say how it went and how long it took."""
    begun = time.perf_counter()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        try:
            outcome = CHECKS[name](text, Path(folder), *arguments)
        except Exception:  # the failure is what the table is to show
            outcome = (False, traceback.format_exc()[-700:])
    return outcome, time.perf_counter() - begun


def described(name: str, arguments: tuple[Any, ...]) -> str:
    parts = [
        str(part) if isinstance(part, str) else " ".join(f"{key}={value}" for key, value in part.items())
        for part in arguments
    ]
    return " ".join([name.replace("_", " "), *filter(None, parts)])


def check_everything(text: Path, *, only: str, processes: int, until: float) -> int:
    """Run all checks, print a line for each; return the number of failures."""
    failures, left_out = 0, []
    # The processes import torch anew: CUDA does not survive a fork.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        begun: list[tuple[str, Future[tuple[Outcome, float]]]] = [
            (described(name, arguments), pool.submit(run_check, name, text, arguments))
            for name, arguments in all_checks()
            if only in described(name, arguments)
        ]
        for name, future in begun:
            try:
                (is_right, detail), seconds = future.result(timeout=max(until - time.monotonic(), 0.01))
            except TimeoutError:
                future.cancel()
                left_out.append(name)
                continue
            failures += not is_right
            print(f"{'ok    ' if is_right else 'FAILED'} {name}: {detail} ({seconds:.0f} s)", flush=True)
    print(
        f"checks: {len(begun) - failures - len(left_out)} right, {failures} failed, {len(left_out)} left out {left_out or ''}",
        flush=True,
    )
    return failures


def device_seconds(work: Callable[[], object], *, rounds: int = 10) -> float:
    """Return the median time of some work on the GPU, in seconds."""
    for _ in range(3):
        work()
    found = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def peak_flops(dtype: torch.dtype) -> float:
    """Return the rate of a matrix product of random numbers, flops a second."""
    left, right = (torch.randn(PEAK_SIZE, PEAK_SIZE, device="cuda").to(dtype) for _ in range(2))
    return 2.0 * PEAK_SIZE**3 / device_seconds(lambda: left @ right)


def flops_a_token(sizes: dict[str, int]) -> int:
    """Return the work of a token: forward, and twice as much backward."""
    hidden_size = sizes["hidden_size"]
    input_sizes = [sizes["embedding_size"], *[hidden_size] * (sizes["num_layers"] - 1)]
    recurrent = sum(4 * hidden_size * (size + hidden_size) for size in input_sizes)
    return FLOPS_A_WEIGHT * (recurrent + sizes["vocab_size"] * hidden_size)


def training_speeds(text: Path, *, until: float) -> None:
    """Print the throughput of training by shape and precision: the median of the reports after a third of the steps."""
    peaks = {"fp32": peak_flops(torch.float32), "bf16": peak_flops(torch.bfloat16)}
    print(
        f"matrix products of {PEAK_SIZE}: fp32 {peaks['fp32'] / 1e12:.1f}, bf16 {peaks['bf16'] / 1e12:.1f} TFLOP/s",
        flush=True,
    )
    for (num_layers, hidden_size), precision in itertools.product(SHAPES, peaks):
        name = f"train {num_layers} x {hidden_size} {precision}"
        if time.monotonic() > until:
            print(f"{name}: left out", flush=True)
            continue
        sizes = {"num_layers": num_layers, "hidden_size": hidden_size, "precision": precision, "dropout": 0.1}
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            run = Path(folder) / "run"
            train(text, run, device="cuda", seed=1, ngram_order=0, valid_fraction=0.0, steps=SPEED_STEPS, **sizes)
            config = json.loads((run / "config.json").read_text(encoding="utf-8"))
            events = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        reports = [event for event in events if event["event"] == "progressed"]
        later = [event for event in reports if event["step"] > SPEED_STEPS // 3]
        rate = statistics.median(event["tokens_per_second"] for event in later)
        options = config["options"]["training"]
        steps_per_second = rate / (options["batch_size"] * options["bptt_length"])
        share = rate * flops_a_token(config["architecture"]) / peaks[precision]
        print(
            f"{name}, batch {options['batch_size']}: {steps_per_second:.1f} steps/s, {rate:,.0f} tokens/s, "
            f"{share:.1%} of the peak",
            flush=True,
        )


def reading_speeds(text: Path, *, until: float) -> None:
    """Print the speed of sampling and scoring with a model of 3 x 1024."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        train(
            text, Path(folder) / "run", device="cuda", seed=1, ngram_order=0, steps=50, num_layers=3, hidden_size=1024
        )
        model = charnn.load(Path(folder) / "run")
        content = text.read_text(encoding="utf-8")
        devices: tuple[Device, ...] = ("cpu", "cuda")
        for device in devices:
            length = 5000
            begun = time.perf_counter()
            model.score(content[:length], device=device)
            speed = length / (time.perf_counter() - begun)
            print(f"score 3 x 1024, {device}, one text: {speed:,.0f} characters/s", flush=True)
        for device in devices:
            length = {"cpu": 50000, "cuda": 200000}[device]
            begun = time.perf_counter()
            model.score(content[:length].splitlines(), device=device)
            speed = length / (time.perf_counter() - begun)
            print(f"score 3 x 1024, {device}, lines: {speed:,.0f} characters/s", flush=True)
        for device, weights, streams in READINGS:
            if time.monotonic() > until:
                print(f"sample 3 x 1024, {device} {weights}, {streams} streams: left out", flush=True)
                continue
            begun = time.perf_counter()
            model.sample(num_samples=streams, length=200, seed=1, device=device, weights=weights)
            speed = streams * 200 / (time.perf_counter() - begun)
            print(f"sample 3 x 1024, {device} {weights}, {streams} streams: {speed:,.0f} characters/s", flush=True)


def default_run(text: Path) -> None:
    """Print what the defaults reach in a minute."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["train", str(text), "-o", str(Path(folder) / "run"), "--minutes", "1"]
        begun = time.perf_counter()
        done = run_charnn(command)
        print(f"charnn train --minutes 1: exit {done.returncode}, {time.perf_counter() - begun:.0f} s")
        print(*done.stderr.splitlines()[-3:], sep="\n", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, nargs="?", default=CHECKOUT / "corpora" / "fables.txt")
    parser.add_argument("--seconds", type=float, default=480.0, help="of all together")
    parser.add_argument("--processes", type=int, default=6, help="checks at a time")
    parser.add_argument(
        "--only", help="only the checks whose names contain this, and no speeds; or speeds, and no checks"
    )
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print(f"torch {torch.__version__} finds no CUDA device here: nothing was checked", file=sys.stderr)
        return 2
    ends = time.monotonic() + options.seconds
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}",
        flush=True,
    )
    failures = 0
    if options.only != "speeds":
        until = ends - options.seconds * 0.4
        failures = check_everything(options.text, only=options.only or "", processes=options.processes, until=until)
        if options.only:
            return int(failures > 0)
    training_speeds(options.text, until=ends - 110)
    if time.monotonic() < ends - 70:
        default_run(options.text)
    else:
        print("charnn train --minutes 1: left out", flush=True)
    reading_speeds(options.text, until=ends)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
