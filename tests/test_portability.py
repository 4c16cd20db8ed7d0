"""The whole command line where the system refuses what Windows refuses (see `windows_like`)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FABLES

SCRIPT = Path(__file__).with_name("windows_like.py")
SMALL = ("--hidden-size", "16", "--embedding-size", "4", "--batch-size", "4", "--bptt", "16", "--precision", "fp32")

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="what a process has open is read from /proc, which is not there"
)


def windows_like(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python on a system whose terminal knows no UTF-8, with one thread, so that a busy machine is no slower in turn."""
    environment = os.environ | {
        "PYTHONIOENCODING": "cp1252:strict",
        "PYTHONUTF8": "0",
        "COLUMNS": "100",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-X", "warn_default_encoding", *arguments]
    return subprocess.run(command, capture_output=True, check=False, env=environment)


def test_every_command_works_where_nothing_in_use_can_be_moved():
    Path("text.txt").write_bytes(FABLES.read_bytes()[:6000])
    train = ["train", "text.txt", "-o", "runs/a", "--steps", "20", *SMALL]
    commands = [
        train,
        ["train", "--resume", "-o", "runs/a", "--steps", "25"],
        ["sample", "The", "-n", "20", "--seed", "1", "--novelty", "--save-state", "state", "-o", "written.txt"],
        ["sample", "-n", "5", "--seed", "1", "--load-state", "state"],
        ["score", "text.txt", "--unit", "line", "-o", "scores.tsv", "--summary", "summary.json"],
        ["score", "--text", "The fox", "--cache", "--temperature", "fit", "--mix-ngram", "--per-token"],
        ["predict", "The"],
        ["tokenize", "The fox\nate"],
        [*train, "--overwrite", "--direction", "both", "--unit", "line"],
        ["train", "--resume", "-o", "runs/a", "--steps", "25"],
        ["predict", "The ____ox", "--direction", "both"],
        ["info", "runs/a", "runs/a/backward"],
        [*train, "--overwrite", "--direction", "backward"],
        ["train", "text.txt", "--find-lr", *SMALL],
        ["compare", "runs/a", "runs/a", "text.txt"],
        ["recipes", "--json"],
    ]
    result = windows_like(str(SCRIPT), json.dumps(commands))
    shown = result.stdout.decode("utf-8")
    assert result.returncode == 0, shown + result.stderr.decode("utf-8")
    assert "⏎" in shown
    assert "─" in shown
    assert "\r" not in shown
    left = sorted(path.name for place in (Path(), Path("runs")) for path in place.iterdir())
    assert left == ["a", "runs", "scores.tsv", "state", "summary.json", "text.txt", "written.txt"]


def test_what_windows_refuses_is_refused_here():
    program = f"""
import sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
import mmap, os, pathlib, shutil, windows_like
windows_like.hide_what_windows_lacks()
windows_like.refuse_what_windows_refuses()

def refused(error, act, *arguments):
    try:
        act(*arguments)
    except error:
        return
    raise AssertionError(f"{{act}} {{arguments}} was not refused")

there = pathlib.Path("there")
there.mkdir()
one, other = there / "one", there / "other"
one.write_bytes(b"1"), other.write_bytes(b"2")
file = one.open("rb")
mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
for _ in range(2):  # open, and then mapped only
    for act in (lambda: one.rename("new"), lambda: one.replace(other), lambda: other.replace(one), one.unlink,
                lambda: there.rename("elsewhere"), lambda: shutil.rmtree(there)):
        refused(PermissionError, act)
    file.close()
mapped.close()
refused(FileExistsError, one.rename, other)
one.replace(other)
there.rename("elsewhere")
shutil.rmtree("elsewhere")
refused(PermissionError, exec, "import os; os.open('.', os.O_RDONLY)", {{"__name__": "charnn.x"}})
for absent in ("import fcntl", "from os import fork", "import signal; signal.SIGHUP"):
    refused((ImportError, AttributeError), exec, absent, {{"__name__": "charnn.x"}})
    exec(absent, {{"__name__": "y"}})
"""
    result = windows_like("-c", program)
    assert result.returncode == 0, result.stderr.decode("utf-8")
