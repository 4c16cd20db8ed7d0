"""How long charnn takes to begin, against the import of what it is made with. Prints ratios of medians.

python tests/benchmarks/start_up.py RUN [--rounds 15]

The commands take turns, so that a busy machine slows all of them. Compiled modules are kept where a first round, which does not
count, has put them, as an installed charnn has them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHARNN = (sys.executable, "-m", "charnn")
COMMAND_LINE = (sys.executable, "-c", "import typer, rich.console")
WITH_NUMPY = (sys.executable, "-c", "import numpy, typer, rich.console")


def seconds_of(command: tuple[str, ...], environment: dict[str, str]) -> float:
    """Return how long a command takes, from nothing to its end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a model")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    model = ("-m", str(options.run))
    pairs = {
        "charnn --help": ((*CHARNN, "--help"), COMMAND_LINE),
        "charnn sample --help": ((*CHARNN, "sample", "--help"), COMMAND_LINE),
        "charnn sample -n 1": ((*CHARNN, "sample", "-n", "1", *model), WITH_NUMPY),
        "charnn score --text": ((*CHARNN, "score", "--text", "The cats were full", *model), WITH_NUMPY),
    }
    commands = dict.fromkeys(command for pair in pairs.values() for command in pair)
    seconds: dict[tuple[str, ...], list[float]] = {command: [] for command in commands}
    with tempfile.TemporaryDirectory() as compiled:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(options.rounds + 1):
            for command, found in seconds.items():
                taken = seconds_of(command, environment)
                if number:
                    found.append(taken)
    medians = {command: statistics.median(found) for command, found in seconds.items()}
    for name, (command, reference) in pairs.items():
        ratio = medians[command] / medians[reference]
        print(f"{name}: {medians[command]:.3f} s, {ratio:.2f} times {reference[-1]!r} ({medians[reference]:.3f} s)")


if __name__ == "__main__":
    main()
