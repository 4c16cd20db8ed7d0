"""Several processes that train together: their speed beside one process with as many threads, their weights, and what they send.

    python tests/benchmarks/ranks.py TEXT [--rounds 5] [--steps 200] [--ranks 2] [--hidden-size 256] [--batch-size 32] [--busy N]

Each round trains with one process and with several, in turn, and compares the medians of the tokens per second in `metrics.jsonl`.
After it, `--steps` steps with 1, 2 and 4 processes, with batches of four groups or more, must have written the same bytes. How much
`--fast-reduce` changes weights is printed; training amplifies it. What is sent is counted by the loopback device of Linux, per step and process. Exits with 1 where weights differ.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from training_speed import busy_processes

from charnn.storage.checkpoint import read_tensors

MIN_BATCH_SIZE = 48
"""Of four groups, one for each of four processes."""


def train(options: argparse.Namespace, run: Path, num_ranks: int, *others: str) -> None:
    """Train with one process or several, and wait for them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": str(num_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    place |= {"LOCAL_WORLD_SIZE": str(num_ranks), "TORCHELASTIC_RUN_ID": "none"}  # as torchrun sets them
    command = [sys.executable, "-m", "charnn", "train", options.text, "-o", str(run), "--steps", str(options.steps)]
    command += ["--hidden-size", str(options.hidden_size), "--batch-size", str(options.batch_size)]
    command += ["--ngram-order", "2", "--save-every", "1000", *others]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **(place if num_ranks > 1 else {}), "RANK": str(rank)},
            stderr=subprocess.DEVNULL,
        )
        for rank in range(num_ranks)
    ]
    failed = [process for process in processes if process.wait()]
    if failed:
        raise SystemExit(f"{' '.join(command)}: failed")


def speed(run: Path) -> float:
    """Return the median of the tokens per second that a run reported, without the first report."""
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return statistics.median([event["tokens_per_second"] for event in events if "tokens_per_second" in event][1:])


def sent_bytes() -> int:
    """Return how many bytes the loopback device has sent, or 0 where the system does not say."""
    file = Path("/proc/net/dev")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((int(line.split(":")[1].split()[8]) for line in lines if line.strip().startswith("lo:")), 0)


def weights(run: Path) -> dict[str, np.ndarray]:
    """Return the weights of a run."""
    return read_tensors(run / "model.safetensors")[0]


def main() -> None:
    """Train, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    for name, default in (
        ("rounds", 5),
        ("steps", 200),
        ("ranks", 2),
        ("hidden-size", 256),
        ("batch-size", 32),
        ("busy", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, busy_processes(options.busy):
        alone, together = Path(folder, "alone"), Path(folder, "together")
        ratios = []
        for number in range(options.rounds):
            for run, num_ranks in ((alone, 1), (together, options.ranks)):
                train(
                    options,
                    run,
                    num_ranks,
                    "--overwrite",
                    *(["--threads", str(options.ranks)] if num_ranks == 1 else []),
                )
            ratios.append(speed(together) / speed(alone))
            print(f"round {number + 1}: {speed(alone):,.0f} and {speed(together):,.0f} tokens/s", flush=True)
        print(
            f"{options.ranks} processes, as a share of one with {options.ranks} threads: {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )
        differs, options.batch_size = False, max(options.batch_size, MIN_BATCH_SIZE)
        train(options, alone, 1, "--overwrite", "--threads", "2")
        for num_ranks, others in ((2, []), (4, []), (2, ["--fast-reduce"]), (4, ["--fast-reduce"])):
            before = sent_bytes()
            train(options, together, num_ranks, "--overwrite", *others)
            sent = (sent_bytes() - before) / options.steps / num_ranks
            one, other = weights(alone), weights(together)
            difference = max(float(np.abs(one[name] - other[name]).max()) for name in one)
            differs |= difference > 0 and not others
            print(
                f"{num_ranks} processes {' '.join(others)}: difference {difference:.2g}, {sent / 1e6:.2f} MB a step sent by each"
            )
        sys.exit(1 if differs else 0)


if __name__ == "__main__":
    main()
