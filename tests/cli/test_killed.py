"""Runs that are killed outright: what the next start finds, and what it leaves."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SMALL = ("--hidden-size", "8", "--batch-size", "4", "--bptt", "16", "--precision", "fp32", "--ngram-order", "0")


def killed_when(condition, *arguments):
    """Start a command and kill it once a condition holds, or after its end."""
    command = [sys.executable, "-m", "charnn", *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and not condition():
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("moment", ["staging", "training", "checkpoint"])
def test_what_a_killed_run_left_is_gone_after_the_next(charnn, moment):
    Path("text.txt").write_text("the cats were full of food\n" * 200)
    conditions = {
        "staging": lambda: any(".charnn-new" in path.name for path in Path("runs").glob("*") if Path("runs").exists()),
        "training": lambda: Path("runs/m/metrics.jsonl").exists(),
        "checkpoint": lambda: any(path.suffix in (".new", ".part") for path in Path("runs/m").glob("*")),
    }
    Path("runs").mkdir()
    killed_when(
        conditions[moment], "train", "text.txt", "--steps", 20_000, *SMALL, "-o", "runs/m", "--save-every", 0.05
    )
    is_model = Path("runs/m/config.json").exists()
    arguments = ("--resume",) if is_model else ("text.txt", *SMALL)
    again = charnn("train", *arguments, "-o", "runs/m", "--minutes", 0.03)
    assert again.status == 0 or "has spent its budget" in again.err, again.err
    left = [
        path.name for path in Path("runs").rglob("*") if path.name.startswith(".") or path.suffix in (".new", ".part")
    ]
    assert not [name for name in left if "lock" not in name]
    assert charnn("sample", "-m", "runs/m", "-n", 3).status == 0
