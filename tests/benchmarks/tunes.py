"""Tunes in ABC notation: bits a character beside an n-gram, and how many sampled tunes are music with bars of the right length.

    python tests/benchmarks/tunes.py [ABC] [--minutes 2.5] [--temperatures 1,0.8,0.6] [--keep DIRECTORY]

ABC is a file or directory, or the name of a collection of the music21 package, which must be installed. A tenth of the tunes is held
out, drawn with the seed; charnn trains on the others with nothing but the budget. Then 200 tunes are sampled at each temperature. With
--keep, the model stays in that directory, and a second run samples from it without training again.

A tune is right if music21 parses it, and each of its bars has the length of the metre, in the notes as music21's tokens have them (its
measures would not do: it divides bars that are too long). A bar beside a repeat sign, a double bar, the number of an ending, or the
beginning or end of the tune may be shorter (a pickup, and the bar that it completes), but never longer. A line end is a bar line
where the bar before it is complete: the Essen collection writes none there. A tune without a metre or with a single bar is not right.
The same is counted of 200 held-out tunes: not all of them are right, and a model of them need not be better.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import music21
from training_runs import train

from charnn.text.tunes import tunes

NUM_JUDGED = 200
RIGHT = "right"
MIN_LINE = 16
"""Length in characters of a line of music that is looked up in the training text."""


@dataclass
class Bar:
    """The length of a bar and of its metre in quarter notes, and whether a section may begin or end beside it."""

    length: Fraction
    whole: Fraction
    is_border: bool


def metre_length(field: str) -> Fraction | None:
    """Return the length of a bar in quarter notes, by a field such as `M:6/8`; None for another text."""
    metre = {"C": "4/4", "C|": "2/2"}.get(field[2:].strip(), field[2:].strip())
    match = re.fullmatch(r"(\d+)/(\d+)", metre)
    return Fraction(4 * int(match[1]), int(match[2])) if match and int(match[2]) else None


def bars_of(tune: str) -> list[Bar]:
    """Return the bars of a tune, without those before its first metre."""
    fields: dict[str, str] = {}
    bars: list[Bar] = []
    length, begins_section = Fraction(0), True

    def close(*, at_border: bool) -> None:
        nonlocal length, begins_section
        whole = metre_length(fields.get("M", ""))
        if length and whole:
            bars.append(Bar(length, whole, begins_section or at_border))
            begins_section = at_border
        elif at_border:
            begins_section = True
            if bars:
                bars[-1].is_border = True
        length = Fraction(0)

    for line in tune.splitlines():
        line = re.sub("%.*", "", line)
        if re.match(r"[A-Za-z]:(?!\|)", line):
            fields |= {line[0]: line} if line[0] in "MLK" else {}
            continue
        handler = music21.abcFormat.ABCHandler()
        handler.process("\n".join(["X:1", *fields.values(), line]))
        for token in handler.tokens:
            if isinstance(token, music21.abcFormat.ABCBar):
                close(at_border=token.barType != "barline" or token.barStyle != "regular" or bool(token.repeatForm))
            elif token.src.startswith("[M:"):
                fields["M"] = token.src[1:-1]
            elif isinstance(token, music21.abcFormat.ABCNote) and not token.inGrace:
                tuplet = token.activeTuplet
                times = Fraction(tuplet.tupletMultiplier() if tuplet else 1).limit_denominator(64)
                length += times * Fraction(token.quarterLength).limit_denominator(768)
        if length == metre_length(fields.get("M", "")):
            close(at_border=False)
    close(at_border=True)
    return bars


def judged(tune: str) -> str:
    """Return `RIGHT`, or what is wrong with a tune."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            num_notes = len(music21.converter.parseData(tune, format="abc").parts[0].recurse().notes)
            bars = bars_of(tune)
    except Exception as error:  # music21 raises what it comes across
        return f"not parsed ({type(error).__name__})"
    if not num_notes or len(bars) < 2:
        return "no notes, no metre or one bar"
    bars[0].is_border = bars[-1].is_border = True
    if any(bar.length > bar.whole for bar in bars):
        return "a bar is too long"
    if any(bar.length < bar.whole and not bar.is_border for bar in bars):
        return "a bar is too short"
    return RIGHT


