"""Every command at every door: signals, streams that are closed, full or not read, outputs that are needed, inputs that fail.

Whatever happens, no source and no model file changes, an output is the old one or the whole new one, the exit status is 0, 1, 2 or
128 + the signal, and an error is one line at the end of stderr that names the file.
"""

import errno
import hashlib
import importlib
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import pytest

from charnn.cli.registry import COMMANDS, import_command
from charnn.interrupts import INTERRUPTS
from tests.conftest import train_quietly

SMALL = "--hidden-size 8 --embedding-size 4 --batch-size 4 --bptt 16 --precision fp32"
TEXT = "The fox asked the heron.\nThe cat was on the mat.\n"


@dataclass(frozen=True)
class Row:
    """A command as it is called.

    Args:
        call: its arguments, with RUN for the model, IN for the file that it reads, OUT for the one that it writes.
        works_in: what it calls while it works, by its dotted name.
        writes: whether it writes results to standard output.
        handles: whether it ends in its own way at SIGTERM and SIGHUP; the others are ended by the system.
        source: the file that stands for IN.
        empty: the exit status if that file is empty.
    """

    call: str
    works_in: str
    writes: bool = True
    handles: bool = True
    source: str = "text.txt"
    empty: int = 1

    def arguments(self, run: Path, *, source: str | None = None, out: str = "out") -> list[str]:
        words = {"RUN": str(run), "IN": source or self.source, "OUT": out}
        return [words.get(word, word) for word in shlex.split(self.call)]


SAMPLER, SCORER = "charnn.sampling.sampler.Sampler.generate", "charnn.scoring.build.Scorer.scores"
ROWS = {
    "train": Row(f"train IN -o OUT --steps 2 {SMALL}", "charnn.training.run.session.run", writes=False),
    "train --valid": Row(
        f"train text.txt --valid IN -o OUT --steps 2 {SMALL}",
        "charnn.training.run.session.run",
        writes=False,
        source="other.txt",
    ),
    "train --init-from": Row(
        "train IN --init-from RUN -o OUT --steps 2 --batch-size 4 --bptt 16 --precision fp32",
        "charnn.training.run.session.run",
        writes=False,
    ),
    "train --resume": Row("train --resume -o RUN --steps 122", "charnn.training.run.session.run", writes=False),
    "sweep": Row(f"sweep IN -o OUT --steps 2 {SMALL}", "charnn.training.run.session.run"),
    "sweep --valid": Row(
        f"sweep text.txt --valid IN -o OUT --steps 2 {SMALL}", "charnn.training.run.session.run", source="other.txt"
    ),
    "sample": Row("sample The -m RUN -n 20 --seed 1", SAMPLER),
    "sample -o": Row("sample --prompt-file IN -m RUN -n 20 --seed 1 -o OUT", SAMPLER, writes=False, empty=0),
    "sample --prompts": Row("sample --prompts IN -m RUN -n 20 --seed 1 -o OUT --format jsonl", SAMPLER, writes=False),
    "sample --load-state": Row("sample --load-state IN -m RUN -n 20 --seed 1", SAMPLER, source="saved.state"),
    "sample --save-state": Row(
        "sample --prompt-file IN -m RUN -n 0 --save-state OUT",
        "charnn.sampling.build.Prompts.save",
        writes=False,
        handles=False,
        empty=0,
    ),
    "sample --forecast": Row(
        "sample --forecast --prompt-file IN -m series -n 3 --seed 1", SAMPLER, source="numbers.txt"
    ),
    "sample --svg": Row(
        "sample --forecast --prompt-file IN -m series -n 3 --seed 1 --svg OUT", SAMPLER, source="numbers.txt"
    ),
    "sample --interactive": Row(
        "sample The -m RUN --interactive --seed 1", "charnn.sampling.interactive.InteractiveWriter.alternatives"
    ),
    "score": Row("score IN -m RUN", SCORER),
    "score -o": Row("score IN -m RUN -o OUT --format jsonl", SCORER, writes=False),
    "score --adapt": Row("score IN -m RUN --adapt --no-dynamic", SCORER),
    "score --summary": Row("score IN -m RUN --summary OUT", SCORER),
    "score --shard": Row("score IN -m RUN -o out --shard 1/1", SCORER, writes=False),
    "score --pairs": Row("score --pairs IN -m RUN", SCORER, handles=False, source="pairs.tsv"),
    "score --pairs -o": Row("score --pairs IN -m RUN -o OUT", SCORER, handles=False, writes=False, source="pairs.tsv"),
    "score --nbest": Row("score --nbest IN -m RUN", SCORER, source="nbest.tsv"),
    "score --nbest -o": Row("score --nbest IN -m RUN -o OUT", SCORER, writes=False, source="nbest.tsv"),
    "score --fit-weights": Row("score --text The -m RUN -m RUN --fit-weights IN", SCORER),
    "compare": Row("compare RUN RUN IN", "charnn.analysis.comparison.compare_files"),
    "predict": Row("predict The -m RUN", "charnn.inference.prediction.next_distribution", handles=False),
    "predict --complete": Row(
        "predict The -m RUN --complete", "charnn.sampling.completion.WordCompleter.complete", handles=False
    ),
    "fill": Row(
        "fill 'The ____.' -m RUN --candidates-file IN",
        "charnn.scoring.infilling.fill",
        handles=False,
        source="other.txt",
    ),
    "tokenize": Row("tokenize The -m RUN", "charnn.text.tokenizers.CharTokenizer.tokenize", handles=False),
    "info": Row("info RUN", "charnn.storage.model_directory.read_model", handles=False),
    "inspect": Row("inspect unrolled RUN --file IN --html OUT", "charnn.analysis.inspections.read_subjects"),
    "report": Row("report RUN --file IN -o OUT", "charnn.report.writing.read_overview", writes=False),
    "recipes": Row("recipes", "charnn.recipes.load_recipe", handles=False),
}


