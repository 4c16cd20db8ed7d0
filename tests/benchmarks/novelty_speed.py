"""How long it takes to compare samples with a training text.

    python tests/benchmarks/novelty_speed.py TEXT [--megabytes 1 10 100] [--rounds 3]

TEXT is read as bytes, and repeated or cut to each size; one sample of 500 tokens is half a copy, half letters drawn at random.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from charnn.analysis.memorization import measure_memorization


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--megabytes", type=float, nargs="*", default=[1.0, 10.0, 100.0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ids = np.frombuffer(options.text.read_bytes(), dtype=np.uint8)
    random = np.random.default_rng(1)
    for megabytes in options.megabytes:
        training = np.resize(ids, int(megabytes * 1e6))
        held_out = random.choice(ids, 20_000)
        place = len(training) * 2 // 3
        sample = np.concatenate([training[place : place + 250], random.choice(ids, 250)])
        seconds = []
        for _ in range(options.rounds):
            begun = time.perf_counter()
            (found,) = measure_memorization([sample], training, held_out, newline_id=10)
            seconds.append(time.perf_counter() - begun)
        print(
            f"{megabytes:g} MB: {statistics.median(seconds):.2f} s, longest span {found.copied.length}, {found.is_copied=}"
        )


if __name__ == "__main__":
    main()
