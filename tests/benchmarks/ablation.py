"""What each choice of the trainer is worth: the same run with one thing changed, over several seeds.

    python tests/benchmarks/ablation.py TEXT [--steps 1000] [--seeds 3] [--only NAME...]

Every run has the same number of steps and of tokens a step, one thread, and the sizes that stand in BASE; as many run side by
side as there are cores. Prints, for each variant, the validation losses (nats a token, at the fitted temperature), their
median, its difference from the base's, and the time of a step against the base's, as a median too.
"""

import argparse
import os
import statistics
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from training_runs import train

BASE = {
    "--hidden-size": "128",
    "--embedding-size": "128",
    "--embedding-order": "3",
    "--batch-size": "32",
    "--bptt": "128",
    "--dropout": "0",
    "--learning-rate": "0.02",
    "--ngram-order": "0",
    "--patience": "0",
}
VARIANTS: dict[str, dict[str, str]] = {
    "base": {},
    "no n-gram vectors": {"--embedding-order": "1"},
    "AdamW": {"--optimizer": "adamw"},
    "no stretches": {"--carry": "0"},
    "weight decay 0.01": {"--weight-decay": "0.01"},
    "rate 0.01": {"--learning-rate": "0.01"},
    "rate 0.03": {"--learning-rate": "0.03"},
    "embedding 64": {"--embedding-size": "64"},
    "64 lanes of 64": {"--batch-size": "64", "--bptt": "64"},
    "dropout 0.1": {"--dropout": "0.1"},
    "GRU": {"--cell": "gru"},
    "stretches of 256": {"--carry": "256"},
    "weight decay 0.4": {"--weight-decay": "0.4"},
    "vectors of two tokens": {"--embedding-order": "2"},
    "vectors of four tokens": {"--embedding-order": "4"},
    "two layers": {"--num-layers": "2"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    arguments = parser.parse_args()
    print("| variant | losses | median | against the base | time |\n| --- | --- | --- | --- | --- |")
    base_loss = base_time = None
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(os.cpu_count()) as pool:

        def begin(name: str, seed: int) -> Future[dict[str, Any]]:
            options = {**BASE, **VARIANTS[name], "--steps": str(arguments.steps), "--seed": str(seed)}
            return pool.submit(train, arguments.text, Path(directory) / f"{name}-{seed}", options, num_threads=1)

        begun = {
            name: [begin(name, seed) for seed in range(1, arguments.seeds + 1)]
            for name in dict.fromkeys(["base", *arguments.only])
        }
        for name, jobs in begun.items():
            try:
                runs = [job.result() for job in jobs]
            except SystemExit:
                pool.shutdown(cancel_futures=True)
                raise
            losses = [run["valid_loss_nats"] for run in runs]
            loss, seconds = statistics.median(losses), statistics.median(run["seconds"] for run in runs)
            base_loss, base_time = base_loss or loss, base_time or seconds
            listed = ", ".join(f"{found:.4f}" for found in losses)
            print(
                f"| {name} | {listed} | {loss:.4f} | {loss - base_loss:+.4f} | {seconds / base_time:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
