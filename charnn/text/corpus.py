"""The corpus: text streamed into `train.bin` and `valid.bin`, never held in memory as a whole.

One pass over the text measures it, one encodes it; of characters, bytes and subwords, which are quickly cut, another one counts
before. A unit (a line or a document) is written with its closing boundary; the opening one of the first unit is understood.
"""

import contextlib
import functools
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.config import TextOptions
from charnn.errors import CharnnError, TextError
from charnn.files import explain_write_errors
from charnn.notices import notice_logger
from charnn.text.affordable import (
    affordable_fraction,
    can_be_hashed,
    like_fractions,
    needs_no_measuring,
    reading_seconds,
)
from charnn.text.cache import SMALLEST_TEXT
from charnn.text.decoding import RAW
from charnn.text.encoding import Encoded, encode_pieces, encode_words
from charnn.text.facts import SplitSize, TextFile
from charnn.text.kept_corpus import fetch_encoded, keep_encoded
from charnn.text.progress import Meter, Report
from charnn.text.reading import read_text
from charnn.text.selection import Selection
from charnn.text.sources import SPOOL_SUFFIX, Source, check_unchanged, find_sources, readable_again
from charnn.text.splitting import Piece, all_valid, stream_splitter, unit_splitter
from charnn.text.tokenizer_training import train_tokenizer
from charnn.text.tokenizers import Tokenizer

logger = notice_logger(__name__)

