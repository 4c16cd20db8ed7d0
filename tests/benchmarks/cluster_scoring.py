"""Score a large file in parts, with Ray and with --shard, against plain `score`: bytes, speed, and what survives kill -9.

    python tests/benchmarks/cluster_scoring.py FILE RUN [--lines 1000000] [--workers 2] [--shards 20] [--rounds 1] [--skip WHAT ...]

FILE is made, of pairs of the names in corpora/names.txt, unless it exists; RUN is a model. Needs Linux and the extra `cluster`.

Plain `score`, `--ray` and `--shard` (as many processes at a time as workers, one core each) take turns; what is printed is the
ratio of their speeds to plain `score`, start and merge included. Then one worker is killed in the middle of a run with Ray, which
goes on; in another run the driver is killed, and the same command run again. Exits with 1 where a byte of an output differs.
"""

import argparse
import hashlib
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NAMES = Path(__file__).parent.parent.parent / "corpora" / "names.txt"
CHARNN = [sys.executable, "-m", "charnn"]
SECONDS_TO_END = 240
"""Ray's own helpers notice the end of a killed driver within a minute or two."""


def main() -> None:
    """Time, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("run", type=Path)
    for name, default in (("lines", 1_000_000), ("workers", 2), ("shards", 20), ("rounds", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--skip", nargs="*", default=[], choices=["speed", "worker", "driver"])
    options = parser.parse_args()
    make_file(options.file, options.lines)
    bench = Bench(options.file, options.run, options.workers, options.shards)
    seconds = bench.timed("plain", bench.plain)
    if "speed" not in options.skip:
        for turn in range(options.rounds):
            seconds = bench.timed("plain", bench.plain) if turn else seconds
            for name, score in (("ray", bench.ray), ("shard", bench.shard)):
                print(f"{name}: {seconds / bench.timed(name, score):.3f} of the speed of plain score", flush=True)
    if "worker" not in options.skip:
        bench.timed("worker killed", bench.with_killed_worker)
    if "driver" not in options.skip:
        bench.timed("driver killed", bench.with_killed_driver)
    sys.exit(int(bench.has_difference))


def make_file(path: Path, num_lines: int) -> None:
    """Write lines of two names each, unless the file exists."""
    if path.exists():
        return
    names, draw = NAMES.read_text(encoding="utf-8").splitlines(), random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{draw.choice(names)} {draw.choice(names)}\n" for _ in range(num_lines))


class Bench:
    """The ways to score the file, each into an output of its own, beside it."""

    def __init__(self, file: Path, run: Path, num_workers: int, num_shards: int) -> None:
        self._score = [*CHARNN, "score", str(file), "-m", str(run), "--format", "jsonl"]
        self._folder, self._num_workers, self._num_shards = file.parent, num_workers, num_shards
        self._plain = self._output("plain")
        self.has_difference = False

    def _output(self, name: str) -> Path:
        return self._folder / f"scored-{name.replace(' ', '-')}.jsonl"

    def timed(self, name: str, score: Callable[[Path], None]) -> float:
        """Score in one way; print and return the seconds that it took."""
        output = self._output(name)
        output.unlink(missing_ok=True)
        began = time.monotonic()
        score(output)
        seconds = time.monotonic() - began
        self.has_difference |= (is_different := digest(output) != digest(self._plain))
        left = [path.name for path in self._folder.glob(f"{output.name}.*")]
        state = "DIFFERS from plain" if is_different else "byte-identical"
        print(f"{name}: {seconds:.1f} s, {state}{f', left {left}' if left else ''}", flush=True)
        return seconds

    def plain(self, output: Path) -> None:
        """Score in one go."""
        subprocess.run([*self._score, "-o", str(output)], check=True, stderr=subprocess.DEVNULL)

    def _ray(self, output: Path) -> "subprocess.Popen[bytes]":
        command = [*self._score, "-o", str(output), "--ray", "local"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._num_workers)}  # as many cores as workers
        return subprocess.Popen(command, env=environment, stderr=(self._folder / "ray.log").open("ab"))

    def ray(self, output: Path) -> None:
        """Score with Ray on this machine."""
        ended_well(self._ray(output))

    def shard(self, output: Path) -> None:
        """Score part by part, several at a time, and merge."""
        environment, running = {**os.environ, "OMP_NUM_THREADS": "1"}, []
        for number in range(1, self._num_shards + 1):
            if len(running) == self._num_workers:
                ended_well(running.pop(0))
            command = [*self._score, "-o", str(output), "--shard", f"{number}/{self._num_shards}"]
            running.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        for process in running:
            ended_well(process)
        subprocess.run([*CHARNN, "score", "--merge", "-o", str(output)], check=True, stderr=subprocess.DEVNULL)

    def _wait_for_half(self, output: Path, process: "subprocess.Popen[bytes]") -> None:
        while process.poll() is None:
            markers = list(self._folder.glob(f"{output.name}.part-*.done"))
            if markers and 2 * len(markers) >= int(markers[0].name.split("-of-")[1].split(".")[0]):
                return
            time.sleep(0.2)

    def with_killed_worker(self, output: Path) -> None:
        """Kill a worker in the middle."""
        driver = self._ray(output)
        self._wait_for_half(output, driver)
        worker = next(pid for pid, name in descendants(driver.pid) if name.startswith("ray::") and "_guarded" in name)
        os.kill(worker, 9)
        print(f"killed worker {worker}", flush=True)
        ended_well(driver)

    def with_killed_driver(self, output: Path) -> None:
        """Kill the driver in the middle, and score again."""
        driver = self._ray(output)
        self._wait_for_half(output, driver)
        before = [pid for pid, _ in descendants(driver.pid)]
        driver.kill()
        driver.wait()
        killed = time.monotonic()
        num_done = len(list(self._folder.glob(f"{output.name}.part-*.done")))
        print(f"killed driver {driver.pid} with {num_done} parts finished", flush=True)
        self.ray(output)
        while (left := [pid for pid in before if is_running(pid)]) and time.monotonic() < killed + SECONDS_TO_END:
            time.sleep(1)
        print(f"{len(left)} of {len(before)} processes of the killed driver are left", flush=True)


def ended_well(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process. Raises RuntimeError if it failed."""
    if process.wait():
        raise RuntimeError(f"{process.args} ended with {process.returncode}")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Yield the id and the command line of each process below another one."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    below = {str(pid)}
    for _, (own, parent, name) in itertools.product(range(5), rows):
        if parent in below and own not in below:
            below.add(own)
            yield int(own), name


if __name__ == "__main__":
    main()
