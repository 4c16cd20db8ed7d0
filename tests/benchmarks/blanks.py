"""A blank whose clue stands after it: is the subject singular or plural, when only the verb tells?

    python tests/benchmarks/blanks.py corpora/agreement.txt corpora/agreement-pairs.tsv [--minutes 1] [--train-options "..."]

"The ____ which already ate a lot of food was full": cat or cats? Trains a pair of word models in both directions, blanks the subject
of the grammatical sentence of each pair, and prints how often the noun in the right number is the likelier of its two forms: in
the blank, by the forward model, the backward one and both; and by the probability of the whole sentence. By words between
subject and verb.
"""

import argparse
import csv
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from charnn.config import ScoreOptions
from charnn.inference.engine import Engine
from charnn.scoring.cloze import find_gap, score_cloze
from charnn.scoring.scorer import estimator_of, score_units
from charnn.storage.model_directory import read_directed

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "corpora"))
from make_agreement import NOUNS

BANDS = ((0, 0), (1, 4), (5, 8), (9, 12), (13, 16), (17, 20), (0, 20))
PLURALS = {plural: singular for singular, plural in NOUNS.items()}
SUBJECT = re.compile(rf"\b({'|'.join(sorted([*NOUNS, *PLURALS], key=len, reverse=True))})\b")


def blanked(sentence: str) -> tuple[str, str, str]:
    """Return a sentence with its subject blanked, that noun, and the noun in the other number."""
    found = SUBJECT.search(sentence)
    assert found is not None
    noun = found[1]
    return SUBJECT.sub("____", sentence, count=1), noun, NOUNS.get(noun) or PLURALS[noun]


def main() -> None:
    """Train, judge and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("pairs")
    parser.add_argument("--minutes", default="1")
    parser.add_argument("--train-options", default="--tokenizer word --unit line")
    options = parser.parse_args()
    with Path(options.pairs).open(encoding="utf-8", newline="") as file:
        pairs = list(csv.DictReader(file, delimiter="\t"))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "charnn", "train", options.text, "-o", f"{folder}/run", "--direction", "both"]
        subprocess.run(
            [*command, "--minutes", options.minutes, *shlex.split(options.train_options)],
            check=True,
            capture_output=True,
        )
        models = read_directed(Path(folder, "run"), "both")
    tokenizer = models[0].tokenizer
    forward, backward = (Engine.of(model) for model in models)
    right: dict[str, list[bool]] = {}
    sentences = []
    for pair in pairs:
        sentence, noun, other = blanked(pair["good"])
        blank = find_gap(tokenizer, sentence, "____", on_unknown="unk")
        ids = [tokenizer.vocabulary.id_of(word) for word in (noun, other)]
        for name, log_probs in score_cloze(forward, backward, tokenizer, blank).items():
            right.setdefault(f"in the blank, {name}", []).append(log_probs[ids[0]] > log_probs[ids[1]])
        sentences += [sentence.replace("____", noun), sentence.replace("____", other)]
    whole = {}
    for name, engine in (("forward", forward), ("backward", backward)):
        scores = [
            score.log_prob_nats
            for score in score_units(estimator_of(engine, tokenizer), tokenizer, sentences, ScoreOptions())
        ]
        whole[name] = [good - bad for good, bad in zip(scores[::2], scores[1::2], strict=True)]
    whole["both"] = [sum(margins) for margins in zip(whole["forward"], whole["backward"], strict=True)]
    right |= {f"whole sentence, {name}": [margin > 0 for margin in margins] for name, margins in whole.items()}
    print("| judged | " + " | ".join("all" if band == (0, 20) else f"{band[0]}-{band[1]}" for band in BANDS) + " |")
    print("| --- |" + " --- |" * len(BANDS))
    for name, held in right.items():
        cells = []
        for low, high in BANDS:
            chosen = [found for found, pair in zip(held, pairs, strict=True) if low <= int(pair["distance"]) <= high]
            cells.append(f"{sum(chosen) / len(chosen):.1%}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
