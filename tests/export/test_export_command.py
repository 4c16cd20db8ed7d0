"""`charnn export`, whatever the format: what it refuses, where it writes, and what it leaves behind when it fails."""

import importlib
import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from charnn.config import ExportOptions
from charnn.errors import StorageError
from charnn.export import exporter
from charnn.files import explain_write_errors, staging_directory
from charnn.storage.model_directory import read_model, write_model

FORMATS = ("hf", "onnx", "html")


@pytest.fixture
def written(monkeypatch):
    """The exports that were written, each by a stand-in for the module of its format, which needs no library."""
    targets = []

    def write(model, target, **options):
        targets.append((model.path, target))
        with explain_write_errors(target):
            target.write_text("an export", encoding="utf-8")

    for name in FORMATS:
        monkeypatch.setitem(sys.modules, f"charnn.export.{name}", SimpleNamespace(write=write))
    return targets


def contents():
    return {path: path.read_bytes() if path.is_file() else None for path in Path().rglob("*") if not path.is_symlink()}


def refused(result, status, *parts):
    assert result.status == status, result.err
    (line,) = result.err.splitlines()
    assert line.startswith("charnn: error: ")
    for part in parts:
        assert part in line


@pytest.mark.parametrize(("name", "target"), [("hf", "small-hf"), ("onnx", "small-onnx"), ("html", "small.html")])
def test_an_export_is_named_after_the_model_in_the_current_directory(charnn, run, written, name, target):
    result = charnn("export", run, "--to", name)
    assert result.status == 0, result.err
    assert written == [(run, Path(target))]
    next_step = "; open it in a browser" if name == "html" else ""
    assert (result.out, result.err) == ("", f"charnn: wrote {target}{next_step}\n")


def test_by_default_the_newest_model_becomes_a_page(charnn, run, written):
    result = charnn("export")
    assert written == [(Path("runs/small"), Path("small.html"))]
    assert "charnn: using the newest model, runs/small" in result.err


def test_a_name_that_no_system_takes_is_changed(charnn, run, written):
    run.rename("runs/a:b?")
    assert charnn("export", "runs/a:b?", "--to", "onnx").status == 0
    assert written[0][1] == Path("a-b--onnx")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_nothing_that_exists_is_replaced(charnn, run, written, name, kind):
    Path("taken").mkdir() if kind == "directory" else Path("taken").write_text("kept")
    before = contents()
    refused(
        charnn("export", run, "--to", name, "-o", "taken"),
        1,
        "taken: exists, and an export replaces nothing; name another with -o",
    )
    with pytest.raises(StorageError, match="taken: exists"):
        exporter.export_model(run, ExportOptions(to=name), Path("taken"))
    assert (contents(), written) == (before, [])


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("no/such/out", 1, "no/such/out: cannot be written: there is no directory"),
        ("text/out", 1, "text is a file, not a directory; choose another location"),
        ("nowhere", 1, "nowhere: cannot be written: there is no directory"),
        ("-", 2, "--output: found -, but an export is not written to standard output; name a file or directory"),
        ("runs/small/out", 2, "--output: found runs/small/out in the directory of a model"),
        ("out.gz", 2, "--output: found out.gz, but the output is not compressed; name it without .gz"),
    ],
)
def test_where_an_export_cannot_be(charnn, run, written, target, status, reason):
    Path("text").write_text("text")
    Path("nowhere").symlink_to("not/there")
    before = contents()
    refused(charnn("export", run, "--to", "onnx", "-o", target), status, reason)
    assert (contents(), written) == (before, [])


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("missing", "missing: no such model directory"),
        ("text", "text: is a file; a model is a directory"),
        (".", ".: is not a model directory: it contains runs, text"),
        ("runs/damaged", "runs/damaged/model.safetensors"),
    ],
)
def test_what_is_not_a_model(charnn, run, written, model, reason):
    Path("text").write_text("text")
    shutil.copytree(run, "runs/damaged")
    Path("runs/damaged/model.safetensors").write_bytes(b"damaged")
    before = contents()
    refused(charnn("export", model, "--to", "onnx", "-o", "out"), 1, reason)
    assert (contents(), written) == (before, [])


def test_an_unknown_format_is_refused_with_those_there_are(charnn, run):
    refused(charnn("export", run, "--to", "pdf"), 2, "'pdf' is not one of 'hf', 'onnx', 'html'")


def test_a_missing_library_is_named_with_what_to_install(charnn, run, monkeypatch):
    real = importlib.import_module

    def import_module(name):
        if name == "charnn.export.onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return real(name)

    monkeypatch.setattr(exporter.importlib, "import_module", import_module)
    before = contents()
    refused(
        charnn("export", run, "--to", "onnx"),
        1,
        "export --to onnx: onnx is not installed",
        "pip install -e '.[export]'",
    )
    assert contents() == before


def test_an_untrained_model_is_exported_with_a_word_about_it(charnn, run, written):
    model = read_model(run)
    model.config.results.steps = 0
    write_model(run, model.config, model.weights, generation=0)
    result = charnn("export", run)
    assert f"{run}: is untrained (0 steps)" in result.err
    assert result.err.endswith("charnn: wrote small.html; open it in a browser\n")
    assert len(written) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users as POSIX has them")
def test_a_read_only_directory_is_one_line(charnn, run, written, tmp_path):
    for path in (tmp_path, *tmp_path.parents[:-1]):
        if path.stat().st_uid == os.geteuid() and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)
    Path("locked").mkdir(mode=0o555)
    Path("secret").mkdir(mode=0)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        for directory in ("locked", "secret"):
            result = charnn("export", run, "--to", "onnx", "-o", f"{directory}/out")
            refused(result, 1, f"{directory}/out: cannot be written: permission denied; choose a writable location")
    finally:
        if was_root:
            os.seteuid(0)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing(charnn, run, monkeypatch, number, status):
    def write(model, target):
        with staging_directory(target) as staging:
            (staging / "half").write_text("half")
            signal.raise_signal(number)
            raise AssertionError("the signal was ignored")

    monkeypatch.setitem(sys.modules, "charnn.export.onnx", SimpleNamespace(write=write))
    before = contents()
    assert charnn("export", run, "--to", "onnx").status == status
    assert contents() == before


def test_an_empty_name_is_refused(charnn, run):
    refused(charnn("export", run, "-o", ""), 2, "--output: is empty; name a file or directory")
