"""Files that are compressed with Zstandard."""

import importlib
import io

import pytest

from charnn.errors import TextError
from charnn.text import zst
from charnn.text.decoding import decoded
from charnn.text.sources import find_sources

TEXT = "some text, and more of it\n" * 4000
zstandard = pytest.importorskip("zstandard")


def packed(text=TEXT):
    return zstandard.ZstdCompressor().compress(text.encode())


def read(tmp_path, content, name="t.txt.zst"):
    (tmp_path / name).write_bytes(content)
    return "".join(decoded(find_sources([str(tmp_path / name)])[0], "utf-8"))


@pytest.mark.parametrize("block", [1, 7, 1 << 14])
def test_one_or_more_frames_are_read(tmp_path, monkeypatch, block):
    monkeypatch.setattr(zst, "PACKED_BLOCK_BYTES", block)
    assert read(tmp_path, packed()) == TEXT
    assert read(tmp_path, packed() + packed("end\n"), "t.txt") == TEXT + "end\n"


@pytest.mark.parametrize("content", [packed()[:-3], packed() + zst.MAGIC, packed()[:9] + b"\xff" * 9 + packed()[18:]])
def test_a_damaged_file_is_refused(tmp_path, content):
    with pytest.raises(TextError, match=r"t.txt.zst: is damaged or cut short \(.+\); compress or copy it again"):
        read(tmp_path, content)


def test_the_package_that_is_missing_is_named(tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        TextError, match=r"t.txt.zst: is compressed with Zstandard, .* pip install -e '\.\[zstd\]', or unpack"
    ):
        read(tmp_path, packed())


def test_the_module_of_python_comes_first(monkeypatch):
    asked = []
    real = importlib.import_module

    class Frames:
        def __init__(self):
            self._decompressor = zstandard.ZstdDecompressor().decompressobj()

        def __getattr__(self, name):
            return getattr(self._decompressor, name)

    def found(name):
        asked.append(name)
        return type("Module", (), {"ZstdDecompressor": Frames}) if name == "compression.zstd" else real(name)

    monkeypatch.setattr(importlib, "import_module", found)
    assert zst.open_zst(io.BytesIO(packed()), "t").read().decode() == TEXT
    assert asked == ["compression.zstd"]


def test_other_errors_keep_their_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(zst, "open_zst", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read(tmp_path, packed())
