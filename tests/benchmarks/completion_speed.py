"""How long a completion takes, as a person types a text: median and slowest, after the state of the text before is known.

    python tests/benchmarks/completion_speed.py RUN FILE [--top 5] [--characters 300]

FILE is text of the model's kind, of which the first characters are typed one by one, from the 200th on.
"""

import argparse
import statistics
import time
from collections import defaultdict
from pathlib import Path

import charnn

BEFORE = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("file", type=Path)
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--characters", type=int, default=300)
    arguments = parser.parse_args()
    text = arguments.file.read_text(encoding="utf-8")
    model = charnn.load(arguments.run)
    model.complete(text[:BEFORE], top=arguments.top)
    milliseconds = defaultdict(list)
    saved = possible = 0
    for end in range(BEFORE + 1, BEFORE + arguments.characters + 1):
        start = time.perf_counter()
        words = model.complete(text[:end], top=arguments.top)
        kind = "next word" if text[end - 1].isspace() else "this word"
        milliseconds[kind].append(1000 * (time.perf_counter() - start))
        if text[end - 1].isspace() and (rest := text[end:].split(maxsplit=1)[:1]):
            possible += 1
            saved += any(word.word == rest[0].strip(",.;:!?") for word in words)
    print(f"{model!r}, --top {arguments.top}")
    for kind, times in milliseconds.items():
        print(f"{kind}: median {statistics.median(times):.1f} ms, slowest of {len(times)} {max(times):.1f} ms")
    print(f"the next word was among the {arguments.top} in {saved} of {possible} cases")


if __name__ == "__main__":
    main()
