"""What a model gains by learning while it reads, and how fast it reads: `score` plain and with each adaptation.

    python tests/benchmarks/adaptation.py RUN FILE [--characters 100000] [--only plain --only adapt]

FILE is text of the model's kind that it was not trained on, read as one running text. Speeds include the fitting of what is fitted to
the held-out text, which is named on stderr, but not the loading of the model. Last, models of characters read 20,000 random ones of those
in FILE, all equally probable, which no model may predict below their entropy but by chance.
"""

import argparse
import logging
import math
import os
import time
from pathlib import Path

import numpy as np

import charnn

WAYS = {
    "plain": {},
    "mix-ngram": {"mix_ngram": True},
    "cache": {"cache": True},
    "adapt, no-dynamic": {"adapt": True, "dynamic": False},
    "adapt, cache": {"adapt": True, "cache": True},
    "dynamic": {"dynamic": True},
    "adapt": {"adapt": True},
}
RANDOM_CHARACTERS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("file", type=Path)
    parser.add_argument("--characters", type=int, default=100_000)
    parser.add_argument("--only", action="append", choices=WAYS, help="measure this way alone; may be repeated")
    arguments = parser.parse_args()
    os.environ["CHARNN_CACHE_DIR"] = ""  # rates are fitted each time
    logging.getLogger("charnn").addHandler(logging.StreamHandler())
    text = arguments.file.read_text(encoding="utf-8")[: arguments.characters]
    model = charnn.load(arguments.run)
    print(
        "| score | nats per token | perplexity | nats per character | characters/s |\n| --- | --- | --- | --- | --- |"
    )
    for name, options in WAYS.items():
        if arguments.only is not None and name not in arguments.only:
            continue
        start = time.perf_counter()
        score = model.score(text, unit="stream", **options)
        seconds = time.perf_counter() - start
        per_character = -score.log_prob_nats / len(text)
        per_token = -score.log_prob_nats / score.num_tokens
        print(
            f"| {name} | {per_token:.4f} | {score.perplexity:.4f} | {per_character:.4f} | {len(text) / seconds:,.0f} |"
        )
    if model.tokenizer.kind not in ("char", "byte"):
        return
    letters = sorted(set(text))
    drawn = "".join(np.random.default_rng(1).choice(letters, RANDOM_CHARACTERS).tolist())
    score = model.score(drawn, unit="stream", adapt=True, dynamic=False)
    loss, entropy = -score.log_prob_nats / len(drawn), math.log(len(letters))
    print(f"random characters: {loss:.4f} nats per character, of which the entropy is {entropy:.4f}")


if __name__ == "__main__":
    main()
