"""The disk space that encoding a long text takes, estimated from its beginning and compared with what is free."""

import shutil
from pathlib import Path

import numpy as np

from charnn.config import TextOptions
from charnn.errors import StorageError
from charnn.notices import notice_logger
from charnn.text.selection import Selection
from charnn.text.sources import Source, opened
from charnn.text.words import split_words

logger = notice_logger(__name__)

LARGE_BYTES = 1 << 28
"""Texts from which on disk use is estimated."""
SAMPLE_BYTES, SAMPLE_WORD_CHARS = 1 << 20, 1 << 16
NUMBER_BYTES = 4
"""Bytes of the number of a word, by which it is stored until all words are counted."""
CHARS_PER_SUBWORD = 3.0
OTHER_FILES_BYTES = 300_000_000
"""At most, of the n-gram model; weights and checkpoints are small beside it, or grow with the model, not with the text."""


def check_disk_space(directory: Path, text: Selection, *, is_cached: bool) -> None:
    """Log how much disk space a long text needs.

    Args:
        directory: receives the encoded text.
        text: what is read.
        is_cached: whether a copy of the encoded text goes to the cache.

    Raises:
        StorageError: if there is not enough.
    """
    if text.num_bytes < LARGE_BYTES:
        return
    needed = estimate_disk_bytes(text, is_cached=is_cached)
    free = shutil.disk_usage(directory).free
    said = f"{text.description}: encoding it takes about {needed / 1e9:.1f} GB of disk, {free / 1e9:.1f} GB are free"
    if needed > free:
        raise StorageError(f"{said}; free some, name a directory on another disk with -o, or train on less text")
    logger.info(said)


def estimate_disk_bytes(text: Selection, *, is_cached: bool) -> float:
    """Return the bytes that are written at most at one time while a text is encoded and its n-grams are counted."""
    unpacked, beginning = _beginning(text.sources[0], text.options)
    num_bytes = text.num_bytes * unpacked
    ids, temporary = _bytes_per_character(beginning, text.options)
    num_chars = num_bytes * len(beginning) / max(1, len(beginning.encode("utf-8", "surrogateescape")))
    encoded = num_chars * ids
    return max(num_chars * temporary, encoded * int(is_cached)) + encoded + OTHER_FILES_BYTES


def _beginning(source: Source, options: TextOptions) -> tuple[float, str]:
    """Return how many bytes each stored byte stands for, and the beginning of a text."""
    with opened(source, unpacks=options.tokenizer != "byte") as text:
        content = text.file.read(SAMPLE_BYTES)
        stored = len(content) if text.file is text.stored else text.stored.tell()
    if options.tokenizer == "byte":
        return len(content) / max(1, stored), content.decode("utf-8", "surrogateescape")
    return len(content) / max(1, stored), content.decode(options.encoding, "ignore")


def _bytes_per_character(beginning: str, options: TextOptions) -> tuple[float, float]:
    """Return the bytes that a character takes as ids, and in files that are deleted later."""
    if options.tokenizer == "byte":
        return len(beginning.encode("utf-8", "surrogateescape")) / max(1, len(beginning)), 0.0
    if options.tokenizer == "char":
        size = min(len(set(beginning)) + 1, options.vocab_size or len(beginning) + 1)
        return float(np.dtype(np.min_scalar_type(size)).itemsize), 0.0
    if options.tokenizer == "subword":
        return 2 / CHARS_PER_SUBWORD, 0.0
    sample = beginning[:SAMPLE_WORD_CHARS]
    tokens_per_char = sum(1 for _ in split_words(sample)) / max(1, len(sample))
    return 2 * tokens_per_char, NUMBER_BYTES * tokens_per_char
