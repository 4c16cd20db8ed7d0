import contextlib
import errno
import os
from pathlib import Path

import pytest

from charnn.errors import StorageError
from charnn.files import (
    json_bytes,
    make_directory,
    portable_name,
    refuse_unwritable,
    sha256_hex,
    staged,
    staging_directory,
    write_atomically,
    write_output,
    write_together,
)


def test_files_that_must_agree_are_replaced_together(tmp_path):
    write_together([(tmp_path / "a", b"1"), (tmp_path / "b", b"2")])
    write_together([(tmp_path / "a", b"3"), (tmp_path / "b", b"4")])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"3", "b": b"4"}


def test_a_full_disk_leaves_the_old_files_and_no_rubbish(tmp_path, monkeypatch):
    write_together([(tmp_path / "a", b"1"), (tmp_path / "b", b"2")])
    calls = []

    def fill_up(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(StorageError) as error:
        write_together([(tmp_path / "a", b"3"), (tmp_path / "b", b"4")])
    assert str(error.value) == (
        f"{tmp_path / 'b'}: cannot be written: no space is left on the disk; free some and run the command again"
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EROFS, "the file system is read-only; choose another location"),
        (errno.EACCES, "permission denied; choose a writable location"),
        (
            errno.EFBIG,
            "the file would exceed the size limit of this process (ulimit -f); raise it and run the command again",
        ),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_refusal_to_write_comes_with_its_remedy(tmp_path, monkeypatch, code, remedy):
    def refuse(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError) as error:
        write_atomically(tmp_path / "x", b"")
    assert str(error.value) == f"{tmp_path / 'x'}: cannot be written: {remedy}"


def test_what_windows_says_of_a_file_in_use_is_explained(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        error = PermissionError(errno.EACCES, "The process cannot access the file")
        error.winerror = 32
        raise error

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError) as error:
        write_atomically(tmp_path / "x", b"")
    assert str(error.value) == (
        f"{tmp_path / 'x'}: cannot be written: another program has it or a file in it open; "
        "close that program and run the command again"
    )


def test_a_staging_directory_takes_the_place_of_the_old_one_only_when_all_went_well(tmp_path):
    target = tmp_path / "run"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(ZeroDivisionError), staging_directory(target) as staging:
        (staging / "new").touch()
        raise ZeroDivisionError
    assert [path.name for path in target.iterdir()] == ["old"]
    with staging_directory(target) as staging:
        (staging / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("num_refusals", "content"), [(2, b"new"), (100, b"old")])
def test_a_file_that_is_read_just_now_is_replaced_a_moment_later(tmp_path, monkeypatch, num_refusals, content):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    real, refusals = Path.replace, []

    def refuse(self, target):
        if len(refusals) < num_refusals:
            refusals.append(target)
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr("charnn.files.WAITS_SECONDS", (0, 0, 0))
    with contextlib.suppress(StorageError):
        write_atomically(path, b"new")
    assert path.read_bytes() == content


def test_json_keeps_every_character_readable():
    assert json_bytes({"token": "é"}) == '{\n "token": "é"\n}\n'.encode()


def test_the_hash_of_parts_is_the_hash_of_the_whole():
    assert sha256_hex(b"ab", b"c") == sha256_hex(b"abc")
    assert staged(Path("a/b.json")) == Path("a/b.json.new")


def test_a_swap_that_fails_halfway_brings_the_old_directory_back(tmp_path, monkeypatch):
    target = tmp_path / "run"
    target.mkdir()
    (target / "old").touch()
    real = Path.rename

    def fail_for_the_new(self, other):
        if self.name.endswith("-new"):
            raise OSError(errno.EIO, "Input/output error")
        return real(self, other)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(StorageError), staging_directory(target):
        pass
    assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_swap_that_was_killed_halfway_is_undone_by_the_next_one(tmp_path):
    replaced = tmp_path / ".run.charnn-old"
    replaced.mkdir()
    (replaced / "old").touch()
    with pytest.raises(ZeroDivisionError), staging_directory(tmp_path / "run"):
        raise ZeroDivisionError
    assert (tmp_path / "run" / "old").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path):
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    real.write_text("old")
    link.symlink_to(real)
    write_output(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    refuse_unwritable(pipe)
    write_output(pipe, b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.parametrize("moved", ["old", "new"])
def test_an_interrupt_at_any_moment_of_a_swap_brings_the_old_directory_back(tmp_path, monkeypatch, moved):
    target = tmp_path / "run"
    target.mkdir()
    (target / "old").touch()
    real = Path.rename

    def interrupted(self, other):
        is_asked = (other if moved == "old" else self).name.endswith(f"-{moved}")
        if is_asked and moved == "new":
            raise KeyboardInterrupt
        result = real(self, other)
        if is_asked:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), staging_directory(target):
        pass
    assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_system_that_opens_no_directory_is_not_asked_to_flush_one(tmp_path, monkeypatch):
    def refuse(*_args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    write_atomically(tmp_path / "x", b"1")
    assert (tmp_path / "x").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("name", "portable"),
    [
        ("book", "book"),
        ("a.b c", "a.b c"),
        ('wh:t? <"x|y">*\\z', "wh-t- --x-y----z"),
        ("book. .", "book"),
        ("a\nb", "ab"),
        ("con", "con-"),
        ("Nul.txt", "Nul-.txt"),
        ("com1", "com1-"),
        ("console", "console"),
        ("...", ""),
    ],
)
def test_a_name_is_made_one_that_every_system_takes(name, portable):
    assert portable_name(name) == portable


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("file/x", "file is a file, not a directory; choose another location"),
        ("file/x/y", "file is a file, not a directory; choose another location"),
        ("loop/x", "its path is a loop of symbolic links; choose another location"),
        ("dangling/x", "dangling is a link that leads nowhere; choose another location"),
        ("a" * 300, "the name is too long for the file system; choose a shorter one"),
    ],
)
def test_what_stands_in_the_way_of_a_directory_is_named(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    with pytest.raises(StorageError, match=message):
        make_directory(Path(path))
    if "/" in path:
        with pytest.raises(StorageError):
            refuse_unwritable(Path(path))
