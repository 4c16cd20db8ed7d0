"""Reading of files that are compressed with Zstandard, by Python 3.14 or later itself or by the package `zstandard`."""

import importlib
import io
from collections.abc import Callable
from typing import IO, Any, cast

from charnn.errors import TextError

MAGIC = b"\x28\xb5\x2f\xfd"
PACKED_BLOCK_BYTES = 1 << 14
"""Compressed bytes that are unpacked at a time; of very repetitive text they may be hundreds of times as many."""


def open_zst(stored: IO[bytes], name: str) -> IO[bytes]:
    """Return the decompressed bytes of a file.

    Raises:
        TextError: if there is no module that decompresses them.
    """
    return cast(IO[bytes], io.BufferedReader(_Unpacked(stored, _decompressors(name)), 1 << 18))


def is_zst_error(error: Exception) -> bool:
    """Return whether an exception is that of a damaged file, from whichever module."""
    return type(error).__name__ == "ZstdError"


def _decompressors(name: str) -> Callable[[], Any]:
    """Return a function that makes decompressors for one frame each."""
    try:
        return cast(Callable[[], Any], importlib.import_module("compression.zstd").ZstdDecompressor)
    except ModuleNotFoundError:
        pass
    try:
        module = importlib.import_module("zstandard")
    except ModuleNotFoundError:
        raise TextError(
            f"{name}: is compressed with Zstandard, and zstandard is not installed; in the clone, run "
            "pip install -e '.[zstd]', or unpack the file first with unzstd"
        ) from None
    return lambda: module.ZstdDecompressor().decompressobj()


class _Unpacked(io.RawIOBase):
    """The decompressed bytes of one or more frames."""

    def __init__(self, stored: IO[bytes], new_decompressor: Callable[[], Any]) -> None:
        self._stored, self._new_decompressor = stored, new_decompressor
        self._decompressor = new_decompressor()
        self._is_within_frame, self._packed = False, b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read some bytes, none at the end. Raises EOFError for a file that ends within a frame."""
        while not self._ready:
            packed = self._packed or self._stored.read(PACKED_BLOCK_BYTES)
            if not packed:
                if self._is_within_frame:
                    raise EOFError("the file ended before the end-of-stream marker was reached")
                return 0
            self._packed, self._is_within_frame = b"", True
            self._ready = memoryview(self._decompressor.decompress(packed))
            if self._decompressor.eof:
                self._packed, self._is_within_frame = self._decompressor.unused_data, False
                self._decompressor = self._new_decompressor()
        number = min(len(buffer), len(self._ready))
        buffer[:number] = self._ready[:number]
        self._ready = self._ready[number:]
        return number
