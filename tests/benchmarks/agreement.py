"""How far does a cell hold on to a subject's number? Train each cell for the same time, then compare the sentences of pairs.

    python tests/benchmarks/agreement.py corpora/agreement.txt corpora/agreement-pairs.tsv [--minutes 1] [--train-options "--tokenizer word"]

Prints the share of pairs whose grammatical sentence is the likelier, by the number of words between subject and verb.
"""

import argparse
import csv
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from charnn.config import ScoreOptions
from charnn.inference.engine import Engine
from charnn.scoring.scorer import estimator_of, score_units
from charnn.storage.model_directory import read_model

CELL_OPTIONS = {"skip": ("--cell", "rnn", "--skip", "8")}
BANDS = ((0, 0), (1, 4), (5, 8), (9, 12), (13, 16), (17, 20))


def accuracy(right: list[bool]) -> str:
    """Return a share as a percentage."""
    return f"{sum(right) / len(right):6.1%}" if right else "     -"


def main() -> None:
    """Train, score and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("pairs")
    parser.add_argument("--minutes", default="1")
    parser.add_argument("--cells", nargs="+", default=["rnn", "leaky", "skip", "gru", "lstm", "mogrifier", "mingru"])
    parser.add_argument("--train-options", default="--tokenizer word", help="further options of charnn train")
    options = parser.parse_args()
    with Path(options.pairs).open(encoding="utf-8", newline="") as file:
        pairs = list(csv.DictReader(file, delimiter="\t"))
    print("cell      valid  " + "  ".join(f"{low:>2}-{high:<3}" for low, high in BANDS) + "     all  attractors 0..3")
    for cell in options.cells:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "charnn", "train", options.text, "-o", f"{folder}/run", "--unit", "line"]
            subprocess.run(
                [
                    *command,
                    *CELL_OPTIONS.get(cell, ("--cell", cell)),
                    "--minutes",
                    options.minutes,
                    *shlex.split(options.train_options),
                ],
                check=True,
                capture_output=True,
            )
            model = read_model(Path(folder, "run"))
        engine = Engine.of(model)
        sentences = [pair[kind] for pair in pairs for kind in ("good", "bad")]
        scores = [
            score.log_prob_nats
            for score in score_units(estimator_of(engine, model.tokenizer), model.tokenizer, sentences, ScoreOptions())
        ]
        right = [good > bad for good, bad in zip(scores[::2], scores[1::2], strict=True)]

        def chosen(column: str, low: int, high: int, right: list[bool] = right) -> str:
            return accuracy([held for held, pair in zip(right, pairs, strict=True) if low <= int(pair[column]) <= high])

        by_distance = " ".join(chosen("distance", low, high) for low, high in BANDS)
        by_attractors = " ".join(chosen("attractors", number, number) for number in range(4))
        loss = model.config.results.valid_loss_nats
        print(f"{cell:9} {loss:6.4f} {by_distance}  {accuracy(right)} {by_attractors}", flush=True)


if __name__ == "__main__":
    main()
