"""How fast text is read: megabytes a second of each tokenizer, and beside an older checkout of charnn.

    python tests/benchmarks/encoding_speed.py [--megabytes 20] [--rounds 3] [--against CHECKOUT] [--kinds char word ...]

The text is `corpora/fables.txt` between words that are made up, 60,000 types as frequent as Zipf's law has it. "whole" is all that
`charnn train` does before it plans: digests, both counting and encoding, and the files flushed to disk, without a cache.
"encode" is the tokenizer alone, on pieces of a megabyte. Each measurement is a process of its own; with --against the two
checkouts take turns, and the ratios are medians. Time is the processor's, so that what else runs on the machine matters little.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parent.parent.parent
KINDS = ("char", "byte", "word", "pretokenized", "subword")
NUM_TYPES, WORDS_AT_ONCE, WORDS_A_LINE = 60_000, 100_000, 12
PIECE = 1 << 20


def made_up_words(generator: np.random.Generator) -> list[str]:
    """Return word types, the short ones first, as the frequent ones are."""
    onsets = ["b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pl"]
    syllables = [onset + vowel + end for onset in onsets for vowel in "aeiou" for end in ("", "n", "r", "s", "ld")]
    words: set[str] = set()
    while len(words) < NUM_TYPES:
        chosen = generator.integers(0, len(syllables), size=1 + int(generator.geometric(0.55)))
        words.add("".join(syllables[number] for number in chosen))
    return sorted(words, key=lambda word: (len(word), word))


def write_text(path: Path, num_bytes: int) -> None:
    """Write a text whose dictionary is as large as that of real ones."""
    generator = np.random.default_rng(1)
    words = np.array(made_up_words(generator))
    frequencies = 1 / np.arange(1, NUM_TYPES + 1)
    fables = (REPOSITORY / "corpora" / "fables.txt").read_text(encoding="utf-8")
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < num_bytes:
            drawn = generator.choice(words, size=WORDS_AT_ONCE, p=frequencies / frequencies.sum()).tolist()
            ends = generator.choice(
                ["", ",", ".", "'s", "--", "!"], size=WORDS_AT_ONCE, p=[0.85, 0.06, 0.06, 0.01, 0.01, 0.01]
            )
            texts = [word + end for word, end in zip(drawn, ends.tolist(), strict=True)]
            for first in range(0, WORDS_AT_ONCE, WORDS_A_LINE):
                file.write(" ".join(texts[first : first + WORDS_A_LINE]) + "\n")
            file.write(fables[:40_000])


def measure(path: Path, kind: str) -> dict[str, float]:
    """Return the seconds of both measurements, in this process and with the charnn that it imports."""
    from charnn.config import TextOptions
    from charnn.text.corpus import prepare_corpus

    options = (
        TextOptions(tokenizer="word", pretokenized=True) if kind == "pretokenized" else TextOptions(tokenizer=kind)
    )  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        corpus = prepare_corpus(Path(folder), [str(path)], options, seed=1)
        whole = time.process_time() - begun
    text = path.read_text(encoding="utf-8")
    pieces = [text[first : first + PIECE] for first in range(0, len(text), PIECE)]
    begun = time.process_time()
    for piece in pieces:
        corpus.tokenizer.encode(piece)
    return {"whole": whole, "encode": time.process_time() - begun}


def measured(checkout: Path, path: Path, kind: str) -> dict[str, float]:
    """Measure a checkout in a process of its own."""
    command = [sys.executable, __file__, "--measure", str(path), "--kinds", kind]
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    seconds: dict[str, float] = json.loads(result.stdout)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.kinds[0])))
        return
    checkouts = [REPOSITORY, *([options.against.resolve()] if options.against else [])]
    print(
        "| tokenizer | whole, MB/s | encode, MB/s |"
        + (" as fast as before, whole | encode |" if options.against else "")
    )
    print("| --- | --- | --- |" + (" --- | --- |" if options.against else ""))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        write_text(path, int(options.megabytes * 1e6))
        size = path.stat().st_size / 1e6
        for kind in options.kinds:
            rounds = [[measured(checkout, path, kind) for checkout in checkouts] for _ in range(options.rounds)]
            names = ("whole", "encode")
            cells = [f"{size / statistics.median(turn[0][name] for turn in rounds):.1f}" for name in names]
            if options.against:
                cells += [f"{statistics.median(old[name] / new[name] for new, old in rounds):.2f}" for name in names]
            print(f"| {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
