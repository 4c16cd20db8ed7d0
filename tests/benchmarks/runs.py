"""One run of `charnn train` and what came of it: shared by the benchmarks that compare such runs."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Curve = list[tuple[float, float]]
"""Progress and validation loss at each evaluation."""


def flags(options: dict[str, str]) -> list[str]:
    """Return options as they stand on a command line."""
    return [part for pair in options.items() for part in pair]


def curve(directory: Path) -> Curve:
    """Return the evaluations of a run so far, which may still be writing."""
    path = directory / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return [(event["progress"], event["valid_loss_nats"]) for event in events if event["event"] == "evaluated"]


def train(
    text: Path,
    directory: Path,
    options: dict[str, str],
    *,
    is_hopeless: Callable[[Curve], bool] = lambda _: False,
    num_threads: int | None = None,
) -> dict[str, Any] | None:
    """Train into `directory` and return what `charnn info` says of it; None where it was stopped as hopeless."""
    command = [sys.executable, "-m", "charnn", "train", str(text), "-o", str(directory), "--overwrite", *flags(options)]
    environment = dict(os.environ) if num_threads is None else {**os.environ, "OMP_NUM_THREADS": str(num_threads)}
    (directory / "metrics.jsonl").unlink(missing_ok=True)
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, env=environment)
        while process.poll() is None:
            time.sleep(0.2)
            if is_hopeless(curve(directory)):
                process.kill()
                process.wait()
                return None
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)}: {said.read()}")
    shown = subprocess.run(
        [sys.executable, "-m", "charnn", "info", str(directory), "--json"], check=True, capture_output=True
    )
    found: dict[str, Any] = json.loads(shown.stdout)
    return found
