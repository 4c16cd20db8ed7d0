"""Kill a training run at random moments, resume it each time on another number of threads, and compare its model with that of
an uninterrupted run.

    python tests/benchmarks/kill_and_resume.py TEXT [--kills 20] [--steps 6000] [--seed 1]

Exits with 1 where a byte of `model.safetensors` differs.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def begin(run: Path, text: str, steps: int) -> list[str]:
    """Return the command that begins a run."""
    options = [
        "--steps",
        str(steps),
        "--hidden-size",
        "64",
        "--dropout",
        "0.2",
        "--precision",
        "fp32",
        "--save-every",
        "0.3",
    ]
    return [sys.executable, "-m", "charnn", "train", text, "-o", str(run), *options]


def resume(run: Path, num_threads: int) -> list[str]:
    """Return the command that goes on with a run."""
    command = [sys.executable, "-m", "charnn", "train", "--resume", "-o", str(run)]
    return [*command, "--threads", str(num_threads)]


def saved_step(run: Path) -> int:
    """Return the step of the last checkpoint."""
    file = run / "training.json"
    return int(json.loads(file.read_text(encoding="utf-8"))["step"]) if file.exists() else -1


def digest(run: Path) -> str:
    """Return the SHA-256 of a run's weights."""
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    """Run, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    for name, default in (("kills", 20), ("steps", 6000), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder, "whole"), Path(folder, "parts")
        subprocess.run(begin(whole, options.text, options.steps), check=True, capture_output=True)
        command, num_kills = begin(parts, options.text, options.steps), 0
        while num_kills < options.kills and saved_step(parts) < options.steps:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(draw.uniform(0.2, 8.0))
            process.kill()
            process.wait()
            num_kills += 1
            num_threads = draw.choice((1, 2, 3, 4))
            print(
                f"kill {num_kills:2}: last checkpoint at step {saved_step(parts):,}; then {num_threads} threads",
                flush=True,
            )
            command = resume(parts, num_threads) if (parts / "config.json").exists() else command
        if saved_step(parts) < options.steps:
            subprocess.run(command, check=True, capture_output=True)
        equal = digest(parts) == digest(whole)
        print(
            f"{num_kills} kills; model.safetensors {'is byte-identical' if equal else 'DIFFERS'} ({digest(whole)[:16]})"
        )
        sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
