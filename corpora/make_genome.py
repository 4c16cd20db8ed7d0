"""Write `genome.fa` and `genes.fa`: an invented genome of two chromosomes, and genes of the same kind that are not in it.

Run it as `python corpora/make_genome.py`; its output is the same each time. Genes lie on both strands, with a start, a stop and
their own preferences among codons; between them is background in which few letters follow CG. Mobile elements were copied,
slightly changed, to both strands, and are in lower case (soft-masked), as in the files of genome browsers; a gap is a run of N.
Every second record of `genes.fa` is the one before it with its codons in pieces: the same letters in random order.
"""

import random
from pathlib import Path

HERE = Path(__file__).parent
CHROMOSOMES = {"chr1": 100_000, "chr2": 50_000}
ELEMENTS, ELEMENT_LENGTHS, CHANGED = 4, (600, 1_400), 0.02
CODONS, GAPS = (60, 400), (40, 300)
NUM_GENES, LINE = 12, 70
GAP_LENGTH, UNCERTAIN = 500, "RYKMSW"
STOPS = ("TAA", "TGA", "TAG")
COMPLEMENT = str.maketrans("ACGTacgt", "TGCAtgca")


def other_strand(sequence: str) -> str:
    """Return the reverse complement."""
    return sequence.translate(COMPLEMENT)[::-1]


def codon_weights(random_: random.Random) -> dict[str, float]:
    """Return how often genes use each codon: some are a hundred times as frequent as others."""
    codons = [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"]
    return {codon: random_.expovariate(1.0) ** 2 + 0.02 for codon in codons if codon not in STOPS}


def gene(random_: random.Random, weights: dict[str, float]) -> str:
    """Return a gene on the forward strand."""
    number = random_.randint(*CODONS)
    inside = random_.choices(list(weights), list(weights.values()), k=number)
    return "ATG" + "".join(inside) + random_.choices(STOPS, (6, 3, 1))[0]


def background(random_: random.Random, length: int) -> str:
    """Return letters in which A and T come in runs, and G is rare after C."""
    follows = {"A": (5, 2, 2, 4), "C": (4, 3, 1, 4), "G": (3, 3, 3, 3), "T": (3, 2, 3, 5)}
    letters = ["A"]
    for _ in range(length):
        letters += random_.choices("ACGT", follows[letters[-1]])
    return "".join(letters[1:])


def changed(random_: random.Random, sequence: str) -> str:
    """Return a copy of an element, in lower case."""
    copy = (random_.choice("ACGT") if random_.random() < CHANGED else letter for letter in sequence)
    return "".join(copy).lower()


def chromosome(random_: random.Random, length: int, weights: dict[str, float], elements: list[str]) -> str:
    """Return a chromosome of at least a length."""
    parts: list[str] = []
    size = 0
    while size < length:
        new = changed(random_, random_.choice(elements)) if random_.random() < 0.2 else gene(random_, weights)
        parts += [background(random_, random_.randint(*GAPS)), new if random_.random() < 0.5 else other_strand(new)]
        size += sum(map(len, parts[-2:]))
    middle = len(parts) // 2
    return "".join([*parts[:middle], "N" * GAP_LENGTH, *parts[middle:]])


def uncertain(random_: random.Random, sequence: str) -> str:
    """Return a sequence with some letters that stand for two bases."""
    letters = list(sequence)
    for place in random_.sample(range(len(letters)), 20):
        letters[place] = random_.choice(UNCERTAIN) if letters[place] in "ACGT" else letters[place]
    return "".join(letters)


def shuffled(random_: random.Random, sequence: str) -> str:
    """Return a gene whose letters between start and stop are in random order."""
    return sequence[:3] + "".join(random_.sample(sequence[3:-3], len(sequence) - 6)) + sequence[-3:]


def record(name: str, description: str, sequence: str) -> str:
    """Return a record of FASTA."""
    lines = (sequence[first : first + LINE] for first in range(0, len(sequence), LINE))
    return "\n".join([f">{name} {description}", *lines]) + "\n"


def main() -> None:
    """Write both files."""
    random_ = random.Random(1)
    weights = codon_weights(random_)
    elements = [
        gene(random_, weights) + background(random_, random_.randint(*ELEMENT_LENGTHS)) for _ in range(ELEMENTS)
    ]
    genome = [
        record(name, "invented", uncertain(random_, chromosome(random_, length, weights, elements)))
        for name, length in CHROMOSOMES.items()
    ]
    genes = []
    for number in range(1, NUM_GENES + 1):
        sequence = gene(random_, weights)
        genes.append(record(f"gene{number}", "invented, not in genome.fa", sequence))
        genes.append(record(f"shuffled{number}", f"the letters of gene{number}", shuffled(random_, sequence)))
    (HERE / "genome.fa").write_text("".join(genome), encoding="ascii", newline="\n")
    (HERE / "genes.fa").write_text("".join(genes), encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