def rows(wanted: Callable[[Row], bool] = lambda _: True) -> list[object]:
    return [pytest.param(row, id=name) for name, row in ROWS.items() if wanted(row)]


READERS, WRITERS = rows(lambda row: " IN" in row.call), rows(lambda row: " OUT" in row.call)
FILE_WRITERS = rows(lambda row: " OUT" in row.call and not row.call.startswith(("train", "sweep")))
SHOWING, SILENT = rows(lambda row: row.writes), rows(lambda row: not row.writes)
QUICK = rows(lambda row: not row.call.startswith(("train", "sweep")))
SIGNALS = [
    pytest.param(row, number, id=f"{name}-{signal.Signals(number).name}")
    for name, row in ROWS.items()
    for number in INTERRUPTS
    if row.handles or number == signal.SIGINT  # the system ends the others
]


def test_every_command_and_every_option_that_names_a_file_has_a_row():
    with_rows = {row.call.split()[0] for row in ROWS.values()}
    assert with_rows == set(COMMANDS) - {
        "serve",
        "export",
        "classify",
    }  # which read nothing but models, or need one with labels: tests/serving, tests/export, tests/cli/test_labels.py
    for name in with_rows:
        used = {word for row in ROWS.values() if row.call.startswith(name) for word in row.call.split()}
        for parameter in import_command(name).params:
            if (
                parameter.metavar == "FILE" and "--midi" not in parameter.opts
            ):  # needs music21: tests/clients/test_midi.py
                assert used & set(parameter.opts), parameter.opts