def music_lines(tune: str) -> list[str]:
    """Return the longer lines that are no fields."""
    lines = [line.strip() for line in tune.splitlines() if not re.match(r"[A-Za-z]:|%", line)]
    return [line for line in lines if len(line) >= MIN_LINE]


def collected(name: str) -> list[str]:
    """Return all tunes of a file, a directory or a collection."""
    path = Path(name) if Path(name).exists() else Path(music21.__file__).parent / "corpus" / name
    files = sorted(path.rglob("*.abc")) if path.is_dir() else [path]
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    return [tune for text in texts if "X:" in text for tune in tunes(iter([text]), name)]


def sampled(run: Path, temperature: float) -> list[str]:
    """Return new tunes."""
    command = [
        sys.executable,
        "-m",
        "charnn",
        "sample",
        "-m",
        str(run),
        "-n",
        "3000",
        "-t",
        str(temperature),
        "--seed",
        "1",
    ]
    command += ["--num-samples", str(NUM_JUDGED), "--format", "jsonl"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(line)["text"] for line in done.stdout.splitlines()]


def report(label: str, found: Sequence[str], known: set[str]) -> None:
    """Print how many tunes are right, what is wrong with the others, and how many of their lines are copied."""
    verdicts = Counter(map(judged, found))
    lines = [line for tune in found for line in music_lines(tune)]
    copied = sum(line in known for line in lines) / max(1, len(lines))
    wrong = ", ".join(f"{what} {count}" for what, count in verdicts.most_common() if what != RIGHT)
    parsed = len(found) - sum(count for what, count in verdicts.items() if what.startswith("not parsed"))
    print(
        f"{label}: {len(found)} tunes, parsed {parsed / len(found):.1%}, right {verdicts[RIGHT] / len(found):.1%} ({wrong}); "
        f"{copied:.1%} of {len(lines):,} lines of music are in the training text",
        flush=True,
    )


def written(path: Path, tunes_: Iterable[str]) -> Path:
    """Write tunes to a file."""
    path.write_text("\n\n".join(tunes_) + "\n", encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("abc", nargs="?", default="essenFolksong")
    parser.add_argument("--minutes", type=float, default=2.5)
    parser.add_argument("--temperatures", default="1,0.8,0.6")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    found = collected(arguments.abc)
    random.Random(arguments.seed).shuffle(found)
    num_held_out = len(found) // 10
    held_out, rest = found[:num_held_out], found[num_held_out:]
    with tempfile.TemporaryDirectory() as name:
        directory = arguments.keep or Path(name)
        directory.mkdir(exist_ok=True)
        run = directory / "run"
        if not run.exists():
            valid = written(directory / "valid.abc", held_out)
            options = {"--unit": "tune", "--valid": str(valid), "--minutes": str(arguments.minutes)}
            options["--seed"] = str(arguments.seed)
            facts = train(written(directory / "train.abc", rest), run, options)
            (directory / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        facts = json.loads((directory / "facts.json").read_text(encoding="utf-8"))
        shown = {key: value for key, value in facts.items() if isinstance(value, int | float | str)}
        print(
            f"{arguments.abc}: {len(found):,} tunes, {sum(map(len, found)):,} characters; {json.dumps(shown)}",
            flush=True,
        )
        known = {line for tune in rest for line in music_lines(tune)}
        report("held-out tunes", held_out[:NUM_JUDGED], known)
        for temperature in arguments.temperatures.split(","):
            report(f"sampled at {temperature}", sampled(run, float(temperature)), known)


if __name__ == "__main__":
    main()
