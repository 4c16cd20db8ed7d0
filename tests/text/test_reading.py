import gzip
import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.errors import OptionError, TextError
from charnn.text import reading
from charnn.text.reading import RAW, Source, documents, find_sources, lines, read_text, sha256_of, whole_lines
from tests.notices import collected_notices


def read(*paths: Path, encoding: str = "utf-8", notes=None) -> str:
    return "".join(read_text([Source(str(path), path) for path in paths], encoding, notes=notes))


def test_a_byte_order_mark_is_dropped_and_crlf_becomes_lf_said_once(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\r\n")
    notes = []
    assert read(path, notes=notes) == "one\ntwo\rthree\n"
    assert notes == ["2 CRLF line ends became LF"]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_nothing_depends_on_where_chunks_end(tmp_path, monkeypatch, size):
    text = "äö€\r\n\r\r\n𝄞x\r"
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    monkeypatch.setattr(reading, "CHUNK_BYTES", size)
    assert read(path) == text.replace("\r\n", "\n")


def test_files_are_joined_at_line_ends(tmp_path):
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two\n")
    (tmp_path / "c").write_text("three")
    assert read(*(tmp_path / name for name in "abc")) == "one\ntwo\nthree"


def test_gzip_is_unpacked(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"packed\n"))
    assert read(path) == "packed\n"
    path.write_bytes(gzip.compress(b"packed\n" * 1000)[:40])
    with pytest.raises(TextError, match=r"a.txt.gz: is not a complete gzip file"):
        read(path)


def test_the_wrong_encoding_is_named_with_line_offset_and_a_guess(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"first\nit\x92s\n")
    with pytest.raises(TextError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}:2: byte 0x92 at offset 8 is not UTF-8; it looks like cp1252: pass --encoding cp1252"
    )
    assert read(path, encoding="cp1252") == "first\nit\u2019s\n"


def test_a_late_wrong_byte_is_found_at_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK_BYTES", 7)
    path = tmp_path / "corpus.txt"
    path.write_bytes("äöü\näöü\nä".encode() + b"\x81")
    with pytest.raises(TextError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}:3: byte 0x81 at offset 16 is not UTF-8; it looks like latin-1: pass --encoding latin-1"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"ab\0cd",
            "is binary (a zero byte at offset 2), not text; name a text file (models made with --tokenizer byte take any file)",
        ),
        ("hello".encode("utf-16"), "begins with a UTF-16 byte-order mark, not utf-8: pass --encoding utf-16"),
        (gzip.compress(b"x", mtime=0), "is gzip data; rename it to end in .gz"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(TextError) as error:
        read(path)
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "shift_jis"])
def test_other_encodings(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes("one\r\ntwo\n".encode(encoding))
    assert read(path, encoding=encoding) == "one\ntwo\n"


def test_an_unknown_encoding_is_a_usage_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    for wrong in ("utf9", "rot13"):
        with pytest.raises(OptionError, match=f"--encoding: found '{wrong}'"):
            read(path, encoding=wrong)


@given(st.binary())
def test_raw_bytes_come_back_as_they_were(content):
    path = Path("raw.bin")
    path.write_bytes(content)
    assert read(path, encoding=RAW).encode("utf-8", "surrogateescape") == content


def test_sources_are_found_in_directories_and_globs(tmp_path):
    (tmp_path / "d" / ".hidden").mkdir(parents=True)
    for name in ("d/b.txt", "d/a.txt", "d/.secret", "d/.hidden/c.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "d/picture").write_bytes(b"\0\1")
    with collected_notices() as notes:
        found = find_sources([str(tmp_path / "d"), str(tmp_path / "d/*.txt")])
    assert [Path(source.name).name for source in found] == ["a.txt", "b.txt"] * 2
    assert notes == [f"{tmp_path / 'd'}: skipped 1 binary files, reading 2"]


def test_names_that_lead_nowhere_are_errors(tmp_path):
    with pytest.raises(TextError) as error:
        find_sources(["missing.txt"])
    assert str(error.value) == f"missing.txt: no such file or directory (looked in {tmp_path}); check the spelling"
    (tmp_path / "empty").mkdir()
    with pytest.raises(TextError) as error:
        find_sources(["empty"])
    assert str(error.value) == "empty: contains no text (0 files examined); name a text file"


def test_standard_input_is_spooled_where_it_must_be_read_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe\n")))
    (source,) = find_sources(["-"], spool=tmp_path / "spool")
    assert [read_all(source), read_all(source)] == ["from a pipe\n"] * 2
    assert sha256_of(source)[0] == 12
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"once\n")))
    assert read_all(find_sources(["-"])[0]) == "once\n"


def read_all(source: Source) -> str:
    return "".join(read_text([source], "utf-8"))


def test_a_terminal_is_no_text(monkeypatch):
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda _: True})())
    with pytest.raises(TextError, match="standard input: is a terminal; pipe a text into the command or name a file"):
        find_sources(["-"])


chunked = st.lists(st.text(alphabet="a b\n", max_size=8))


@given(chunked)
def test_regrouped_chunks_end_at_line_ends(chunks):
    groups = list(whole_lines(iter(chunks)))
    assert "".join(groups) == "".join(chunks)
    assert all(group.endswith("\n") for group in groups[:-1])


@given(chunked, st.integers(1, 5))
def test_very_long_lines_are_cut_and_nothing_is_lost(chunks, longest):
    assert "".join(whole_lines(iter(chunks), longest)) == "".join(chunks)


@given(chunked)
def test_lines_are_those_of_the_whole_text(chunks):
    text = "".join(chunks)
    assert list(lines(iter(chunks))) == (text.removesuffix("\n").split("\n") if text else [])


@given(chunked)
def test_documents_are_what_blank_lines_separate(chunks):
    found = list(documents(iter(chunks)))
    assert all(line.strip() for document in found for line in document.split("\n"))
    assert "\n".join(found).split("\n") == [line for line in "".join(chunks).split("\n") if line.strip()] or not found


def test_a_model_in_a_directory_is_no_text(tmp_path):
    (tmp_path / "d" / "runs" / "a").mkdir(parents=True)
    for name in ("d/book.txt", "d/runs/a/model.safetensors", "d/runs/a/config.json"):
        (tmp_path / name).write_text("text")
    assert [Path(source.name).name for source in find_sources(["d"])] == ["book.txt"]


def test_standard_input_that_is_closed_is_said(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(TextError, match="standard input: is closed; pipe a text into the command or name a file"):
        find_sources(["-"])


@given(st.lists(st.text(alphabet="a \n", max_size=5), max_size=6))
def test_white_space_at_a_chunks_end_begins_the_next(chunks):
    found = list(reading.white_space_first(iter(chunks)))
    assert "".join(found) == "".join(chunks)
    assert all(found)
    assert all(not chunk[-1].isspace() for chunk in found[:-1])