@pytest.fixture(scope="session")
def _saved_state(_trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("state") / "saved.state"
    command = ["sample", "The", "-m", str(_trained), "-n", "0", "--save-state", str(file)]
    assert subprocess.run([sys.executable, "-m", "charnn", *command], check=False).returncode == 0
    return file


@pytest.fixture(scope="session")
def _trained_series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_quietly(tmp_path_factory.mktemp("series"), "1 2 3 4 5\n" * 60, "--tokenizer", "bins", "--steps", 2)


@pytest.fixture
def desk(run: Path, _saved_state: Path, _trained_series: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with texts of every kind and a model, whose path is returned; nobody types."""
    for name, content in {
        "text.txt": TEXT * 20,
        "other.txt": TEXT,
        "pairs.tsv": "good\tbad\nThe fox\tfox The\n",
        "nbest.tsv": "1\t-3\tThe fox\n1\t-4\tfox The\n",
        "empty.txt": "",
        "numbers.txt": "1 2 3 4 5\n",
    }.items():
        Path(name).write_text(content, encoding="utf-8")
    Path("directory").mkdir()
    shutil.copy(_saved_state, "saved.state")
    shutil.copytree(_trained_series, "series")
    monkeypatch.setattr("sys.stdin", io.StringIO("1\nr 3\nq\n"))
    return run


def contents(ignored: str = "out") -> dict[str, str]:
    """Return the digest of every file below this directory, without an output, finished or kept in part."""
    files = [path for path in Path().rglob("*") if path.is_file()]
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not (path.parts[0] == ignored or path.name.startswith(f"{ignored}."))
    }


def fails_in_one_line(result, status: int, *parts: str) -> None:
    """Check the exit status and the last line of an error."""
    assert result.status == status, result.err
    assert "Traceback" not in result.err
    assert "internal error" not in result.err
    errors = [line for line in result.err.splitlines() if line.startswith("charnn: error: ")]
    assert errors == result.err.splitlines()[-1:]
    assert all(part in errors[0] for part in parts), errors


class Failing(io.StringIO):
    """A stream whose buffer cannot be written out."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def flush(self) -> None:
        if not self.tell():
            return
        raise OSError(self._number, os.strerror(self._number))


# Standard streams


@pytest.mark.parametrize("row", SHOWING)
@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (errno.ENOSPC, "standard output: cannot be written: no space is left on the disk"),
        (errno.EIO, "standard output: cannot be written: "),
        (None, "standard output: is closed; open it, or redirect it to a file"),
    ],
    ids=["full", "broken", "closed"],
)
def test_results_that_cannot_be_written_are_an_error(charnn, desk, monkeypatch, row, stream, message):
    before = contents()
    monkeypatch.setattr("sys.stdout", stream and Failing(stream))
    fails_in_one_line(charnn(*row.arguments(desk)), 1, message)
    assert contents() == before


@pytest.mark.parametrize("row", SHOWING)
def test_results_that_nobody_reads_any_more_end_a_command_quietly(charnn, desk, monkeypatch, row):
    before = contents()
    monkeypatch.setattr("sys.stdout", Failing(errno.EPIPE))
    result = charnn(*row.arguments(desk))
    assert result.status == 128 + signal.SIGPIPE
    assert "error" not in result.err
    assert contents() == before


@pytest.mark.parametrize("row", SILENT)
def test_a_command_that_writes_to_a_file_needs_no_standard_output(charnn, desk, monkeypatch, row):
    monkeypatch.setattr("sys.stdout", None)
    assert charnn(*row.arguments(desk)).status == 0


@pytest.mark.parametrize("row", rows(lambda row: "--valid" not in row.call))
@pytest.mark.parametrize("stream", [errno.EPIPE, None], ids=["unread", "closed"])
def test_notices_that_nobody_reads_are_no_reason_to_fail(charnn, desk, monkeypatch, row, stream):
    monkeypatch.setattr("sys.stderr", stream and Failing(stream))
    result = charnn(*row.arguments(desk))
    sys.stderr.close()
    assert (result.status, bool(result.out)) == (0, row.writes)


@pytest.mark.parametrize("row", QUICK)
def test_a_closed_standard_input_matters_to_those_who_read_it(charnn, desk, monkeypatch, row):
    monkeypatch.setattr("sys.stdin", None)
    result = charnn(*row.arguments(desk))
    if "--interactive" in row.call:
        fails_in_one_line(result, 1, "standard input: is closed; ")
    else:
        assert result.status == 0
    if " IN" in row.call and row.source != "saved.state":
        fails_in_one_line(charnn(*row.arguments(desk, source="-")), 1, "standard input: is closed; ")


# Signals


def interrupt_in(monkeypatch: pytest.MonkeyPatch, dotted: str, number: int) -> None:
    """Let this process receive a signal when a function is called."""
    parts = dotted.split(".")
    num_packages = next(n for n, part in enumerate(parts) if not part.islower() or n == len(parts) - 1)
    owner = reduce(getattr, parts[num_packages:-1], importlib.import_module(".".join(parts[:num_packages])))
    real = getattr(owner, parts[-1])

    def interrupted(*arguments: object, **options: object) -> object:
        os.kill(os.getpid(), number)
        return real(*arguments, **options)

    monkeypatch.setattr(owner, parts[-1], interrupted)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to another process")
