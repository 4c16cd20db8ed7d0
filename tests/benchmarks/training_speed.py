"""Training throughput, as a share of the processor's matrix-product peak, and beside that of another checkout.

    python tests/benchmarks/training_speed.py TEXT [--beside CHECKOUT] [--busy N] [--rounds 5] [--seconds 6]

Each shape is trained by `charnn train TEXT --steps N`, by this checkout and the other one in turn; the rate is the median of what
`metrics.jsonl` says of each quarter of a second. The peak is the better one of NumPy's and torch's product of two matrices of
2,048 rows in fp32, or torch's in bf16 where the run chose that, measured in the same round. The work of a token is taken as 6
flops for each weight of a matrix product (recurrent and output layers; embeddings are looked up, not multiplied). `--busy N`
lets N processes loop beside it. Prints medians over rounds, with the lowest and the highest.
"""

import argparse
import contextlib
import json
import os
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


def run(checkout: Path, text: Path, shape: tuple[int, int], steps: int) -> dict[str, Any]:
    """Train; return the rate in tokens a second, the precision and the flops of a token."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        sizes = ["--num-layers", str(shape[0]), "--hidden-size", str(shape[1])]
        budget = ["--steps", str(steps), "--ngram-order", "0", "--dropout", "0.1"]
        command = [sys.executable, "-m", "charnn", "train", str(text), "-o", str(directory), *sizes, *budget]
        environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(done.stderr)
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        lines = (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rates = [event["tokens_per_second"] for event in map(json.loads, lines) if "tokens_per_second" in event]
    sizes_of = config["architecture"]
    input_sizes = [sizes_of["embedding_size"], *[shape[1]] * (shape[0] - 1)]
    weights = sum(4 * shape[1] * (size + shape[1]) for size in input_sizes) + sizes_of["vocab_size"] * shape[1]
    return {
        "rate": statistics.median(rates[1:] or rates),
        "precision": config["plan"]["precision"],
        "flops": FLOPS_A_WEIGHT * weights,
    }


def shown(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--beside", type=Path, help="another checkout")
    parser.add_argument("--busy", type=int, default=0, help="processes that loop meanwhile")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of steps, on a machine of 100 GFLOP/s")
    arguments = parser.parse_args()
    print(f"{torch.backends.cpu.get_cpu_capability()}, {len(os.sched_getaffinity(0))} cores, {arguments.busy} busy")
    for shape in SHAPES:
        steps = max(4, round(arguments.seconds * 1e11 / (FLOPS_A_WEIGHT * 8 * shape[0] * shape[1] ** 2 * 4096)))
        rates: dict[str, list[float]] = {"ours": [], "theirs": []}
        shares, ratios = [], []
        for _ in range(arguments.rounds):
            with busy_processes(arguments.busy):
                found = run(CHECKOUT, arguments.text, shape, steps)
                rates["ours"].append(found["rate"])
                if arguments.beside:
                    rates["theirs"].append(run(arguments.beside, arguments.text, shape, steps)["rate"])
                    ratios.append(rates["ours"][-1] / rates["theirs"][-1])
            shares.append(found["rate"] * found["flops"] / peak_flops(found["precision"]))
        line = f"{shape[0]} x {shape[1]}, {found['precision']}: {shown(rates['ours'], ',.0f')} tokens/s"
        if not arguments.busy:
            line += f", {shown(shares, '.1%')} of the peak"
        if ratios:
            line += f"; the other {shown(rates['theirs'], ',.0f')}; ratio {shown(ratios, '.2f')}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
