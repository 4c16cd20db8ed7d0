"""What the tests by programs of others need: one server per session, of small models."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.conftest import FABLES, REPOSITORY, train_quietly

INSTALL = "needs the extra clients: pip install -e '.[clients]'"
HEBREW = "שועל רעב ראה אשכול ענבים תלוי גבוה על הגפן.\nהוא קפץ וקפץ, אך לא הגיע אליו.\n" * 60
_FABLES_TEXT = FABLES.read_text(encoding="utf-8")[:20_000]
_AGREEMENT = "".join((REPOSITORY / "corpora" / "agreement.txt").read_text(encoding="utf-8").splitlines(True)[:3000])
_MODELS: dict[str, tuple[Any, ...]] = {
    "agreement": (_AGREEMENT, "--unit", "line", "--tokenizer", "word", "--steps", 120),
    "fables": (_FABLES_TEXT, "--steps", 100),
    "words": (_FABLES_TEXT, "--tokenizer", "word", "--steps", 20),
    "subwords": (_FABLES_TEXT, "--tokenizer", "subword", "--vocab-size", 300, "--steps", 20),
    "hebrew": (HEBREW, "--steps", 40),
}


@dataclass(frozen=True)
class Served:
    """A running `charnn serve`.

    Args:
        address: its URL.
        models: the models' directories by name; the first is the default.
    """

    address: str
    models: dict[str, Path]


@pytest.fixture(scope="session")
def trained_models(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Path]:
    """Small models by name: of lines of words, of characters, words and subwords, and of Hebrew.

    They are trained once, whatever number of processes run the tests.
    """
    own = tmp_path_factory.getbasetemp()
    root = (own if worker_id == "master" else own.parent) / "served"
    root.mkdir(exist_ok=True)
    with FileLock(root / "lock"):
        return {name: _trained(root, name, *options) for name, options in _MODELS.items()}


def _trained(root: Path, name: str, text: str, *options: object) -> Path:
    """Return the directory of a model, which is trained unless it has been."""
    path = root / name
    if not path.exists():
        directory = root / f"{name}.training"
        directory.mkdir()
        train_quietly(directory, text, "--batch-size", 8, "--bptt", 32, *options).rename(path)
    return path


@pytest.fixture(scope="session")
def served(trained_models: dict[str, Path]) -> Iterator[Served]:
    """A server of all of them."""
    flags = [part for path in trained_models.values() for part in ("-m", str(path))]
    command = [sys.executable, "-m", "charnn", "serve", *flags, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            line = process.stderr.readline()
            address = re.search(r"http://\S+", line)
            assert address, line
            yield Served(address[0], trained_models)
        finally:
            process.terminate()
        process.wait()
        assert "Traceback" not in process.stderr.read()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, one for each process of the tests: playwright starts but once in a process."""
    playwright_api = pytest.importorskip("playwright.sync_api", reason=INSTALL)
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None and not os.environ.get("CI"):
        pytest.skip("there is no chromium; on Debian: apt-get install chromium")
    with playwright_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