@pytest.mark.parametrize(("row", "number"), SIGNALS)
def test_a_signal_ends_a_command_by_its_number_and_loses_nothing(charnn, desk, monkeypatch, row, number):
    is_training = row.call.startswith(("train", "sweep"))
    if " OUT" in row.call and not is_training:
        Path("out").write_text("mine", encoding="utf-8")
    before = contents("runs" if "--resume" in row.call else "out")
    interrupt_in(monkeypatch, row.works_in, number)
    result = charnn(*row.arguments(desk))
    assert result.status == 128 + number, result.err
    assert "Traceback" not in result.err
    assert "error" not in result.err
    assert before.items() <= contents("nothing").items()
    if is_training:
        how = "the same command goes on" if row.call.startswith("sweep") else "resume with: charnn train --resume -o "
        assert f"; {how}" in result.err
    elif " OUT" in row.call:  # nothing was ready yet
        assert Path("out").read_text(encoding="utf-8") == "mine"


# Outputs


@pytest.mark.parametrize("row", FILE_WRITERS)
def test_an_output_that_exists_is_replaced_as_a_whole(charnn, desk, row):
    assert charnn(*row.arguments(desk, out="new")).status == 0
    Path("out").write_text("mine" * 10_000, encoding="utf-8")
    before = contents()
    assert charnn(*row.arguments(desk)).status == 0
    assert Path("out").read_bytes() == Path("new").read_bytes()
    assert contents() == before


def needed(desk: Path, row: Row, kind: str) -> str:
    """Return the name of an output file that must not be replaced, of some kind, and make it."""
    targets = {
        "model": desk / "model.safetensors",
        "config": desk / "config.json",
        "source": Path(row.source).resolve(),
    }
    target = targets[kind.split()[-1]]
    if kind.startswith("hard link"):
        Path("link").hardlink_to(target)
    elif kind.startswith("link"):
        Path("link").symlink_to(target)
    return "link" if "link" in kind else str(target)


@pytest.mark.parametrize(
    "kind", ["model", "config", "source", "link to model", "link to source", "hard link to source"]
)
@pytest.mark.parametrize("row", FILE_WRITERS)
def test_an_output_never_takes_the_place_of_what_is_needed(charnn, desk, row, kind):
    name = needed(desk, row, kind)
    before = contents()
    reason = "belongs to a model" if kind.endswith(("model", "config")) else "which the command reads from"
    fails_in_one_line(charnn(*row.arguments(desk, out=name)), 2, f"found {name}, ", reason, "name another file")
    assert contents() == before


@pytest.mark.parametrize(
    ("out", "status", "message"),
    [
        ("out.txt.gz", 2, "found out.txt.gz, but the output is not compressed; name it without .gz"),
        ("directory", 1, "directory: is a directory, but must be a file; name a file in it"),
        ("nowhere/out.txt", 1, "nowhere/out.txt: cannot be written: there is no directory "),
        ("text.txt/out", 1, "text.txt is a file, not a directory; choose another location"),
    ],
)
@pytest.mark.parametrize("row", FILE_WRITERS)
def test_an_output_that_cannot_be_made_is_an_error(charnn, desk, row, out, status, message):
    before = contents()
    fails_in_one_line(charnn(*row.arguments(desk, out=out)), status, message)
    assert contents() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("row", FILE_WRITERS)
def test_a_full_device_is_an_error(charnn, desk, row):
    message = "/dev/full: cannot be written: no space is left on the disk; free some and run the command again"
    fails_in_one_line(charnn(*row.arguments(desk, out="/dev/full")), 1, message)


@pytest.mark.parametrize("row", WRITERS)
def test_a_disk_that_is_full_at_the_end_leaves_what_was_there(charnn, desk, monkeypatch, row):
    is_training = row.call.startswith(("train", "sweep"))
    if not is_training:
        Path("out").write_text("mine", encoding="utf-8")
    before = contents("nothing")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("charnn.files.os.fsync", full)
    result = charnn(*row.arguments(desk))
    fails_in_one_line(result, 1, "out", "cannot be written: no space is left on the disk")
    after = contents("nothing")
    assert before.items() <= after.items()
    assert set(after) - set(before) <= {"out.part"}


def test_a_disk_that_is_full_when_a_run_is_resumed_leaves_the_model(charnn, desk, monkeypatch):
    before = {path.name: path.read_bytes() for path in desk.iterdir() if path.suffix in (".safetensors", ".bin")}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("charnn.files.os.fsync", full)
    fails_in_one_line(
        charnn(*ROWS["train --resume"].arguments(desk)), 1, "cannot be written: no space is left on the disk"
    )
    assert {name: (desk / name).read_bytes() for name in before} == before


