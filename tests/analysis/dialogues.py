"""A text of any length with quotations, on which the search for neurons is tried: python -m tests.analysis.dialogues 300000 > FILE.

The sentences are those of corpora/fables.txt, drawn at random: what is spoken there is spoken here, what is told is told.
"""

import re
import sys

import numpy as np

from tests.conftest import FABLES

SPEAKERS = ("the fox", "the crow", "the miller", "Old Marrow", "the clock", "the widow", "the river", "Mr Thrale")
VERBS = ("said", "cried", "asked", "answered", "whispered")
SENTENCE = re.compile(r"[A-Z][a-z' ,;]{9,80}[.?!]")


def dialogues(num_characters: int, seed: int = 1) -> str:
    """Return a text of at least so many characters; the same seed gives the same text."""
    generator = np.random.default_rng(seed)
    text = re.sub(r"[ \n]+", " ", re.sub(r"\n\n[A-Z' ]+(?=[:\n])", "\n", FABLES.read_text(encoding="utf-8")))
    parts = re.split('"', text)
    told, spoken = (SENTENCE.findall(" ".join(parts[first::2])) for first in (0, 1))
    paragraphs: list[str] = []
    length = 0
    while length < num_characters:
        drawn = (_spoken(generator, spoken) if each else _pick(generator, told) for each in generator.random(4) < 0.5)
        paragraphs.append(" ".join(drawn))
        length += len(paragraphs[-1]) + 2
    return "\n\n".join(paragraphs) + "\n"


def _pick(generator: np.random.Generator, texts: list[str] | tuple[str, ...]) -> str:
    return texts[generator.integers(0, len(texts))]


def _spoken(generator: np.random.Generator, sentences: list[str]) -> str:
    """Return one or two sentences in quotation marks, in half of the cases with who speaks, before or after them."""
    speech = " ".join(_pick(generator, sentences) for _ in range(generator.integers(1, 3)))
    speaker, verb = _pick(generator, SPEAKERS), _pick(generator, VERBS)
    return (
        f'"{speech}"',
        f'"{speech}"',
        f'{speaker[0].upper()}{speaker[1:]} {verb}: "{speech}"',
        f'"{re.sub("[.]$", ",", speech)}" {verb} {speaker}.',
    )[generator.integers(0, 4)]


if __name__ == "__main__":
    sys.stdout.write(dialogues(int(sys.argv[1])))