TOKENS_REVERSED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """An encoded corpus on disk.

    Args:
        directory: where `train.bin` and `valid.bin` lie.
        tokenizer: made from the training part alone.
        train, valid: sizes of the two parts.
        files: name, size and sha256 of each text.
        rare_words: see `TrainedWordTokenizer`.
        key: names the encoded text in the cache; empty where it is not kept.
    """

    directory: Path
    tokenizer: Tokenizer
    train: SplitSize
    valid: SplitSize
    files: list[TextFile]
    rare_words: Sequence[str] = ()
    key: str = ""

    def ids(self, split: str) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Return the ids (N,) of "train" or "valid", memory-mapped."""
        return open_ids(self.directory / f"{split}.bin", self.tokenizer)


def open_ids(path: Path, tokenizer: Tokenizer) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Memory-map encoded text (N,), which may be empty."""
    dtype = tokenizer.vocabulary.dtype
    if path.stat().st_size == 0:
        return np.zeros(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")


def reverse_encoded(source: Path, target: Path, tokenizer: Tokenizer) -> None:
    """Write encoded text as it is read from right to left; both may be the same file.

    A boundary that closes units closes them still. Only a part of the text is in memory at a time.
    """
    dtype = np.dtype(tokenizer.vocabulary.dtype)
    num_tokens = source.stat().st_size // dtype.itemsize
    num_closing = min(num_tokens, int(tokenizer.unit != "stream"))
    fresh = target.with_name(target.name + ".reversed")
    with explain_write_errors(target), source.open("rb") as text, fresh.open("wb") as file:

        def read(first: int, end: int) -> npt.NDArray[np.unsignedinteger[Any]]:
            text.seek(first * dtype.itemsize)
            return np.frombuffer(text.read((end - first) * dtype.itemsize), dtype=dtype)

        for end in range(num_tokens - num_closing, 0, -TOKENS_REVERSED_AT_ONCE):
            file.write(read(max(0, end - TOKENS_REVERSED_AT_ONCE), end)[::-1].tobytes())
        file.write(read(num_tokens - num_closing, num_tokens).tobytes())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(target)


def prepare_corpus(
    directory: Path,
    texts: Sequence[str],
    options: TextOptions,
    *,
    seed: int,
    report: Report | None = None,
    minutes: float | None = None,
    cache_root: Path | None = None,
) -> Corpus:
    """Read the texts, make a tokenizer and write the encoded corpus.

    Args:
        directory: receives `train.bin` and `valid.bin`.
        texts: what the user named (see `find_sources`).
        options: tokenizer, unit, split.
        seed: draws the held-out units.
        report: told how far the reading has come.
        minutes: the time budget; of a text that is too long for it, a beginning of each file is read.
        cache_root: where encoded text is kept (see `cache`); None for nowhere.

    Raises:
        TextError: for texts that cannot be read or hold nothing.
    """
    try:
        text = _select(directory, texts, options, seed)
        cache = _Cache(cache_root if text.num_bytes >= SMALLEST_TEXT else None)
        if can_be_hashed(text.num_bytes, minutes):
            cache = cache._replace(whole=text.facts(report))
        kept = _find_kept(directory, text, [1.0], cache)
        if kept is None and minutes is not None and not needs_no_measuring(text.num_bytes, minutes):
            fraction, needed = _affordable(directory, text, minutes)
            if fraction < 1:
                kept = _find_kept(directory, text, like_fractions(fraction), cache)
                text = text.beginning(fraction)
            if fraction < 1 and kept is None:
                logger.info(_what_is_read(text, minutes, needed))
        return kept or _encode_and_keep(directory, text, cache, report)
    finally:
        for copy in directory.glob(f"*{SPOOL_SUFFIX}"):
            with contextlib.suppress(PermissionError):  # an error left it open, and tells more
                copy.unlink()


def _select(directory: Path, texts: Sequence[str], options: TextOptions, seed: int) -> Selection:
    """Find the texts, with what can be read only once copied into a directory. Raises TextError where they are empty."""
    as_bytes = options.tokenizer == "byte"
    sources = find_sources(texts, as_bytes=as_bytes)
    valid = find_sources([options.valid], as_bytes=as_bytes) if options.valid else []
    sources = _without(valid, sources)
    stored = readable_again([*sources, *valid], directory)
    text = Selection(stored[: len(sources)], stored[len(sources) :], options, seed)
    if not any(source.stored_bytes for source in text.sources):
        raise TextError(f"{text.name}: is empty; there is nothing to learn from")
    return text


class _Cache(NamedTuple):
    """Where encoded text is kept, and under what.

    Args:
        root: of the cache; None for nowhere.
        whole: what one knows all of the text by; None where there is no time to read it for that.
    """

    root: Path | None
    whole: list[TextFile] | None = None


def _find_kept(directory: Path, text: Selection, fractions: Sequence[float], cache: _Cache) -> Corpus | None:
    """Return the first of these fractions of a text that is in the cache, if there is one."""
    if cache.root is None or cache.whole is None:
        return None
    for part in (text if fraction == 1 else text.beginning(fraction) for fraction in fractions):
        key = part.key(cache.whole)
        encoded = fetch_encoded(cache.root, key, directory, part)
        if encoded is not None:
            return _corpus(directory, encoded, cache.whole if part.is_whole else part.facts(), key)
    return None


def _affordable(directory: Path, text: Selection, minutes: float) -> tuple[float, float]:
    """Return how much of a text can be read, and the minutes that all of it needs."""

    def read(fraction: float) -> None:
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            try:
                _encode(Path(folder), text.beginning(fraction), None)
            except (CharnnError, RuntimeError):
                return  # what is wrong is said when it is read in earnest, if it is still wrong then

    seconds = reading_seconds(minutes)
    fraction, needed = affordable_fraction(text.num_bytes, seconds, read)
    return fraction, minutes * needed / seconds


def _what_is_read(text: Selection, minutes: float, needed: float) -> str:
    of_each = " (a beginning of each file)" if len(text.sources) + len(text.valid) > 1 else ""
    return (
        f"reading {text.description}{of_each}, as much as {minutes:g} minutes leave time for; "
        f"{max(1, needed):.0f} minutes are enough for all of it"
    )


def _encode_and_keep(
    directory: Path,
    text: Selection,
    cache: _Cache,
    report: Report | None,
) -> Corpus:
    facts = cache.whole if cache.whole is not None and text.is_whole else text.facts(report)
    encoded = _encode(directory, text, report)
    check_unchanged((*text.sources, *text.valid))
    for message in encoded.notes:
        logger.info(message)
    if text.valid and not encoded.sizes["valid"].num_tokens:
        raise TextError(
            f"{text.options.valid}: holds no text to validate on; name another --valid file or leave it out"
        )
    key = ""
    if cache.root is not None and cache.whole is not None:
        key = text.key(cache.whole)
        keep_encoded(cache.root, key, directory, encoded, text)
    return _corpus(directory, encoded, facts, key)


def _corpus(directory: Path, encoded: Encoded, facts: list[TextFile], key: str) -> Corpus:
    sizes = encoded.sizes
    return Corpus(directory, encoded.tokenizer, sizes["train"], sizes["valid"], facts, encoded.rare_words, key)


def _encode(directory: Path, text: Selection, report: Report | None) -> Encoded:
    """Make the tokenizer and write both splits."""
    notes: list[str] = []
    options = text.options
    encoding = RAW if options.tokenizer == "byte" else options.encoding

    def meter(what: str, sources: Sequence[Source]) -> Callable[[int], None]:
        return Meter(
            f"{what} {text.short_name}", "bytes", sum(source.stored_bytes for source in sources), report
        ).advance

    separator = "\n\n" if options.unit == "document" else "\n"
    read = functools.partial(read_text, encoding=encoding, separator=separator)
    fraction = 0.0 if text.valid else options.valid_fraction
    first_pass = read(text.sources, notes=notes, advance=meter("looking through", text.sources))
    if options.unit == "stream":
        split = stream_splitter(first_pass, fraction, text.name, notes)
    else:
        split = unit_splitter(first_pass, options.unit, fraction, text.seed, text.name, notes)

    def pieces(what: str) -> Iterator[Piece]:
        advance = meter(what, (*text.sources, *text.valid))
        return itertools.chain(
            split(read(text.sources, advance=advance)),
            all_valid(read(text.valid, advance=advance), options.unit),
        )

    def training_texts() -> Iterator[str]:
        for piece in split(read(text.sources, advance=meter("counting the tokens of", text.sources))):
            if piece.split == "train":
                yield piece.text(options.unit)

    if options.tokenizer == "word":
        return encode_words(directory, pieces("reading"), options)._replace(notes=notes)
    tokenizer = train_tokenizer(options, training_texts, seed=text.seed)
    return Encoded(tokenizer, encode_pieces(directory, pieces("reading"), tokenizer), notes=notes)


def _without(held_out: Sequence[Source], sources: Sequence[Source]) -> list[Source]:
    """Leave the validation file out of the training text, where a directory holds both."""
    places = {source.path.resolve() for source in held_out if source.path}
    kept = [source for source in sources if source.path is None or source.path.resolve() not in places]
    if len(kept) < len(sources) and kept:
        logger.info("the validation file is left out of the training text")
    return kept or list(sources)