@pytest.fixture
def unprivileged(desk, tmp_path):
    """Give up root's right to write and read anything, for the length of a test, below a path that others may enter."""
    for path in (tmp_path, *tmp_path.parents[:-1]):
        if path.stat().st_uid == os.geteuid() and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)
    Path("locked").mkdir()
    Path("secret").write_text(TEXT, encoding="utf-8")
    Path("secret").chmod(0)
    Path("locked").chmod(0o555)
    Path("open").mkdir()
    Path("open").chmod(0o777)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    yield
    if was_root:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users as POSIX has them")
@pytest.mark.parametrize("row", WRITERS)
def test_a_read_only_directory_is_an_error(charnn, desk, unprivileged, row):
    result = charnn(*row.arguments(desk, out="locked/out"))
    fails_in_one_line(result, 1, "locked", "cannot be written: permission denied; choose a writable location")


@pytest.mark.parametrize("kind", ["text.txt", "link"])
def test_a_model_is_not_made_where_a_file_is(charnn, desk, kind):
    Path("link").symlink_to("text.txt")
    before = contents()
    for more in ("", " --overwrite"):
        result = charnn(*ROWS["train"].arguments(desk, out=kind), *more.split())
        fails_in_one_line(result, 1, kind)
        assert contents() == before


@pytest.mark.parametrize("link", [False, True])
def test_a_model_is_not_replaced_unasked(charnn, desk, link):
    Path("link").symlink_to(desk)
    before = contents()
    name = "link" if link else str(desk)
    fails_in_one_line(charnn(*ROWS["train"].arguments(desk, out=name)), 1, name)
    assert contents() == before


@pytest.mark.parametrize(
    "arguments",
    [("sample", "-n", 3, "-o", "x", "--save-state", "x"), ("score", "--text", "The fox", "-o", "x", "--summary", "x")],
    ids=["sample", "score"],
)
def test_two_outputs_in_one_file_are_refused(charnn, desk, arguments):
    fails_in_one_line(charnn(*arguments, "-m", desk), 2, "found x, which --", " writes to as well; name two files")
    assert not Path("x").exists()


def test_a_state_may_be_updated_in_place(charnn, desk):
    state = ("--load-state", "saved.state")
    assert charnn("sample", " cat", "-m", desk, "-n", 0, *state, "--save-state", "saved.state").status == 0
    fails_in_one_line(charnn("sample", "-m", desk, "-n", 3, *state, "-o", "saved.state"), 2, "found saved.state")


@pytest.mark.parametrize("source", ["*.txt", "directory"])
def test_a_file_that_a_glob_or_a_directory_stands_for_is_a_source(charnn, desk, source):
    shutil.copy("text.txt", "directory/text.txt")
    name = "directory/text.txt" if source == "directory" else "text.txt"
    before = contents()
    fails_in_one_line(charnn("score", source, "-m", desk, "-o", name), 2, f"found {name}, which the command reads from")
    assert contents() == before
    assert charnn("score", source, "-m", desk, "-o", "directory/new.txt").status == 0


def test_a_new_file_in_the_directory_of_a_model_is_refused_as_such(charnn, desk):
    result = charnn("score", "text.txt", "-m", desk, "-o", desk / "scores.txt")
    fails_in_one_line(result, 2, "scores.txt in the directory of a model; name a file in another directory")


@pytest.mark.parametrize("suffix", [".new", ".part"])
@pytest.mark.parametrize("row", rows(lambda row: row.call.startswith(("sample", "score IN")) and "-o OUT" in row.call))
def test_a_file_with_the_name_of_a_staged_one_is_not_touched(charnn, desk, row, suffix, monkeypatch):
    Path(f"out{suffix}").write_bytes(Path("text.txt").read_bytes())
    before = contents("nothing")
    assert charnn(*row.arguments(desk, source=f"out{suffix}")).status == 0
    assert before.items() <= contents("nothing").items()
    interrupt_in(monkeypatch, "charnn.files.LineFile.close", signal.SIGINT)
    charnn(*row.arguments(desk, source=f"out{suffix}"))
    assert before.items() <= contents("nothing").items()


