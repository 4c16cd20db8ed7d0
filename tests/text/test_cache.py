"""Encoded text that is kept for the next run, and the budget of reading."""

import dataclasses
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from charnn.config import TextOptions
from charnn.text import affordable, cache, corpus, selection
from charnn.text.affordable import affordable_fraction, like_fractions
from charnn.text.corpus import prepare_corpus
from charnn.text.facts import TextFile
from charnn.text.reading import read_text
from charnn.text.sources import Source, find_sources
from tests.conftest import FABLES
from tests.notices import collected_notices

TEXT = FABLES.read_text(encoding="utf-8")[:40_000]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A cache for texts of any length."""
    monkeypatch.setattr(selection, "MIN_TEXT_BYTES", 0)
    return tmp_path / "kept"


def prepared(tmp_path, root, text=TEXT, *, seed=1, notes=None, minutes=None, report=None, **options):
    path = tmp_path / "text.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    directory = tmp_path / f"run-{time.monotonic_ns()}"
    directory.mkdir()
    with collected_notices(notes):
        return prepare_corpus(
            directory,
            [str(path)],
            TextOptions(**options),
            seed=seed,
            cache_root=root,
            minutes=minutes,
            report=report,
        )


def contents(made):
    return [*((made.directory / f"{split}.bin").read_bytes() for split in ("train", "valid")), made.tokenizer.files()]


CASES = [
    pytest.param({"tokenizer": kind, "unit": unit, **more}, id=f"{kind}-{unit}")
    for kind, more in (("char", {}), ("byte", {}), ("word", {}), ("subword", {"vocab_size": 200}))
    for unit in ("stream", "line", "document")
]


@pytest.mark.parametrize("options", CASES)
def test_a_second_run_takes_the_same_from_the_cache(tmp_path, root, monkeypatch, options):
    first = prepared(tmp_path, root, **options)
    monkeypatch.setattr(corpus, "encode_text", None)  # nothing is encoded again
    notes = []
    second = prepared(tmp_path, root, notes=notes, **options)
    assert contents(second) == contents(first)
    assert (second.train, second.valid, second.files, second.cache_key) == (
        first.train,
        first.valid,
        first.files,
        first.cache_key,
    )
    assert list(second.spelling_examples) == list(first.spelling_examples)
    assert notes == [f"{tmp_path / 'text.txt'}: taken from the cache, encoded by an earlier run"]
    assert sorted(path.name for path in second.directory.iterdir()) == ["train.bin", "valid.bin"]


def test_what_the_first_run_was_told_of_a_text_the_second_is_told_too(tmp_path, root):
    first, second = [], []
    prepared(tmp_path, root, "a b\r\nc\r\n" * 9, notes=first)
    prepared(tmp_path, root, "a b\r\nc\r\n" * 9, notes=second)
    assert first[0] == "18 CRLF line ends became LF"
    assert "54 characters are too little to learn from" in first[1]
    assert "taken from the cache" in second.pop(1)
    assert second == first


@pytest.mark.parametrize(
    "changed",
    [
        {"text": TEXT + "x"},
        {"tokenizer": "char"},
        {"min_count": 3},
        {"vocab_size": 300},
        {"pretokenized": True},
        {"unit": "line"},
        {"encoding": "latin-1"},
        {"valid_fraction": 0.2},
        {"valid": "valid.txt"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_text_or_option_is_encoded_anew(tmp_path, root, changed):
    Path("valid.txt").write_text("held out\n")
    first = prepared(tmp_path, root, tokenizer="word")
    second = prepared(tmp_path, root, **({"tokenizer": "word"} | changed))
    assert second.cache_key != first.cache_key
    assert len(cache.entries(root)) == 2


def test_the_seed_matters_where_it_draws_what_is_held_out(tmp_path, root):
    keys = {
        (unit, seed): prepared(tmp_path, root, unit=unit, seed=seed).cache_key
        for unit in ("stream", "line")
        for seed in (1, 2)
    }
    assert keys["stream", 1] == keys["stream", 2]
    assert keys["line", 1] != keys["line", 2]


def test_a_packed_text_is_not_taken_for_the_packed_bytes(tmp_path):
    options = TextOptions(tokenizer="byte")
    facts = [TextFile("a", 1, "0" * 64)]
    keys = [selection.Selection([Source(name, Path(name))], [], options, 1).cache_key(facts) for name in ("a.gz", "a")]
    assert keys[0] != keys[1]


def test_a_short_text_is_not_kept(tmp_path):
    assert prepared(tmp_path, tmp_path / "kept").cache_key == ""
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("name", ["train.bin", "tokenizer.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["changed", "shorter", "gone"])
def test_a_damaged_entry_is_passed_over_and_replaced(tmp_path, root, name, damage):
    first = prepared(tmp_path, root)
    file = root / first.cache_key / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-9] if damage == "shorter" else content[:-9] + b"?" + content[-8:])
    notes = []
    assert contents(prepared(tmp_path, root, notes=notes)) == contents(first)
    assert notes == []
    prepared(tmp_path, root, notes=notes)
    assert "taken from the cache" in notes[0]


def test_of_a_text_that_grows_while_it_is_read_what_there_was_is_encoded(tmp_path, root, monkeypatch):
    encode = corpus.encode_text

    def encode_while_it_grows(directory, text, *others):
        with text.sources[0].path.open("a") as file:
            file.write("more\n")
        return encode(directory, text, *others)

    first = prepared(tmp_path, root)
    monkeypatch.setattr(corpus, "encode_text", encode_while_it_grows)
    notes = []
    second = prepared(tmp_path, None, notes=notes)
    assert contents(second) == contents(first)
    assert notes == [f"{tmp_path / 'text.txt'}: grew while it was read; its first {len(TEXT):,} bytes are used"]


def test_an_entry_that_cannot_be_copied_for_lack_of_room_is_left_as_it_is(tmp_path, root, monkeypatch):
    key = prepared(tmp_path, root).cache_key

    def full(source, target, digest):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(cache, "_copy", full)
    (tmp_path / "copy").mkdir()
    assert cache.fetch(root, key, tmp_path / "copy") is None
    assert (root / key).is_dir()


def test_a_text_is_encoded_where_there_is_no_room_for_keeping_it(tmp_path, root, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    path = tmp_path / "a.txt"
    path.write_text(TEXT)
    made = prepare_corpus(tmp_path, [str(path)], TextOptions(), seed=1, cache_root=root)
    assert made.train.num_tokens > 0
    assert cache.entries(root) == []


def kept(root, name, size=1000):
    file = root.parent / "content"
    file.write_bytes(bytes(size))
    cache.store(root, name, {"content": file}, {"what": name})


def test_what_was_not_used_for_longest_makes_room(tmp_path, monkeypatch):
    root = tmp_path / "kept"
    for age, name in enumerate(("new", "middle", "old")):
        kept(root, name)
        moment = time.time() - 100 * (age + 1)
        os.utime(root / name / "manifest.json", (moment, moment))
    monkeypatch.setattr(cache, "MOST_BYTES", sum(entry.num_bytes for entry in cache.entries(root)) + 10)
    assert cache.fetch(root, "old", tmp_path) == {"what": "old"}  # now it was used
    kept(root, "newest")
    assert [entry.what for entry in cache.entries(root)] == ["new", "old", "newest"]
    kept(root, "too large for it", 10_000)
    assert len(cache.entries(root)) == 3


def test_what_a_killed_process_left_behind_is_removed_in_time(tmp_path):
    root = tmp_path / "kept"
    kept(root, "one")
    for name, age in (("new-just", 10), ("new-ago", 2 * 24 * 3600)):
        (root / name).mkdir()
        moment = time.time() - age
        os.utime(root / name, (moment, moment))
    kept(root, "two")
    assert sorted(path.name for path in root.iterdir()) == ["new-just", "one", "two"]
    assert len(cache.entries(root)) == 2


def test_two_at_once_leave_one_whole_entry(tmp_path):
    root = tmp_path / "kept"
    file = tmp_path / "content"
    file.write_bytes(bytes(200_000))
    threads = [threading.Thread(target=cache.store, args=(root, "same", {"content": file}, {})) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in root.iterdir()] == ["same"]
    (tmp_path / "fetched").mkdir()
    assert cache.fetch(root, "same", tmp_path / "fetched") == {}


def test_a_cache_that_cannot_be_written_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    cache.store(tmp_path / "file", "one", {"content": tmp_path / "file"}, {})
    assert cache.fetch(tmp_path / "file", "one", tmp_path) is None
    assert cache.entries(tmp_path / "file") == cache.entries(None) == []


def test_a_cache_that_may_not_be_entered_is_none(tmp_path, monkeypatch):
    cache.store(tmp_path / "kept", "one", {}, {"what": "facts alone"})
    assert cache.fetch(tmp_path / "kept", "one", None) == {"what": "facts alone"}

    def refuse(path, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    assert cache.fetch(tmp_path / "kept", "one", None) is None


@pytest.mark.parametrize(
    ("platform", "environment", "place"),
    [
        ("linux", {"CHARNN_CACHE_DIR": "/x/y"}, "/x/y"),
        ("linux", {"CHARNN_CACHE_DIR": ""}, None),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/charnn"),
        ("linux", {"HOME": "/home/me"}, "/home/me/.cache/charnn"),
        ("darwin", {"HOME": "/home/me"}, "/home/me/Library/Caches/charnn"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/charnn"),
    ],
)
def test_the_cache_lies_where_the_system_keeps_such_things(monkeypatch, platform, environment, place):
    for name in ("CHARNN_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert cache.cache_directory() == (None if place is None else Path(place))


LONG = "".join(f"line number {number} of a text that is too long\n" for number in range(100_000))


@pytest.fixture
def slow(monkeypatch):
    """A machine on which a megabyte takes four seconds, by a clock that only reading moves."""
    clock = [0.0]

    def measure(num_bytes, seconds, read):
        return affordable_fraction(
            num_bytes, seconds, lambda fraction: clock.__setitem__(0, clock[0] + fraction * num_bytes / 250e3)
        )

    monkeypatch.setattr(corpus, "affordable_fraction", measure)
    monkeypatch.setattr(affordable.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(affordable, "SLOWEST_SPEED", 1)
    return clock


@pytest.mark.parametrize("unit", ["stream", "line"])
def test_of_a_text_too_long_for_the_budget_whole_lines_at_its_beginning_are_read(tmp_path, slow, unit):
    notes = []
    made = prepared(tmp_path, None, LONG, notes=notes, minutes=0.8, unit=unit)
    num_read = made.files[0].num_bytes
    assert made.files[0].of_bytes == len(LONG)
    assert num_read == int(len(LONG) / 4)  # 1.6 MB would be possible: the steps are coarse
    assert (
        len(LONG[:num_read]) - made.train.num_chars - made.valid.num_chars
        == num_read - LONG.rfind("\n", 0, num_read) - 1
    )
    assert notes == [
        f"reading the first {num_read / 1e6:.1f} of {len(LONG) / 1e6:.1f} MB of {tmp_path / 'text.txt'}, as much as 0.8 "
        "minutes allow; 2 minutes are enough for all of it"
    ]


def test_with_time_enough_all_of_it_is_read(tmp_path, slow):
    notes = []
    made = prepared(tmp_path, None, LONG, notes=notes, minutes=3)
    assert (made.train.num_chars + made.valid.num_chars, notes) == (len(LONG), [])
    assert made.files[0].of_bytes is None


def test_a_part_that_was_read_is_in_the_cache_for_about_the_same_budget(tmp_path, root, slow):
    first = prepared(tmp_path, root, LONG, minutes=0.8)
    notes = []
    second = prepared(tmp_path, root, LONG, minutes=0.9, notes=notes)
    assert contents(second) == contents(first)
    assert second.files == first.files
    num_read = first.files[0].num_bytes
    assert notes == [
        f"the first {num_read / 1e6:.1f} of {len(LONG) / 1e6:.1f} MB of {tmp_path / 'text.txt'}: taken from the cache, "
        "encoded by an earlier run"
    ]
    whole = prepared(tmp_path, root, LONG)
    assert whole.cache_key not in ("", first.cache_key)
    assert prepared(tmp_path, root, LONG, minutes=0.5).cache_key == whole.cache_key


def test_a_text_too_long_for_its_digest_is_not_kept(tmp_path, root, slow, monkeypatch):
    monkeypatch.setattr(affordable, "HASHING_SPEED", 0.0)
    assert prepared(tmp_path, root, LONG, minutes=0.5).cache_key == ""


@pytest.mark.parametrize(("seconds", "fraction"), [(1e9, 1.0), (40.0, 2**-2.5), (0.0, 2**-3.5)])
def test_how_much_can_be_read_follows_the_measured_speed(monkeypatch, seconds, fraction):
    clock = [0.0]
    monkeypatch.setattr(affordable.time, "monotonic", lambda: clock[0])

    def read(part):
        clock[0] += part * 10e6 / 100e3

    found, needed = affordable_fraction(10_000_000, seconds, read)
    assert found == pytest.approx(fraction)
    assert needed == 0.0 or 100 < needed < 200


def test_where_there_is_certainly_time_enough_it_is_measured_once(monkeypatch):
    clock, parts = [0.0], []
    monkeypatch.setattr(affordable.time, "monotonic", lambda: clock[0])

    def read(part):
        parts.append(part)
        clock[0] += part * 100

    assert affordable_fraction(10_000_000, 300.0, read)[0] == 1.0
    assert parts == [pytest.approx((1 << 20) / 10_000_000)]


def test_about_the_same_is_at_least_nearly_half():
    assert like_fractions(0.25) == pytest.approx([2 ** (-step / 2) for step in range(1, 7)])


def beginning(path, num_bytes, separator):
    (source,) = find_sources([str(path)])
    return dataclasses.replace(source, num_bytes=num_bytes, separator=separator)


@pytest.mark.parametrize(
    ("content", "num_bytes", "separator", "text"),
    [
        (b"one\ntwo\nthree\n", 10, "\n", "one\ntwo\n"),
        (b"one\ntwo\nthree\n", 2, "\n", "on"),
        (b"one\n\ntwo\nthree\n\nfour\n\n", 13, "\n\n", "one\n\n"),
        ("é\né\né\n".encode(), 7, "\n", "é\né\n"),
        ("éé".encode(), 3, "\n", "é"),
        (b"a\r\nb\r\nc\r\n", 8, "\n", "a\nb\n"),
    ],
)
def test_a_beginning_ends_with_a_whole_line_or_document(tmp_path, content, num_bytes, separator, text):
    (tmp_path / "t").write_bytes(content)
    source = beginning(tmp_path / "t", num_bytes, separator)
    assert "".join(read_text([source], "utf-8")) == text


@pytest.mark.parametrize("separator", ["\n", "\n\n"])
def test_of_a_very_long_line_or_document_nothing_is_left_out_in_the_middle(tmp_path, separator):
    content = f"short{separator}{'long ' * 700_000}{separator}last{separator}"  # 3.5 MB, which comes in several parts
    (tmp_path / "t").write_text(content, encoding="utf-8")
    read = "".join(read_text([beginning(tmp_path / "t", 3_000_000, separator)], "utf-8"))
    assert content.startswith(read)
    assert len(read) > 1_900_000
    whole = "".join(read_text([beginning(tmp_path / "t", len(content) - 3, separator)], "utf-8"))
    assert whole == content.removesuffix(f"last{separator}")


def test_progress_counts_every_byte_of_every_pass(tmp_path, root):
    seen = []
    prepared(tmp_path, root, LONG, tokenizer="char", report=seen.append)
    by_pass = {}
    for progress in seen:
        by_pass.setdefault(progress.task.split(f" {tmp_path}")[0], []).append(progress)
    assert list(by_pass) == ["taking the digest of", "looking through", "reading"]
    for each in by_pass.values():
        done = [progress.num_done for progress in each]
        assert done == sorted(done)
        assert done[0] == 0
        assert done[-1] == each[-1].num_total == len(LONG)
        assert all(progress.seconds >= 0 and progress.quantity == "bytes" for progress in each)


def test_a_manifest_holds_names_that_are_no_utf8(tmp_path, root):
    name = os.fsdecode(b"caf\xe9.txt")
    cache.store(root, "key", {}, {"what": name})
    assert json.loads((root / "key" / "manifest.json").read_bytes())["facts"]["what"] == name
    assert cache.fetch(root, "key", tmp_path) == {"what": name}


def test_ids_are_those_of_the_tokenizer_on_the_whole_text(tmp_path):
    made = prepared(tmp_path, None, TEXT, tokenizer="word", min_count=2)
    whole = made.tokenizer.encode(TEXT[: made.train.num_chars])
    assert np.array_equal(made.ids("train"), whole)
    assert made.train.num_unknown == np.count_nonzero(whole == 0) > 0
