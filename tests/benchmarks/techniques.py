"""Does every technique train? Each cell, dropout, optimizer, schedule and recipe for the same short time, against a bigram model.

    python tests/benchmarks/techniques.py corpora/fables.txt [--minutes 0.333] [--only cell optimizer ...]

Prints the validation loss, the training speed and the loss of the n-gram model of order 2, which each is to beat. Recipes are
made as narrow as they must be for this: every width and embedding divided by four.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from training_runs import train

from charnn.recipes import load_recipe, recipe_names

CELLS = {
    "lstm": {},
    "gru": {},
    "rnn": {},
    "rnn, relu from the identity": {
        "--nonlinearity": "relu",
        "--init-recurrent": "identity",
        "--learning-rate": "0.005",
    },
    "leaky": {},
    "leaky, half": {"--leak": "0.5"},
    "rnn, skip 8": {"--skip": "8"},
    "lstm, skip 8": {"--skip": "8"},
    "mogrifier": {},
    "mogrifier, rank 16": {"--mogrifier-rank": "16"},
    "mlstm": {},
    "depth-lstm": {},
    "mingru": {},
    "mingru, two layers, residual": {"--num-layers": "2", "--residual": ""},
    "minlstm": {},
}
GROUPS: dict[str, dict[str, dict[str, str]]] = {
    "cell": {name: {"--cell": name.split(",")[0], **options} for name, options in CELLS.items()},
    "network": {
        "one-hot": {"--inputs": "one-hot"},
        "learned initial state": {"--initial-state": "learned"},
        "two layers, residual": {"--num-layers": "2", "--residual": ""},
        "uniform start": {"--init-input": "uniform", "--init-recurrent": "uniform"},
    },
    "dropout": {
        **{kind: {"--dropout": "0.2", "--dropout-kind": kind} for kind in ("naive", "locked", "variational")},
        "weight drop 0.3": {"--weight-drop": "0.3"},
        "embedding dropout 0.1": {"--embedding-dropout": "0.1"},
        "AR 2, TAR 1": {"--ar": "2", "--tar": "1"},
        "token noise 0.05": {"--token-noise": "0.05"},
        "label smoothing 0.05": {"--label-smoothing": "0.05"},
        "teacher forcing to 0.75": {"--teacher-forcing": "0.75"},
    },
    "optimizer": {name: {"--optimizer": name} for name in ("muon", "adamw", "sgd", "nt-asgd")},
    "schedule": {
        name: {"--schedule": name} for name in ("linear", "cosine", "one-cycle", "exponential", "plateau", "constant")
    },
}


def narrowed(name: str) -> dict[str, str]:
    """Return a recipe with every width divided by four."""
    options = load_recipe(name).options
    widths = {"--hidden-size": "hidden_size", "--embedding-size": "embedding_size"}
    narrow = {flag: str(options[field] // 4) for flag, field in widths.items() if field in options}
    stream = {"--unit": "stream"} if options.get("unit") == "tune" else {}  # the text has no tunes
    return {"--recipe": name, **stream, **narrow}


GROUPS["recipe"] = {name: narrowed(name) for name in recipe_names()}


def speed(directory: Path) -> float:
    """Return the median of the tokens a second that training reported."""
    events = [json.loads(line) for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return statistics.median(event["tokens_per_second"] for event in events if event["event"] == "progressed")


def main() -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--minutes", default="0.3333")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    arguments = parser.parse_args()
    print(
        "| group | technique | tokens/s | width | validation, nats/token | bigram |\n| --- | --- | --- | --- | --- | --- |"
    )
    for group in arguments.only:
        for name, options in GROUPS[group].items():
            with tempfile.TemporaryDirectory() as folder:
                run = Path(folder, "run")
                found = train(arguments.text, run, {**options, "--minutes": arguments.minutes, "--ngram-order": "2"})
                loss, bigram = found["valid_loss_nats"], found["ngram_loss_nats"]
                verdict = "" if loss < bigram else " **not beaten**"
                width = f"{found['num_layers']} x {found['hidden_size']}"
                print(
                    f"| {group} | {name} | {speed(run):,.0f} | {width} | {loss:.4f} | {bigram:.4f}{verdict} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
