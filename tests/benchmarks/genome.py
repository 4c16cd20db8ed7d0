"""Bits per base of a genome: the network, the n-gram model and both, against adaptive counts and `xz -9`.

    python tests/benchmarks/genome.py GENOME.fa [--minutes 1] [--one-strand] [--no-network]

The last tenth of the bases is held out. The network and the n-gram model learn from the rest, in M minutes. The counts learn from
the rest, and then from each held-out base after it is predicted, as in a compressor: P = (n + a) / (N + 4a) in the last 2 or 12
bases, with a = 1 or 1/16; "inverted repeats" counts the other strand of what was read, too. `xz` is the size of the whole less
that of the rest; both get one byte a base. Records are joined; letters but A, C, G and T are left out for the counts and xz.
"""

import argparse
import lzma
import math
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from charnn.text.decoding import decoded
from charnn.text.fasta import Fasta, fasta_text
from charnn.text.sources import find_sources
from tests.benchmarks.training_runs import train

HELD_OUT = 0.1


def bases(path: str) -> np.ndarray:
    """Return the bases of all records as numbers from 0 to 3 (N,)."""
    (source,) = find_sources([path])
    text = "".join(fasta_text(path, decoded(source, "utf-8"), Fasta("DNA", "upper", "skip")))
    codes = np.full(256, 4, dtype=np.int64)
    codes[np.frombuffer(b"ACGT", dtype=np.uint8)] = np.arange(4)
    numbers = codes[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
    return numbers[numbers < 4]


def adaptive_bits(sequence: np.ndarray, num_train: int, *, order: int, alpha: float, inverted: bool) -> float:
    """Return the mean bits of the bases from `num_train` on, each predicted by the counts of all before it."""
    number, targets = len(sequence), sequence[order:]
    contexts, others = np.zeros(number - order, dtype=np.int64), np.zeros(number - order, dtype=np.int64)
    for place in range(order):
        contexts = 4 * contexts + sequence[place : number - order + place]
        others += (3 - sequence[place + 1 : number - order + place + 1]) * 4**place
    times = 2 * np.arange(number - order)
    if inverted:  # after each base, what precedes it on the other strand
        contexts, times = np.concatenate([contexts, others]), np.concatenate([times, times + 1])
        targets = np.concatenate([targets, 3 - sequence[: number - order]])
    in_order = np.lexsort((times, contexts))
    contexts, targets = contexts[in_order], targets[in_order]
    starts = np.flatnonzero(np.concatenate([[True], contexts[1:] != contexts[:-1]]))
    first = np.repeat(starts, np.diff(starts, append=len(contexts)))
    before = np.arange(len(contexts)) - first
    seen = np.zeros(len(contexts), dtype=np.int64)
    for base in range(4):
        is_base = targets == base
        earlier = np.cumsum(is_base) - is_base
        seen[is_base] = (earlier - earlier[first])[is_base]
    bits = -np.log2((seen + alpha) / (before + 4 * alpha))
    is_scored = (times[in_order] % 2 == 0) & (times[in_order] >= 2 * (num_train - order))
    return float(bits[is_scored].mean())


def xz_bits(sequence: np.ndarray, num_train: int) -> float:
    """Return the bits a base that `xz -9` needs for the bases from `num_train` on."""
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[sequence].tobytes()
    whole, beginning = (len(lzma.compress(part, preset=9)) for part in (letters, letters[:num_train]))
    return 8 * (whole - beginning) / (len(letters) - num_train)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("genome")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--one-strand", action="store_true", help="train without --reverse-complement")
    parser.add_argument("--no-network", action="store_true")
    arguments = parser.parse_args()
    sequence = bases(arguments.genome)
    num_train = int(len(sequence) * (1 - HELD_OUT))
    print(f"{len(sequence):,} bases, {len(sequence) - num_train:,} held out")
    if not arguments.no_network:
        options = {"--minutes": f"{arguments.minutes:g}"}
        options |= {} if arguments.one_strand else {"--reverse-complement": ""}
        with tempfile.TemporaryDirectory() as directory:
            started = time.monotonic()
            facts = train(Path(arguments.genome), Path(directory, "run"), options)
            seconds = time.monotonic() - started
            size = sum(file.stat().st_size for file in Path(directory, "run").glob("ngram*"))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        strands = "one strand" if arguments.one_strand else "both strands"
        print(f"{strands}, {arguments.minutes:g} minutes ({seconds:.0f} s), on {facts['valid_num_tokens']:,} tokens:")
        for key, name in (
            ("valid_loss_nats", "network"),
            ("ngram_loss_nats", f"{facts['ngram_order']}-gram model"),
            ("mixture_loss_nats", "interpolated"),
        ):
            print(f"  {name}: {facts[key] / math.log(2):.4f}")
        print(
            f"  n-grams on disk {size / 1e6:.0f} MB, most memory {peak:,.0f} MiB, parameters {facts['num_parameters']:,}"
        )
    for order, alpha, inverted in (
        (2, 1.0, False),
        (12, 1.0, False),
        (12, 1.0, True),
        (12, 1 / 16, True),
        (16, 1 / 16, True),
    ):
        bits = adaptive_bits(sequence, num_train, order=order, alpha=alpha, inverted=inverted)
        print(f"order-{order} counts, a = {alpha:g}{', inverted repeats' if inverted else ''}: {bits:.4f}")
    print(f"xz -9: {xz_bits(sequence, num_train):.4f}")


if __name__ == "__main__":
    main()