@pytest.mark.parametrize("others", [("book.txt",), ("book.txt", "notes/ideas.md")])
def test_overwriting_a_model_deletes_nothing_else(charnn, desk, others):
    shutil.copytree(desk, "m")
    for name in others:
        (Path("m") / name).parent.mkdir(exist_ok=True)
        (Path("m") / name).write_text(TEXT * 20, encoding="utf-8")
    before = contents()
    again = ("train", "m/book.txt", "-o", "m", "--overwrite", "--steps", 2, *SMALL.split())
    more = " and 1 other" if len(others) > 1 else ""
    fails_in_one_line(
        charnn(*again),
        1,
        f"m: --overwrite would delete book.txt{more}, which is not part of the model; move it elsewhere, or name another "
        "directory with -o",
    )
    assert contents() == before
    for name in others:
        (Path("m") / name).unlink()
    Path("m/.DS_Store").touch()
    assert charnn("train", "text.txt", *again[2:]).status == 0


# Inputs


@pytest.mark.parametrize("name", ["missing.txt", "directory", "empty.txt"])
@pytest.mark.parametrize("row", READERS)
def test_an_input_that_is_missing_a_directory_or_empty_is_named(charnn, desk, row, name):
    before = contents()
    result = charnn(*row.arguments(desk, source=name))
    if name == "empty.txt" and row.empty == 0:
        assert result.status == 0
        return
    fails_in_one_line(result, 1, name)
    assert contents() == before
    assert not Path("out").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users as POSIX has them")
@pytest.mark.parametrize("row", READERS)
def test_an_input_that_may_not_be_read_is_named(charnn, desk, unprivileged, row):
    result = charnn(*row.arguments(desk, source="secret", out="open/out"))
    fails_in_one_line(result, 1, "secret: cannot be read: Permission denied")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users as POSIX has them")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("row", rows(lambda row: " RUN" in row.call and "--resume" not in row.call))
def test_a_model_that_may_not_be_read_is_named(charnn, desk, request, row, name):
    (desk / name).chmod(0)
    request.getfixturevalue("unprivileged")
    fails_in_one_line(charnn(*row.arguments(desk, out="open/out")), 1, f"{name}: ", "ermission denied")


# Processes of their own


def started(arguments: str, run: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run a shell command in which CHARNN stands for the command line, whose results are buffered as they usually are."""
    command = f"{before} {arguments}".replace("CHARNN", f"{shlex.quote(sys.executable)} -m charnn").replace(
        "RUN", str(run)
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists() or not shutil.which("bash"), reason="needs bash and /dev/full")
@pytest.mark.parametrize(
    ("command", "status", "err"),
    [
        (
            "CHARNN tokenize The -m RUN > /dev/full",
            1,
            "charnn: error: standard output: cannot be written: no space is left on the disk; free some and run the command "
            "again\n",
        ),
        ("CHARNN tokenize The -m RUN | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("CHARNN sample -m RUN -n 40000 --seed 1 | head -1; exit ${PIPESTATUS[0]}", 141, ""),
        ("CHARNN info nothing 2> /dev/full", 1, ""),
        ("CHARNN tokenize The -m RUN >&- 2>&- <&-", 1, ""),
    ],
    ids=["full", "unread", "head", "full notices", "all closed"],
)
def test_what_is_still_in_a_buffer_at_the_end_fails_in_the_same_way(desk, command, status, err):
    result = started(command, desk)
    assert (result.returncode, result.stderr) == (status, err)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to another process")
@pytest.mark.parametrize("starts", ["nohup", "terminal"])
def test_a_hangup_ends_a_command_unless_nohup_started_it(desk, starts):
    hangs_up = "import os, signal, charnn.scoring.build as build, charnn.__main__ as main\n"
    hangs_up += f"cls, real = build.{SCORER.split('.')[-2]}, build.{SCORER.split('.')[-2]}.scores\n"
    hangs_up += "cls.scores = lambda *a, **b: (os.kill(os.getpid(), signal.SIGHUP), real(*a, **b))[1]\nmain.main()\n"
    words = [sys.executable, "-c", hangs_up, *ROWS["score -o"].arguments(desk)]
    command = words if starts == "terminal" else ["sh", "-c", f"trap '' HUP; exec {shlex.join(words)}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == (128 + signal.SIGHUP if starts == "terminal" else 0), result.stderr
    assert Path("out").exists() == (starts == "nohup")
