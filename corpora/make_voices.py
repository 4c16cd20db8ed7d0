"""Write `voices.csv`: what the most talkative persons of the dialogues in `fables.txt` say, with columns speaker and text.

Run it as `python corpora/make_voices.py`; its output is the same each time.
"""

import csv
import re
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
MIN_SPEECHES = 20


def main() -> None:
    """Cut the speeches out, each a paragraph that begins with a name in capitals and a colon."""
    paragraphs = re.split(r"\n\s*\n", (HERE / "fables.txt").read_text(encoding="utf-8"))
    found = [match for match in (re.match(r"([A-Z][A-Z ]+): (.*)", each, re.DOTALL) for each in paragraphs) if match]
    speeches = [(match[1].title(), " ".join(match[2].split())) for match in found]
    counts = Counter(speaker for speaker, _ in speeches)
    with (HERE / "voices.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("speaker", "text"))
        writer.writerows(row for row in speeches if counts[row[0]] >= MIN_SPEECHES)


if __name__ == "__main__":
    main()
