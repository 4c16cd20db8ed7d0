"""One run of `charnn train` and what came of it: shared by the benchmarks that compare such runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def flags(options: dict[str, str]) -> list[str]:
    """Return options as they stand on a command line; those with an empty value are switches."""
    return [part for pair in options.items() for part in pair if part]


def train(text: Path, directory: Path, options: dict[str, str], *, num_threads: int | None = None) -> dict[str, Any]:
    """Train into `directory` and return what `charnn info` says of it."""
    command = [sys.executable, "-m", "charnn", "train", str(text), "-o", str(directory), "--overwrite", *flags(options)]
    environment = dict(os.environ) if num_threads is None else {**os.environ, "OMP_NUM_THREADS": str(num_threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    shown = subprocess.run(
        [sys.executable, "-m", "charnn", "info", str(directory), "--json"], check=True, capture_output=True
    )
    found: dict[str, Any] = json.loads(shown.stdout)
    return found
