r"""How fast `sample --match` writes, against sampling without a pattern, by the length of the text.

    python tests/benchmarks/matching_speed.py RUN [--match '[A-Za-z ,.\n]+' ...] [--length 200 800 ...] [--rounds 5]

The model is one of text. A pattern is matched again from the beginning of the text for each token of the vocabulary, so the time of
a token grows with the text; samples with and without it alternate.
"""

import argparse
import statistics
import time

import regex

import charnn

PATTERNS = [r"[A-Za-z ,.;:'!?\n-]+", r"([A-Z][a-z]+[ ,.;:'!?\n-]+)+"]
"""Common characters in any order, and words with capital letters."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--match", nargs="*", default=PATTERNS)
    parser.add_argument("--length", type=int, nargs="*", default=[200, 800])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    model = charnn.load(arguments.run)
    model.sample(length=20, seed=0)
    print(f"{model!r}, one stream, medians of {arguments.rounds}")
    for length in arguments.length:
        plain: list[float] = []
        matched: dict[str, list[float]] = {pattern: [] for pattern in arguments.match}
        for seed in range(arguments.rounds):
            plain.append(speed(model, length, seed, None))
            for pattern, speeds in matched.items():
                speeds.append(speed(model, length, seed, pattern))
        free = statistics.median(plain)
        print(f"{length} tokens: without a pattern {free:,.0f} tokens/s")
        for pattern, speeds in matched.items():
            median = statistics.median(speeds)
            print(
                f"{length} tokens: {pattern} {median:,.0f} tokens/s ({min(speeds):,.0f} to {max(speeds):,.0f}), {median / free:.4f} of that"
            )


def speed(model: charnn.LanguageModel, length: int, seed: int, pattern: str | None) -> float:
    """Return tokens a second, after a check that the text can still become a match."""
    begun = time.perf_counter()
    sample = model.sample(length=length, seed=seed, match=pattern)
    seconds = time.perf_counter() - begun
    if pattern is not None and not regex.fullmatch(pattern, sample.text, partial=True):
        raise SystemExit(f"{sample.text!r} cannot become a match of {pattern}")
    return len(sample.ids) / seconds


if __name__ == "__main__":
    main()
