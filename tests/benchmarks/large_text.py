"""Speed and memory of reading a text of any size, through the command line.

Makes a text of the given size by repeating and altering FILE, runs `charnn train --steps 20` on it in a process of its own, and samples the
resident memory of this process and of all its children, ten times a second. Prints the speed of each pass over the text
and of all of them together (from the first byte to the last id on disk), the largest resident memory beyond that of an empty
Python process, in all and by phase, and the largest disk use. (Training and evaluating a network with tens of thousands of words needs
memory for their logits, however long the text: pass --batch-size 4 --bptt 32 or --vocab-size 2000 to see that of the text.)

    python tests/benchmarks/large_text.py corpora/fables.txt --megabytes 2000
    python tests/benchmarks/large_text.py corpora/fables.txt --megabytes 2000 --tokenizer word

The text and the model are in a temporary directory (see `--directory`) and are deleted at the end.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

BLOCK_BYTES = 1 << 20
FRACTION_ALTERED = 0.02
TIMING = """
import sys, time
from charnn.text import corpus, progress

times = {}
class Timed(progress.Meter):
    def advance(self, number):
        first, _, num_bytes = times.get(self._task, (time.monotonic(), 0, 0))
        times[self._task] = first, time.monotonic(), num_bytes + number
        super().advance(number)

import charnn.text.corpus, charnn.text.selection
for module in list(sys.modules.values()):
    if getattr(module, "Meter", None) is progress.Meter:
        module.Meter = Timed
prepare = corpus.prepare_corpus
def timed(*arguments, **options):
    started = time.monotonic()
    result = prepare(*arguments, **options)
    times["all of reading"] = started, time.monotonic(), sum(file.num_bytes for file in result.files)
    return result
import charnn.training.run.create as create
create.prepare_corpus = timed
def between(name, before=None, after=None):
    called = getattr(create, name)
    def noted(*arguments, **options):
        if before:
            ended(before)
        result = called(*arguments, **options)
        if after:
            ended(after)
        return result
    setattr(create, name, noted)
between("make_plan", before="reading", after="timing")
between("add_ngrams", after="counting n-grams")
def ended(phase):
    import os
    with open(os.environ["PHASES"], "a") as file:
        file.write(f"{time.time()} {phase}\\n")

from charnn.__main__ import main
try:
    main()
finally:
    for task, (first, last, num_bytes) in times.items():
        if last > first:
            print(f"PASS {task}: {num_bytes / 1e6 / (last - first):,.1f} MB/s in {last - first:.1f} s", file=sys.stderr)
