"""Lines that repeat a string after a delay: eight random letters, fillers, a recall mark, and the same letters.

    python tests/benchmarks/copying_data.py --delay 100 --lines 5000 --seed 1 > copying.txt

Source: the copy problem of Hochreiter and Schmidhuber (1997) and Arjovsky et al. (2016), Unitary evolution recurrent neural
networks, with letters.
"""

import argparse
import random
import string
import sys
from collections.abc import Iterator

NUM_LETTERS = 8
FILLER, RECALL = ".", ">"


def copying_lines(delay: int, num_lines: int, seed: int) -> Iterator[str]:
    """Yield lines, the same for the same arguments on every machine."""
    generator = random.Random(seed)
    for _ in range(num_lines):
        letters = "".join(generator.choice(string.ascii_lowercase) for _ in range(NUM_LETTERS))
        yield letters + delay * FILLER + RECALL + letters


def main() -> None:
    """Write lines to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=int, default=100)
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.stdout.writelines(f"{line}\n" for line in copying_lines(options.delay, options.lines, options.seed))


if __name__ == "__main__":
    main()
