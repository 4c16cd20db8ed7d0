"""Over what delay does a model repeat a string? Accuracy and loss on the repeated letters of new lines, by delay and variant.

    python -m tests.benchmarks.copying --steps 2000 --delays 10 30 100 300 \\
        --variant "lstm: cell=lstm" --variant "attention: cell=lstm attention=single attention_window=512"

A variant is a name and options of `charnn.train`. Each model is trained on its own lines (see copying_data.py) with the same number of
steps, or for the same time (--minutes). A letter counts as right if it is the most probable token after the true letters before it;
chance is 1 in 26, a loss of 3.258 nats.
"""

import argparse
import ast
import tempfile
from pathlib import Path

import numpy as np

import charnn
from tests.benchmarks.copying_data import NUM_LETTERS, copying_lines

VARIANTS = ("lstm: cell=lstm", "gru: cell=gru")
TRAINING_SEED, TEST_SEED = 1, 2
COMMON = {"unit": "line", "tokenizer": "char", "seed": 1, "embedding_order": 1}


def options_of(variant: str) -> tuple[str, dict[str, object]]:
    """Return the name and the options of a variant."""
    name, _, rest = variant.partition(":")
    pairs = (pair.partition("=") for pair in rest.split())
    return name.strip(), {key: _value(value) for key, _, value in pairs}


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def recall(model: charnn.LanguageModel, delay: int, num_lines: int) -> tuple[float, float]:
    """Return the fraction of repeated letters that are predicted, and their loss in nats."""
    num_right, nats = 0, 0.0
    for line in copying_lines(delay, num_lines, TEST_SEED):
        log_probs = model.log_probs(line)[-NUM_LETTERS:]
        targets = model.tokenizer.encode(line)[-NUM_LETTERS:]
        num_right += int((log_probs.argmax(axis=1) == targets).sum())
        nats -= float(log_probs[np.arange(NUM_LETTERS), targets].sum())
    return num_right / (num_lines * NUM_LETTERS), nats / (num_lines * NUM_LETTERS)


def main() -> None:
    """Train the variants with each delay, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delays", type=int, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument("--variant", action="append", help="NAME: OPTION=VALUE ...", default=[])
    parser.add_argument("--lines", type=int, default=20_000, help="lines to train on")
    parser.add_argument("--test-lines", type=int, default=200)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int)
    budget.add_argument("--minutes", type=float)
    options = parser.parse_args()
    amount = {"minutes": options.minutes} if options.minutes else {"steps": options.steps or 2000}
    print("| variant | delay | right | loss, nats | steps | seconds |\n| --- | --- | --- | --- | --- | --- |")
    for variant in options.variant or VARIANTS:
        name, chosen = options_of(variant)
        for delay in options.delays:
            with tempfile.TemporaryDirectory() as folder:
                text = Path(folder, "copying.txt")
                lines = copying_lines(delay, options.lines, TRAINING_SEED)
                text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
                model = charnn.train(text, output=Path(folder, "run"), **{**COMMON, **amount, **chosen})
                right, nats = recall(model, delay, options.test_lines)
                results = model.models[0].config.results
            print(
                f"| {name} | {delay} | {right:.1%} | {nats:.4f} | {results.steps:,} | {results.seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
