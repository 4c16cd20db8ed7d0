"""How near charnn's own choice comes to the best of a grid, for several texts and budgets.

    python tests/benchmarks/automatic_choice.py --texts a.txt b.txt --units stream line [--budgets 0.5 1.5 5]
        [--widths 128 192 256] [--lanes 32] [--dropouts automatic 0.25]

A budget of minutes becomes as many steps as a quiet machine of the kind in the README does in it at that width and number of
lanes (SPEEDS), so that a noisy machine gives the same figures, only later; as many runs as there are cores go side by side,
on one thread each. A row marked * has the width, the lanes and the dropout that charnn would choose. Prints a row a run
and, for each text and budget, by how much that choice is worse than the best of the grid, where the grid has it.
"""

import argparse
import itertools
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from training_runs import train

from charnn.config import ModelOptions
from charnn.training.planning.plan import (
    DEFAULT_BATCH_SIZE,
    REFERENCE_SPEEDS,
    STARTUP_SECONDS,
    STEP_TIME_FRACTION,
    WIDE_BATCH_SIZE,
    WIDE_HIDDEN_SIZE,
    choose_batch_size,
    effective_time_factor,
    resolve_architecture,
)

BPTT = 128
MOST_HELD_OUT = 100_000
"""Bytes: so few that every run can afford to read all of them, and none is measured on an easier beginning."""
SPEEDS = {
    (96, 16): 184e3,
    (96, 32): 269e3,
    (128, 16): 143e3,
    (192, 16): 96e3,
    (256, 16): 72e3,
    (384, 16): 43e3,
    (512, 32): 33e3,
    **{
        (width, WIDE_BATCH_SIZE if width >= WIDE_HIDDEN_SIZE else DEFAULT_BATCH_SIZE): speed
        for width, speed in REFERENCE_SPEEDS.items()
    },
}
"""Tokens a second by width and lanes: the quickest of ten steps each, all taking turns, LSTM, vectors of three characters."""


def num_steps(minutes: float, width: int, lanes: int) -> int:
    """Return the steps that a budget allows."""
    return int((minutes * 60 - STARTUP_SECONDS) * STEP_TIME_FRACTION * SPEEDS[width, lanes] / (lanes * BPTT))


def run(text: Path, unit: str, minutes: float, choice: tuple[int, int, str], directory: Path) -> dict[str, Any]:
    """Train with one choice."""
    width, lanes, dropout = choice
    options = {"--unit": unit, "--steps": str(num_steps(minutes, width, lanes)), "--hidden-size": str(width)}
    options |= {"--batch-size": str(lanes), "--bptt": str(BPTT), "--ngram-order": "0", "--patience": "0"}
    options["--valid-fraction"] = f"{min(0.1, MOST_HELD_OUT / text.stat().st_size):.4g}"
    options |= {} if dropout == "automatic" else {"--dropout": dropout}
    name = "-".join(map(str, (text.stem, minutes, *choice)))
    found = train(text, directory / name, options, num_threads=1)
    found["is_chosen"] = dropout == "automatic" and (width, lanes) == chosen(found, minutes)
    return found


def chosen(found: dict[str, Any], minutes: float) -> tuple[int, int]:
    """Return the width and lanes that charnn would choose on the reference machine."""
    num_tokens = found["train_num_tokens"]

    def sizes(seconds: float) -> tuple[int, int]:
        width = resolve_architecture(
            ModelOptions(),
            kind=found["tokenizer"],
            vocab_size=found["vocab_size"],
            num_tokens=num_tokens,
            seconds=seconds,
            device="cpu",
        ).hidden_size
        return width, choose_batch_size(None, hidden_size=width, num_tokens=num_tokens, bptt_length=BPTT, device="cpu")

    width, lanes = sizes(minutes * 60)
    passes = num_steps(minutes, width, lanes) * lanes * BPTT / num_tokens
    return sizes(minutes * 60 * effective_time_factor(width, SPEEDS[width, lanes], passes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, nargs="+", required=True)
    parser.add_argument("--units", nargs="+", help="stream or line for each text", required=True)
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.5, 1.5, 5])
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 192, 256])
    parser.add_argument("--lanes", type=int, nargs="+", default=[32])
    parser.add_argument("--dropouts", nargs="+", default=["automatic"])
    arguments = parser.parse_args()
    choices = list(itertools.product(arguments.widths, arguments.lanes, arguments.dropouts))
    print("| text | minutes | width | lanes | dropout | of n-grams | steps | passes | nats/token |")
    print("| --- " * 9 + "|")
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(os.cpu_count()) as pool:
        for minutes in arguments.budgets:
            for text, unit in zip(arguments.texts, arguments.units, strict=True):
                jobs = [pool.submit(run, text, unit, minutes, choice, Path(name)) for choice in choices]
                rows = [job.result() for job in jobs]
                for row in rows:
                    lanes = row["batch_size"]
                    passes = row["steps"] * lanes * BPTT / row["train_num_tokens"]
                    print(
                        f"| {text.name} | {minutes:g} | {row['hidden_size']}{' *' * row['is_chosen']} | {lanes} "
                        f"| {row['dropout']:g} | {row['ngram_dropout']:g} | {row['steps']:,} | {passes:.1f} "
                        f"| {row['valid_loss_nats']:.4f} |",
                        flush=True,
                    )
                best = min(row["valid_loss_nats"] for row in rows)
                for row in rows:
                    if row["is_chosen"]:
                        above = row["valid_loss_nats"] / best - 1
                        print(f"{text.name}, {minutes:g} minutes: the choice is {above:.1%} above the best", flush=True)


if __name__ == "__main__":
    main()
