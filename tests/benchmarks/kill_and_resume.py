"""Kill a training run at random moments, some of them in the middle of a write, resume it each time on another number of threads,
every second time in two processes that train together (in turn with shared weights and with messages), and compare its model with that
of an uninterrupted run.

    python tests/benchmarks/kill_and_resume.py TEXT [--kills 20] [--steps 6000] [--longest 8] [--seed 1]

Exits with 1 where a byte of `model.safetensors` differs.
"""

import argparse
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def begin(run: Path, text: str, steps: int) -> list[str]:
    """Return the command that begins a run."""
    options = [
        "--steps",
        str(steps),
        "--hidden-size",
        "64",
        "--batch-size",
        "8",
        "--bptt",
        "64",
        "--dropout",
        "0.2",
        "--precision",
        "fp32",
        "--save-every",
        "0.3",
    ]
    return [sys.executable, "-m", "charnn", "train", text, "-o", str(run), *options]


def resume(run: Path, num_threads: int) -> list[str]:
    """Return the command that goes on with a run."""
    command = [sys.executable, "-m", "charnn", "train", "--resume", "-o", str(run)]
    return [*command, "--threads", str(num_threads)]


def start(command: list[str], num_ranks: int, *, shares_weights: bool) -> list[subprocess.Popen[bytes]]:
    """Start a command in one process, or in several that train together, as torchrun starts them or as Slurm does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": str(num_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if shares_weights:
        together |= {"LOCAL_WORLD_SIZE": str(num_ranks), "TORCHELASTIC_RUN_ID": "none"}
    return [
        subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(together if num_ranks > 1 else {}), "RANK": str(rank)},
        )
        for rank in range(num_ranks)
    ]


def end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process that ends by itself; ask it to end if it waits for another that never started, as launchers do."""
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(timeout=60)


def wait_for_write(run: Path, seconds: float) -> bool:
    """Wait until a file of the run is being written, at most some seconds; return whether one is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if any(run.glob("*.new")):
            return True
        time.sleep(0.0005)
    return False


def saved_step(run: Path) -> int:
    """Return the step of the last checkpoint."""
    file = run / "training.json"
    return int(json.loads(file.read_text(encoding="utf-8"))["step"]) if file.exists() else -1


def digest(run: Path) -> str:
    """Return the SHA-256 of a run's weights."""
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    """Run, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    for name, default in (("kills", 20), ("steps", 6000), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds until a kill, at most")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder, "whole"), Path(folder, "parts")
        subprocess.run(begin(whole, options.text, options.steps), check=True, capture_output=True)
        command, num_kills, num_in_writes = begin(parts, options.text, options.steps), 0, 0
        while num_kills < options.kills and saved_step(parts) < options.steps:
            num_ranks = 1 + num_kills % 2
            processes = start(command, num_ranks, shares_weights=num_kills % 4 == 1)
            time.sleep(draw.uniform(0.2, options.longest))
            in_write = draw.random() < 0.3 and wait_for_write(parts, 3.0)
            killed = draw.choice(processes)
            killed.kill()
            for process in processes:
                end(process)
            num_kills, num_in_writes = num_kills + 1, num_in_writes + in_write
            num_threads = draw.choice((1, 2, 3, 4))
            print(
                f"kill {num_kills:3} of {num_ranks} {'in a write, ' if in_write else ''}last checkpoint at step "
                f"{saved_step(parts):,}; then {num_threads} threads",
                flush=True,
            )
            command = resume(parts, num_threads) if (parts / "config.json").exists() else command
        if saved_step(parts) < options.steps:
            subprocess.run(command, check=True, capture_output=True)
        equal = digest(parts) == digest(whole)
        print(
            f"{num_kills} kills, {num_in_writes} in a write; model.safetensors {'is byte-identical' if equal else 'DIFFERS'} ({digest(whole)[:16]})"
        )
        sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
