"""How near charnn's own choice comes to the best of its neighbours, for several texts and budgets.

    python tests/benchmarks/automatic_choice.py --budgets 0.5 1.5 5 --texts a.txt b.txt --units stream line

For each text and budget charnn chooses alone first. Then the width goes one step down and up from what it chose, then the
dropout, then both in the direction in which each helped: a search that stops where nothing near is better, so that most of
the grid is never run. Nothing else may run on the machine. Prints a row a run and, for each text and budget, by how much the
automatic choice is worse than the best that was found.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTHS = (96, 128, 192, 256, 384, 512, 768)
DROPOUTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


def train(text: Path, unit: str, minutes: float, options: dict[str, str], directory: Path) -> dict[str, float]:
    """Return what `charnn info` says of one run."""
    command = [sys.executable, "-m", "charnn", "train", str(text), "--unit", unit, "--minutes", str(minutes)]
    command += ["-o", str(directory), "--overwrite", *(part for pair in options.items() for part in pair)]
    subprocess.run(command, check=True, capture_output=True)
    shown = subprocess.run(
        [sys.executable, "-m", "charnn", "info", str(directory), "--json"], check=True, capture_output=True
    )
    found: dict[str, float] = json.loads(shown.stdout)
    return found


def neighbours(steps: tuple[float, ...], value: float) -> tuple[float, ...]:
    """Return the steps next to a value, below and above."""
    below = [step for step in steps if step < value]
    above = [step for step in steps if step > value]
    return (*below[-1:], *above[:1])


def search(text: Path, unit: str, minutes: float, directory: Path) -> float:
    """Print a row a run; return how much worse the automatic choice is than the best, as a share of its loss."""

    def row(options: dict[str, str]) -> float:
        found = train(text, unit, minutes, options, directory)
        print(
            f"| {text.name} | {minutes:g} | {' '.join(f'{key} {value}' for key, value in options.items()) or 'automatic'} "
            f"| {found['hidden_size']} | {found['dropout']:g} | {found['steps']:,} | {found['valid_loss_nats']:.4f} |",
            flush=True,
        )
        chosen.update(found if not options else {})
        return found["valid_loss_nats"]

    chosen: dict[str, float] = {}
    automatic = best = row({})
    better: dict[str, str] = {}
    for flag, steps, name in (("--hidden-size", WIDTHS, "hidden_size"), ("--dropout", DROPOUTS, "dropout")):
        for value in neighbours(steps, chosen[name]):
            loss = row({flag: f"{value:g}"})
            if loss < best:
                best, better[flag] = loss, f"{value:g}"
    if len(better) == 2:
        best = min(best, row(better))
    return automatic / best - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, nargs="+", required=True)
    parser.add_argument("--units", nargs="+", help="stream or line for each text", required=True)
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.5, 1.5, 5])
    arguments = parser.parse_args()
    print(
        "| text | minutes | options | width | dropout | steps | nats/token |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    with tempfile.TemporaryDirectory() as directory:
        for text, unit in zip(arguments.texts, arguments.units, strict=True):
            for minutes in arguments.budgets:
                worse = search(text, unit, minutes, Path(directory) / "run")
                print(
                    f"# {text.name}, {minutes:g} minutes: the automatic choice is {worse:.1%} above the best",
                    flush=True,
                )


if __name__ == "__main__":
    main()
