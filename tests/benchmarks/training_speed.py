"""Training throughput, as a share of the processor's matrix-product peak, and beside that of another checkout.

    python tests/benchmarks/training_speed.py TEXT [--beside CHECKOUT] [--busy N] [--rounds 7] [--seconds 3]

Each shape is trained by `charnn train TEXT --steps N`, by this checkout and by the other one, in turn: both processes live at once,
one of them stopped by a signal while the other trains for some seconds, so that a machine whose speed drifts is the same for both.
The rate of a turn is the median of what `metrics.jsonl` says of its quarters of a second. The peak is the better one of NumPy's
and torch's product of two matrices of 2,048 rows in fp32, or torch's in bf16 where the run chose that, measured after each turn.
The work of a token is taken as 6 flops for each weight of a matrix product (recurrent and output layers; embeddings are looked
up, not multiplied). `--busy N` lets N processes loop beside it. Prints medians over rounds, with the lowest and the highest.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

CHECKOUT = Path(__file__).parents[2]
SHAPES = ((1, 128), (1, 256), (2, 512))
FLOPS_A_WEIGHT = 6
SIZE = 2048


@contextlib.contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Let processes loop until the block ends."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def peak_flops(precision: str) -> float:
    """Return the best rate of a matrix product in a precision, flops a second."""
    left, right = (np.random.default_rng(seed).standard_normal((SIZE, SIZE), dtype=np.float32) for seed in (1, 2))
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    tensors = torch.from_numpy(left).to(dtype), torch.from_numpy(right).to(dtype)
    ways: list[Callable[[], Any]] = [lambda: tensors[0] @ tensors[1]]
    if precision == "fp32":
        ways.append(lambda: left @ right)
    return 2 * SIZE**3 / min(timed(way) for _ in range(8) for way in ways)


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class Run:
    """A training process that runs in turns."""

    def __init__(self, checkout: Path, text: Path, shape: tuple[int, int], folder: Path) -> None:
        self._directory = folder / "run"
        sizes = ["--num-layers", str(shape[0]), "--hidden-size", str(shape[1])]
        budget = ["--steps", "1000000", "--ngram-order", "0", "--dropout", "0.1", "--valid-fraction", "0"]
        command = [sys.executable, "-m", "charnn", "train", str(text), "-o", str(self._directory), *sizes, *budget]
        environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
        self._log = (folder / "log").open("w+")
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL, env=environment
        )
        while len(self._rates()) < 2:
            time.sleep(0.2)
            if self._process.poll() is not None:
                self._log.seek(0)
                raise SystemExit(self._log.read())
        self._process.send_signal(signal.SIGSTOP)
        self.config: dict[str, Any] = json.loads((self._directory / "config.json").read_text(encoding="utf-8"))

    def _rates(self) -> list[float]:
        path = self._directory / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [event["tokens_per_second"] for event in map(json.loads, lines) if "tokens_per_second" in event]

    def turn(self, seconds: float) -> float:
        """Train for some seconds, and until two rates are known; return the rate in tokens a second."""
        before, ends = len(self._rates()), time.monotonic() + seconds
        self._process.send_signal(signal.SIGCONT)
        while time.monotonic() < ends or len(self._rates()) < before + 3:
            time.sleep(0.1)
        self._process.send_signal(signal.SIGSTOP)
        return statistics.median(self._rates()[before + 1 :])  # the first one counts the time for which it was stopped

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


def flops_a_token(config: dict[str, Any]) -> int:
    """Return the work of a token: forward, and twice as much backward."""
    sizes = config["architecture"]
    hidden_size = sizes["hidden_size"]
    input_sizes = [sizes["embedding_size"], *[hidden_size] * (sizes["num_layers"] - 1)]
    recurrent = sum(4 * hidden_size * (size + hidden_size) for size in input_sizes)
    return FLOPS_A_WEIGHT * (recurrent + sizes["vocab_size"] * hidden_size)


def shown(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--beside", type=Path, help="another checkout")
    parser.add_argument("--busy", type=int, default=0, help="processes that loop meanwhile")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    arguments = parser.parse_args()
    print(f"{torch.backends.cpu.get_cpu_capability()}, {len(os.sched_getaffinity(0))} cores, {arguments.busy} busy")
    checkouts = [CHECKOUT, *([arguments.beside] if arguments.beside else [])]
    for shape in SHAPES:
        rates: list[list[float]] = [[] for _ in checkouts]
        shares = []
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            runs = []
            for number, checkout in enumerate(checkouts):
                (Path(folder) / str(number)).mkdir()
                runs.append(Run(checkout, arguments.text.resolve(), shape, Path(folder) / str(number)))
                stack.callback(runs[-1].close)
            stack.enter_context(busy_processes(arguments.busy))
            precision = runs[0].config["plan"]["precision"]
            for _ in range(arguments.rounds):
                for run, found in zip(runs, rates, strict=True):
                    found.append(run.turn(arguments.seconds))
                shares.append(rates[0][-1] * flops_a_token(runs[0].config) / peak_flops(precision))
        line = f"{shape[0]} x {shape[1]}, {precision}: {shown(rates[0], ',.0f')} tokens/s"
        if not arguments.busy:
            line += f", {shown(shares, '.1%')} of the peak"
        if arguments.beside:
            ratios = [ours / theirs for ours, theirs in zip(*rates, strict=True)]
            line += f"; the other {shown(rates[1], ',.0f')}; ratio {shown(ratios, '.2f')}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
