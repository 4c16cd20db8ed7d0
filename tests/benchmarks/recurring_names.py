"""What two models lose on names, by whether the name occurred shortly before: does one of them look it up?

    python -m tests.benchmarks.recurring_names PLAY RUN OTHER-RUN

PLAY is a text with speakers as headings ("NAME:" lines), such as Tiny Shakespeare; a held-out part of it is best. Names are the
headings, and capitalized words of the text that never occur in small letters and do not begin a sentence. The text is scored as one
running text by models of characters; the loss is in nats per character of a name.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import charnn

HEADING = re.compile(r"^([A-Z][A-Za-z' ]*):$", flags=re.MULTILINE)
WITHIN_SENTENCE = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}\b")
NEAR = 512


def names(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and kind of each name, "heading" or "in the text", in order."""
    common = set(re.findall(r"\b[a-z]+\b", text))
    found = [(*match.span(1), "heading") for match in HEADING.finditer(text)]
    within = (match for match in WITHIN_SENTENCE.finditer(text) if match.group().lower() not in common)
    yield from sorted([*found, *((*match.span(), "in the text") for match in within)])


def losses(run: str, text: str) -> np.ndarray:
    """Return the loss of each character (N,), in nats."""
    score = charnn.load(run).score(text, unit="stream")
    nats = np.array([-(token.log_prob_nats or 0.0) for token in score.tokens])
    starts = [token.start for token in score.tokens]
    if starts[: len(text)] != list(range(len(text))):
        raise SystemExit(
            f"{run}: has {len(score.tokens):,} tokens for {len(text):,} characters; name models of characters"
        )
    return nats[: len(text)]


def groups(text: str) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Return the names by kind and by whether each occurred in the last characters."""
    by_group: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for start, end, kind in names(text):
        is_near = text[start:end] in text[max(0, start - NEAR) : start]
        by_group[kind, f"in the last {NEAR}" if is_near else "not"].append((start, end))
    return by_group


def table(text: str, runs: Sequence[str]) -> str:
    """Return the losses of the models on each group of names."""
    nats = {run: losses(run, text) for run in runs}
    columns = " | ".join(Path(run).name for run in runs)
    rows = [f"| names | occurred | number | {columns} |", "| --- " * (3 + len(runs)) + "|"]
    spans = {("all characters", ""): [(0, len(text))], **groups(text)}
    for (kind, occurred), places in sorted(spans.items()):
        is_inside = np.zeros(len(text), dtype=bool)
        for start, end in places:
            is_inside[start:end] = True
        means = " | ".join(f"{values[is_inside].mean():.4f}" for values in nats.values())
        rows.append(f"| {kind} | {occurred} | {len(places):,} | {means} |")
    return "\n".join(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("play", type=Path)
    parser.add_argument("runs", nargs="+")
    options = parser.parse_args()
    print(table(options.play.read_text(encoding="utf-8"), options.runs))


if __name__ == "__main__":
    main()