"""


def altered(content: str, num_bytes: int, seed: int) -> Iterator[bytes]:
    """Yield blocks of a text repeated up to a size, in which some words are replaced by others or have a number added."""
    draw = random.Random(seed)
    words = re.findall(r"\s+|\S+", content)
    known = [word for word in words if not word.isspace()]
    written = 0
    while written < num_bytes:
        parts = list(words)
        for _ in range(int(FRACTION_ALTERED * len(parts))):
            place = draw.randrange(len(parts))
            if not parts[place].isspace():
                parts[place] = (
                    draw.choice(known) if draw.random() < 0.9 else f"{draw.choice(known)}{draw.randrange(1000)}"
                )
        block = "".join(parts).encode()
        written += len(block)
        yield block


def write_text(source: Path, target: Path, num_bytes: int) -> None:
    """Write the altered text; after its first 64 MB, blocks of it are repeated, each with a line of its own."""
    content = source.read_text(encoding="utf-8")
    blocks: list[bytes] = []
    written = 0
    with target.open("wb") as file:
        for block in altered(content, min(num_bytes, 64 << 20), 1):
            blocks.append(block)
            written += file.write(block)
        draw = random.Random(2)
        number = 0
        while written < num_bytes:
            block = blocks[draw.randrange(len(blocks))]
            cut = draw.randrange(len(block) // 2)
            cut = block.find(b"\n", cut) + 1
            number += 1
            written += file.write(b"Chapter %d.\n" % number + block[cut:])


def resident_bytes(root: int) -> int:
    """Return the resident memory of a process and all its descendants (Linux)."""
    parents, sizes = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(folder.name)] = int(status[1])
            sizes[int(folder.name)] = int(status[21]) * os.sysconf("SC_PAGE_SIZE")
    family, size = {root}, sizes.get(root, 0)
    grew = True
    while grew:
        grew = False
        for process, parent in parents.items():
            if parent in family and process not in family:
                family.add(process)
                size += sizes[process]
                grew = True
    return size


def disk_bytes(*directories: Path) -> int:
    """Return the size of all files below some directories."""
    total = 0
    for directory in directories:
        for path in directory.rglob("*"):
            try:
                total += path.stat().st_size if path.is_file() else 0
            except FileNotFoundError:
                continue
    return total


class Watch(threading.Thread):
    """Samples the memory and the disk use of a process."""

    def __init__(self, process: "subprocess.Popen[bytes]", directory: Path, empty: int) -> None:
        super().__init__(daemon=True)
        self.process, self.directory, self.empty = process, directory, empty
        self.most_memory = self.most_disk = 0
        self.timeline: list[tuple[float, int]] = []
        self.most_by_phase: dict[str, int] = {}

    def run(self) -> None:
        """Sample until the process ends."""
        started = time.monotonic()
        while self.process.poll() is None:
            now = resident_bytes(self.process.pid) - self.empty
            self.most_memory = max(self.most_memory, now)
            phases = self.directory / "phases"
            ended = phases.read_text().splitlines() if phases.exists() else []
            phase = ("reading", "timing", "counting n-grams", "training")[min(len(ended), 3)]
            self.most_by_phase[phase] = max(self.most_by_phase.get(phase, 0), now)
            self.most_disk = max(self.most_disk, disk_bytes(self.directory / "run", self.directory / "cache"))
            self.timeline.append((time.monotonic() - started, now))
            time.sleep(0.1)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the text to repeat and alter")
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--directory", type=Path, default=None, help="where the text and the model are")
    parser.add_argument("--timeline", action="store_true", help="print the memory through time")
    parser.add_argument("--text", type=Path, default=None, help="a text of that size, made by an earlier call")
    options, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory(dir=options.directory, ignore_cleanup_errors=True) as folder:
        directory = Path(folder)
        text = options.text or directory / "large.txt"
        if not text.exists():
            write_text(options.file, text, int(options.megabytes * 1e6))
        (directory / "run").mkdir()
        (directory / "cache").mkdir()
        empty = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        time.sleep(0.5)
        empty_bytes = resident_bytes(empty.pid)
        empty.communicate(b"\n")
        command = [
            sys.executable,
            "-c",
            TIMING,
            "train",
            str(text),
            "--steps",
            "20",
            "-o",
            str(directory / "run" / "m"),
            *others,
        ]
        environment = {**os.environ, "CHARNN_CACHE_DIR": str(directory / "cache"), "PHASES": str(directory / "phases")}
        started = time.monotonic()
        process = subprocess.Popen(command, env=environment)
        watch = Watch(process, directory, empty_bytes)
        watch.start()
        code = process.wait()
        watch.join()
        size = text.stat().st_size
        print(f"exit status {code}; {size / 1e6:,.0f} MB; {time.monotonic() - started:.1f} s in all")
        print(
            f"most resident memory above an empty process ({empty_bytes / 1e6:.0f} MB): {watch.most_memory / 1e6:,.0f} MB"
        )
        print(
            "  by phase: " + ", ".join(f"{phase} {size / 1e6:,.0f} MB" for phase, size in watch.most_by_phase.items())
        )
        print(f"most disk use besides the text: {watch.most_disk / 1e6:,.0f} MB")
        if options.timeline:
            print(" ".join(f"{seconds:.0f}s:{memory / 1e6:.0f}" for seconds, memory in watch.timeline[::10]))


if __name__ == "__main__":
    main()
