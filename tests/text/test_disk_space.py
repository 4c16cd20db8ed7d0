"""Disk space is estimated before a long text is encoded."""

import bz2
import random
from types import SimpleNamespace

import pytest

from charnn.config import TextOptions
from charnn.errors import StorageError
from charnn.text import disk_space
from charnn.text.corpus import prepare_corpus
from charnn.text.disk_space import estimate_disk_bytes
from charnn.text.selection import Selection
from charnn.text.sources import find_sources
from tests.conftest import FABLES
from tests.notices import collected_notices

TEXT = FABLES.read_text(encoding="utf-8")
RUSSIAN = "".join(random.Random(1).choice("абвгдежзийклмнопрстуфхцчшщъыьэюя  ") for _ in range(40_000))
CHINESE = "".join(chr(0x4E00 + random.Random(2).randrange(900)) for _ in range(30_000))


def selected(tmp_path, content, **options):
    name = "text.txt" if isinstance(content, str) else "text.txt.bz2"
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return Selection(find_sources([str(tmp_path / name)]), [], TextOptions(**options), 1)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (TEXT, {}),
        (RUSSIAN, {}),
        (CHINESE, {}),
        (CHINESE, {"vocab_size": 200}),
        (CHINESE, {"tokenizer": "byte"}),
        (TEXT, {"tokenizer": "word"}),
        (TEXT, {"tokenizer": "subword", "vocab_size": 600}),
        (bz2.compress(TEXT.encode()), {}),
    ],
    ids=["ASCII", "two bytes", "two-byte ids", "few ids", "byte", "word", "subword", "compressed"],
)
def test_the_estimate_is_near_what_is_written(tmp_path, monkeypatch, content, options):
    monkeypatch.setattr(disk_space, "OTHER_FILES_BYTES", 0)
    text = selected(tmp_path, content, **options)
    (tmp_path / "m").mkdir()
    prepare_corpus(tmp_path / "m", [text.sources[0].name], text.options, seed=1)
    written = sum(file.stat().st_size for file in (tmp_path / "m").iterdir())
    as_cached = estimate_disk_bytes(text, is_cached=True)
    assert as_cached >= 2 * 0.8 * written
    if options.get("tokenizer") == "word":
        assert as_cached == estimate_disk_bytes(
            text, is_cached=False
        )  # the numbers take more than the copy, and are gone by then
        written *= 3
    assert estimate_disk_bytes(text, is_cached=False) == pytest.approx(written, rel=0.2)


@pytest.mark.parametrize("free", [10_000_000_000, 1000])
def test_a_long_text_is_refused_where_it_does_not_fit(tmp_path, monkeypatch, free):
    monkeypatch.setattr(disk_space, "LARGE_BYTES", 1)
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    text = selected(tmp_path, TEXT)
    name = text.sources[0].name
    if free == 1000:
        with pytest.raises(StorageError) as error:
            prepare_corpus(tmp_path, [name], text.options, seed=1)
        assert str(error.value) == (
            f"{name}: encoding it takes about 0.3 GB of disk, 0.0 GB are free; free some, name a directory on another disk "
            "with -o, or train on less text"
        )
        assert sorted(file.name for file in tmp_path.iterdir()) == ["text.txt"]
        return
    with collected_notices() as notes:
        prepare_corpus(tmp_path, [name], text.options, seed=1)
    assert notes[0] == f"{name}: encoding it takes about 0.3 GB of disk, 10.0 GB are free"


def test_of_a_short_text_nothing_is_said(tmp_path):
    text = selected(tmp_path, TEXT)
    with collected_notices() as notes:
        prepare_corpus(tmp_path, [text.sources[0].name], text.options, seed=1)
    assert notes == []
