import bz2
import gzip
import io
import lzma
import os
import sys
import threading
from pathlib import Path

import pytest

from charnn.errors import TextError
from charnn.text import sources
from charnn.text.file_kinds import wide_encoding
from charnn.text.reading import read_text
from charnn.text.selection import sha256_of
from charnn.text.sources import check_unchanged, find_sources, readable_again
from tests.notices import collected_notices


def read_all(*found) -> str:
    return "".join(read_text(found, "utf-8"))


def names(found):
    return [Path(source.name).name for source in found]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt"])
def test_packed_text_is_unpacked_whatever_its_name(tmp_path, pack, name):
    path = tmp_path / name
    path.write_bytes(pack(b"packed\n"))
    assert read_all(*find_sources([str(path)])) == "packed\n"
    path.write_bytes(pack(bytes(range(10, 100)) * 100)[:70])
    with pytest.raises(TextError, match=f"{name}: is damaged or cut short .*; compress or copy it again"):
        read_all(*find_sources([str(path)]))


def test_sources_are_found_in_directories_and_globs(tmp_path):
    (tmp_path / "d" / ".hidden").mkdir(parents=True)
    for name in ("d/b.txt", "d/a.txt", "d/.secret", "d/.hidden/c.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "d/picture").write_bytes(b"\0\1")
    with collected_notices() as notices:
        found = find_sources([str(tmp_path / "d"), str(tmp_path / "d/*.txt")])
    assert names(found) == ["a.txt", "b.txt"] * 2
    assert notices == [f"{tmp_path / 'd'}: reading 2 files; skipped 1 that is not text ({tmp_path / 'd/picture'})"]
    assert names(find_sources([str(tmp_path / "d")], as_bytes=True)) == ["a.txt", "b.txt", "picture"]


def test_directories_behind_links_are_searched_once_and_wide_text_is_text(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.txt").write_text("far\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "wide.txt").write_text("wide\n", encoding="utf-16")
    (tmp_path / "d" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "d" / "round").symlink_to(tmp_path / "d", target_is_directory=True)
    (tmp_path / "d" / "again.txt").symlink_to(tmp_path / "d" / "wide.txt")
    found = find_sources([str(tmp_path / "d")])
    assert sorted(names(found)) == ["again.txt", "far.txt"]
    assert sorted(read_all(*found).split()) == ["far", "wide"]


def test_what_cannot_be_read_in_a_directory_is_said(tmp_path, monkeypatch):
    (tmp_path / "d").mkdir()
    for name in ("a.txt", "secret.txt"):
        (tmp_path / "d" / name).write_text("text\n")
    opened = Path.open

    def refuse(path, *arguments):
        if path.name == "secret.txt":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments)

    monkeypatch.setattr(Path, "open", refuse)
    with collected_notices() as notices:
        assert names(find_sources(["d"])) == ["a.txt"]
    assert notices == ["d: reading 1 file; skipped 1 that is not readable (d/secret.txt)"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.txt", "missing.txt: no such file or directory (looked in {here}); check the spelling"),
        ("empty", "empty: contains no text (0 files examined); name a text file"),
        ("", "found an empty file name; name a file"),
        ("dangling", "dangling: is a link to nowhere, which does not exist; name the file itself"),
        (
            "tree/*",
            "tree/*: matches directories only, such as tree/a; name the directory to read all files below it",
        ),
    ],
)
def test_names_that_lead_nowhere_are_errors(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "tree" / "a").mkdir(parents=True)
    with pytest.raises(TextError) as error:
        find_sources([name])
    assert str(error.value) == message.format(here=tmp_path)


def test_standard_input_is_copied_where_it_must_be_read_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe\n")))
    (source,) = readable_again(find_sources(["-"]), tmp_path)
    assert [read_all(source), read_all(source)] == ["from a pipe\n"] * 2
    assert sha256_of(source)[0] == 12
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"once\n"))))
    assert read_all(*find_sources(["-"])) == "once\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_read_once_and_copied(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=lambda: (tmp_path / "pipe").write_text("through a pipe\n"))
    thread.start()
    (source,) = readable_again(find_sources(["pipe"]), tmp_path)
    thread.join()
    assert [read_all(source), read_all(source)] == ["through a pipe\n"] * 2
    with pytest.raises(TextError, match="pipe: is named twice, but can be read only once; name it once"):
        find_sources(["pipe", "pipe"])


def test_standard_input_is_named_once(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text\n")))
    with pytest.raises(TextError, match="standard input: is named twice, but can be read only once; name it once"):
        find_sources(["-", "-"])


def test_a_terminal_is_no_text(monkeypatch):
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda _: True})())
    with pytest.raises(TextError, match="standard input: is a terminal"):
        find_sources(["-"])


def test_standard_input_that_is_closed_is_said(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(TextError, match="standard input: is closed; pipe a text into the command or name a file"):
        find_sources(["-"])


def test_a_model_in_a_directory_is_no_text(tmp_path):
    (tmp_path / "d" / "runs" / "a" / "backward").mkdir(parents=True)
    for name in ("book.txt", "runs/a/model.safetensors", "runs/a/config.json", "runs/a/backward/metrics.jsonl"):
        (tmp_path / "d" / name).write_text("text")
    assert names(find_sources(["d"])) == ["book.txt"]


def test_of_a_file_that_grows_what_there_was_is_read(tmp_path):
    path = tmp_path / "log"
    path.write_bytes("one\nä".encode()[:-1])  # in the middle of being written
    (source,) = find_sources([str(path)])
    path.write_text("one\nä\nthree\n")
    assert read_all(source) == "one\n"
    assert sha256_of(source)[0] == 5
    with collected_notices() as notices:
        check_unchanged([source])
    assert notices == [f"{path}: grew while it was read; its first 5 bytes are used"]


@pytest.mark.parametrize("change", ["shorter", "same size", "another file"])
def test_a_file_that_changes_otherwise_is_refused(tmp_path, change):
    path = tmp_path / "text"
    path.write_text("a text\n")
    (source,) = find_sources([str(path)])
    if change == "another file":
        (tmp_path / "other").write_text("a longer text\n")
        (tmp_path / "other").replace(path)
    else:
        path.write_text("text\n" if change == "shorter" else "A text\n")
        os.utime(path, ns=(1, 1))
    with pytest.raises(TextError) as error:
        check_unchanged([source])
    assert str(error.value) == f"{path}: changed while it was read; run the command again when nothing writes to it"


def test_any_part_of_the_head_of_a_file_is_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "HEAD_BYTES", 1)
    (tmp_path / "a.txt").write_text("a text\n")
    assert read_all(*find_sources(["a.txt"])) == "a text\n"


def test_bytes_that_end_in_a_nul_are_not_text_of_wide_characters():
    assert wide_encoding("fox \u01f4 ran".encode("utf-16-le")) == "utf-16-le"
    assert wide_encoding("fox \u01f4 ran".encode("utf-16-le") + b"\0\0\0") is None
