"""Write `agreement.txt` and `agreement-pairs.tsv`: sentences in which a verb agrees with a subject that may be far away.

    The cats, which already ate a lot of food near the dog, were full.

Run it as `python corpora/make_agreement.py`; its output is the same each time. No sentence of a pair stands in the text.
"""

import random
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
NUM_SENTENCES = 8_000
PAIRS_A_CELL = 30
LONGEST_DISTANCE = 20

NOUNS = {
    "cat": "cats", "dog": "dogs", "bird": "birds", "boy": "boys", "girl": "girls", "farmer": "farmers", "goat": "goats",
    "teacher": "teachers", "sailor": "sailors", "baker": "bakers", "horse": "horses", "fox": "foxes",
}  # fmt: skip
PREDICATES = ("full", "tired", "happy", "hungry", "asleep", "late", "ready", "quiet", "old", "lost")
EATEN = ("food", "bread", "soup", "cake", "fruit", "cheese")
PLACES = ("house", "river", "road", "market", "barn", "garden")
ADVERBS = ("already", "often", "never", "once", "always", "quickly")
ADJECTIVES = ("small", "big", "old", "young", "quiet", "brown")
FILLERS = ("still", "once again", "as always")
PREPOSITIONS = ("near", "behind", "beside", "with")


class Clause(NamedTuple):
    """Words between subject and verb, and how many nouns of the other number (attractors) are among them."""

    words: list[str]
    num_attractors: int


def pick_noun(random_: random.Random, *, plural: bool) -> str:
    """Return a noun in one number."""
    singular = random_.choice(sorted(NOUNS))
    return NOUNS[singular] if plural else singular


def noun_phrase(random_: random.Random, *, plural: bool) -> list[str]:
    """Return an article, perhaps an adjective, and a noun."""
    adjective = [random_.choice(ADJECTIVES)] if random_.random() < 0.3 else []
    return ["the", *adjective, pick_noun(random_, plural=plural)]


def draw_clause(random_: random.Random, *, subject_plural: bool) -> Clause:
    """Draw the words between subject and verb: nothing, prepositional phrases, a relative clause, or both."""
    words: list[str] = []
    num_attractors = 0

    def attach(preposition: str) -> None:
        nonlocal num_attractors
        plural = random_.random() < 0.5
        words.extend([preposition, *noun_phrase(random_, plural=plural)])
        num_attractors += plural != subject_plural

    for _ in range(random_.choice((0, 0, 1, 1, 2))):
        attach(random_.choice(PREPOSITIONS))
    for _ in range(random_.choice((0, 1, 1, 2))):
        words.append(", which")
        words.extend([random_.choice(ADVERBS), "ate", "a", "lot", "of", random_.choice(EATEN)])
        if random_.random() < 0.4:
            words.extend(["in", "the", random_.choice(PLACES)])
        for _ in range(random_.choice((0, 0, 1))):
            attach(random_.choice(PREPOSITIONS))
    if any(word == ", which" for word in words):
        words.append(",")
    if random_.random() < 0.3:
        words.extend(random_.choice(FILLERS).split())
    return Clause(words, num_attractors)


def count_words(words: list[str]) -> int:
    """Count words, punctuation not among them."""
    return sum(word not in (",",) for word in words)


def sentence(subject: list[str], clause: Clause, verb: str, predicate: str) -> str:
    """Join the parts of a sentence."""
    text = " ".join([*subject, *clause.words, verb, predicate]) + "."
    text = text.replace(" ,", ",")
    return text[0].upper() + text[1:]


def draw(random_: random.Random) -> tuple[list[str], bool, Clause, str]:
    """Draw subject, its number, clause and predicate."""
    plural = random_.random() < 0.5
    subject = noun_phrase(random_, plural=plural)
    return subject, plural, draw_clause(random_, subject_plural=plural), random_.choice(PREDICATES)


def draw_pairs(random_: random.Random) -> list[tuple[str, str, int, int, str]]:
    """Draw minimal pairs, at most `PAIRS_A_CELL` for each distance, number of attractors and number of the subject."""
    pairs: dict[str, tuple[str, str, int, int, str]] = {}
    filled: dict[tuple[int, int, bool], int] = {}
    for _ in range(150_000):
        subject, plural, clause, predicate = draw(random_)
        distance = count_words(clause.words)
        cell = (distance, clause.num_attractors, plural)
        if distance > LONGEST_DISTANCE or clause.num_attractors > 3 or filled.get(cell, 0) >= PAIRS_A_CELL:
            continue
        right, wrong = ("were", "was") if plural else ("was", "were")
        good, bad = (sentence(subject, clause, verb, predicate) for verb in (right, wrong))
        if good not in pairs:
            pairs[good] = (good, bad, distance, clause.num_attractors, "plural" if plural else "singular")
            filled[cell] = filled.get(cell, 0) + 1
    return sorted(pairs.values(), key=lambda pair: (pair[2], pair[3], pair[0]))


def main() -> None:
    """Write both files."""
    random_ = random.Random(20)
    pairs = draw_pairs(random_)
    kept_out = {text for pair in pairs for text in pair[:2]}
    sentences: list[str] = []
    while len(sentences) < NUM_SENTENCES:
        subject, plural, clause, predicate = draw(random_)
        text = sentence(subject, clause, "were" if plural else "was", predicate)
        if text not in kept_out:
            sentences.append(text)
    (HERE / "agreement.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    header = "good\tbad\tdistance\tattractors\tsubject\n"
    rows = ("\t".join(map(str, pair)) + "\n" for pair in pairs)
    (HERE / "agreement-pairs.tsv").write_text(header + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
