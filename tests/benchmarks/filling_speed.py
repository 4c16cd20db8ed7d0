"""How long `fill` takes to rank candidates after a long context, against scoring each whole text alone.

    python tests/benchmarks/filling_speed.py RUN FILE [--candidates 20] [--characters 3000] [--rounds 7]

FILE is text of the model's kind. Its white space is read as single spaces; the gap is the first word after so many characters, and the
candidates are that word and others of the text, drawn at random. Both ways must give the same log probabilities.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

import charnn

AFTER = 60
"""Characters after the gap, at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("file", type=Path)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--characters", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    text = " ".join(arguments.file.read_text(encoding="utf-8").split())
    start = text.index(" ", arguments.characters) + 1
    word = text[start:].split(" ", 1)[0]
    before, after = text[:start], text[start + len(word) :][:AFTER]
    others = np.random.default_rng(1).permutation(sorted(set(text.split(" ")) - {word})).tolist()
    candidates = [word, *others[: arguments.candidates - 1]]
    model = charnn.load(arguments.run)
    ranked, alone = [], []
    for _ in range(arguments.rounds):
        begun = time.perf_counter()
        found = model.fill(f"{before}____{after}", candidates, top=None, on_unknown="unk")
        ranked.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        nats = {each: model.score(before + each + after).log_prob_nats for each in candidates}
        alone.append(time.perf_counter() - begun)
    away = max(abs(each.log_prob_nats - nats[each.text]) for each in found)
    place = [each.text for each in found].index(word) + 1
    quick, slow = statistics.median(ranked), statistics.median(alone)
    print(f"{model!r}, {len(candidates)} candidates after {start:,} characters, medians of {arguments.rounds}")
    print(
        f"fill {quick:.3f} s ({min(ranked):.3f} to {max(ranked):.3f}), each whole text alone {slow:.3f} s, {slow / quick:.1f} times"
    )
    print(f"largest difference {away:.1e} nats; the word of the text is number {place}")


if __name__ == "__main__":
    main()
