"""How near charnn's own choice comes to the best of its neighbours, for several texts and budgets.

    python tests/benchmarks/automatic_choice.py --texts a.txt b.txt --units stream line [--budgets 0.5 1.5 5]
        [--neighbours narrower wider ...]

For each text and budget charnn chooses alone first. Then one choice at a time goes a step down or up from there, and at last
those that helped go together. A run is given up after two fifths of its budget where its loss is by then 2 % above that
of charnn's own choice at the same point, so that most of the grid costs half. Nothing else may run on the machine. Prints a
row a run and, for each text and budget, by how much the automatic choice is worse than the best that was found.
"""

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from runs import Curve, curve, train

WIDTHS = (64, 96, 128, 192, 256, 384, 512, 768)
DROPOUTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
NGRAM_DROPOUTS = (0.0, 0.25, 0.5, 0.75, 0.9)
LANES = (4, 8, 16, 32, 64, 128)
NEIGHBOURS = {
    "narrower": ("hidden_size", WIDTHS, -1),
    "wider": ("hidden_size", WIDTHS, 1),
    "fewer-lanes": ("batch_size", LANES, -1),
    "more-lanes": ("batch_size", LANES, 1),
    "less-dropout": ("dropout", DROPOUTS, -1),
    "more-dropout": ("dropout", DROPOUTS, 1),
    "less-ngram-dropout": ("ngram_dropout", NGRAM_DROPOUTS, -1),
    "more-ngram-dropout": ("ngram_dropout", NGRAM_DROPOUTS, 1),
}
GIVE_UP_FROM, GIVE_UP_ABOVE = 0.4, 1.02


def neighbour(name: str, chosen: dict[str, Any]) -> dict[str, str]:
    """Return the option that goes a step aside from what was chosen, none at the end of the steps."""
    field, steps, direction = NEIGHBOURS[name]
    value = chosen[field]
    aside = [step for step in steps if (step - value) * direction > 1e-9]
    if not aside:
        return {}
    return {"--" + field.replace("_", "-"): f"{min(aside, key=lambda step: abs(step - value)):g}"}


def is_behind(found: Curve, automatic: Curve) -> bool:
    """Tell whether a run is so far behind the automatic one at the same point that it will not catch up."""
    if not found or found[-1][0] < GIVE_UP_FROM:
        return False
    progress, loss = found[-1]
    return loss > GIVE_UP_ABOVE * float(np.interp(progress, *zip(*automatic, strict=True)))


def search(text: Path, unit: str, minutes: float, neighbours: list[str], directory: Path) -> float:
    """Print a row a run; return how much worse the automatic choice is than the best, as a share of its loss."""
    curves: list[Curve] = []

    def row(options: dict[str, str]) -> dict[str, Any] | None:
        budget = {"--unit": unit, "--minutes": str(minutes)}
        behind = (lambda so_far: is_behind(so_far, curves[0])) if curves else (lambda _: False)
        found = train(text, directory, {**budget, **options}, is_hopeless=behind)
        curves.append(curve(directory))
        said = " ".join(f"{key} {value}" for key, value in options.items()) or "automatic"
        sizes = "hidden_size", "batch_size", "dropout", "ngram_dropout", "steps"
        result = (
            [f"{found[size]:g}" for size in sizes]
            + [f"{found['valid_loss_nats']:.4f}", f"{found['mixture_loss_nats']:.4f}"]
            if found
            else ["given up"]
        )
        print(" | ".join(["", text.name, f"{minutes:g}", said, *result, ""]).strip(), flush=True)
        return found

    automatic = row({})
    assert automatic is not None
    losses = {"": automatic["valid_loss_nats"]}
    better: dict[str, str] = {}
    for name in neighbours:
        for flag, value in neighbour(name, automatic).items():
            found = row({flag: value})
            if found and found["valid_loss_nats"] < min(losses[""], losses.get(flag, math.inf)):
                better[flag], losses[flag] = value, found["valid_loss_nats"]
    if len(better) > 1 and (together := row(better)):
        losses["together"] = together["valid_loss_nats"]
    return float(losses[""] / min(losses.values()) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, nargs="+", required=True)
    parser.add_argument("--units", nargs="+", help="stream or line for each text", required=True)
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.5, 1.5, 5])
    parser.add_argument("--neighbours", choices=NEIGHBOURS, nargs="+", default=list(NEIGHBOURS))
    arguments = parser.parse_args()
    print("| text | minutes | options | width | lanes | dropout | of n-grams | steps | nats/token | mixture |")
    print("| --- " * 10 + "|")
    with tempfile.TemporaryDirectory() as directory:
        for minutes in arguments.budgets:
            for text, unit in zip(arguments.texts, arguments.units, strict=True):
                worse = search(text, unit, minutes, arguments.neighbours, Path(directory) / "run")
                print(
                    f"{text.name}, {minutes:g} minutes: the automatic choice is {worse:.1%} above the best", flush=True
                )


if __name__ == "__main__":
    main()
