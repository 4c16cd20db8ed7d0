"""The corpus: text streamed into `train.bin` and `valid.bin`, never held in memory as a whole.

One pass over the text measures it, one encodes it; of characters, bytes and subwords, which are quickly cut, another one counts
before. A unit (a line or a document) is written with its closing boundary; the opening one of the first unit is understood.
"""

import contextlib
import importlib.metadata
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.config import TextOptions
from charnn.errors import CharnnError, TextError
from charnn.files import explain_write_errors
from charnn.options import as_json
from charnn.text import cache
from charnn.text.affordable import (
    ALWAYS_READ,
    HASHING_FRACTION,
    HASHING_SPEED,
    SLOWEST_SPEED,
    affordable_fraction,
    beginnings,
    like_fractions,
    reading_seconds,
    stored_size,
)
from charnn.text.encoding import SPLITS, SplitSize, encode_pieces, encode_words
from charnn.text.progress import Meter, Report
from charnn.text.reading import RAW, Notify, Source, find_sources, read_text, sha256_of
from charnn.text.splitting import Piece, all_valid, stream_splitter, unit_splitter
from charnn.text.tokenizer_training import TrainedTokenizer, train_tokenizer
from charnn.text.tokenizers import FORMAT_VERSION, Tokenizer, load_tokenizer

TOKENS_REVERSED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """An encoded corpus on disk.

    Args:
        directory: where `train.bin` and `valid.bin` lie.
        tokenizer: made from the training part alone.
        train, valid: sizes of the two parts.
        files: name, size and sha256 of each text.
        rare_words: see `TrainedTokenizer`.
        key: names the encoded text in the cache; empty where it is not kept.
    """

    directory: Path
    tokenizer: Tokenizer
    train: SplitSize
    valid: SplitSize
    files: list[dict[str, Any]]
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
    notify: Notify,
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
        notify: told, once each, what a user should know of the text.
        report: told how far the reading has come.
        minutes: the time budget; of a text that is too long for it, a beginning of each file is read.
        cache_root: where encoded text is kept (see `cache`); None for nowhere.

    Raises:
        TextError: for texts that cannot be read or hold nothing.
    """
    spool = directory / "stdin.spool"
    try:
        valid = find_sources([options.valid], notify, spool=spool) if options.valid else []
        text = _Text(_without(valid, find_sources(texts, notify, spool=spool), notify), valid, options, seed)
        if not any(map(stored_size, text.sources)):
            raise TextError(f"{text.name}: is empty; there is nothing to learn from")
        if text.num_bytes < cache.SMALLEST_TEXT:
            cache_root = None
        digests = None
        if minutes is None or text.num_bytes < HASHING_SPEED * HASHING_FRACTION * reading_seconds(minutes):
            digests = text.facts(report)
            if cache_root and (corpus := _from_cache(cache_root, directory, text, digests, digests, notify)):
                return corpus
        if minutes is not None:
            part, needed = _affordable(directory, text, minutes)
            if (
                part.fraction < 1
                and cache_root
                and (corpus := _part_from_cache(cache_root, directory, text, part, digests, notify))
            ):
                return corpus
            if part.fraction < 1:
                notify(_what_is_read(part, minutes, needed))
            text = part
        files = digests if digests and text.fraction == 1 else text.facts(report)
        return _encode(directory, text, files, digests or files, notify, report, cache_root)
    finally:
        with contextlib.suppress(
            PermissionError
        ):  # an error left it open, and tells more; it vanishes with the directory
            spool.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Text:
    """What is to be encoded.

    Args:
        sources, valid: the texts, and those to validate on where they were named.
        fraction: of the bytes of each file that is read, from its beginning on.
        of_bytes: how large all of it is.
    """

    sources: Sequence[Source]
    valid: Sequence[Source]
    options: TextOptions
    seed: int
    fraction: float = 1.0
    of_bytes: int = 0

    @property
    def name(self) -> str:
        return ", ".join(source.name for source in self.sources)

    @property
    def short_name(self) -> str:
        others = len(self.sources) - 1
        names = self.sources[0].name + (f" and {others} other{'s' if others > 1 else ''}" if others else "")
        if self.fraction == 1:
            return names
        return f"the first {self.num_bytes / 1e6:.1f} of {self.of_bytes / 1e6:.1f} MB of {names}"

    @property
    def num_bytes(self) -> int:
        return sum(map(stored_size, (*self.sources, *self.valid)))

    def beginning(self, fraction: float) -> "_Text":
        separator = "\n\n" if self.options.unit == "document" else "\n"
        sources, valid = (beginnings(part, fraction, separator) for part in (self.sources, self.valid))
        return _Text(sources, valid, self.options, self.seed, fraction, self.num_bytes)

    def facts(self, report: Report | None) -> list[dict[str, Any]]:
        meter = Meter(f"taking the digest of {self.short_name}", "bytes", self.num_bytes, report)
        return [_facts(source, meter) for source in (*self.sources, *self.valid)]

    def key(self, digests: Sequence[dict[str, Any]]) -> str:
        """Return what names the encoded text in the cache: all that it depends on.

        Args:
            digests: facts of the whole files, or if these were not read, of the beginnings that were.
        """
        options = as_json(self.options)
        del options["spell"], options["valid"]
        stored = [
            (facts["sha256"], "of_bytes" in facts, source.name.endswith(".gz"))
            for facts, source in zip(digests, (*self.sources, *self.valid), strict=True)
        ]
        is_drawn = self.options.unit != "stream" or self.options.tokenizer == "subword"
        return cache.make_key(
            what="text",
            tokenizer_format_version=FORMAT_VERSION,
            sentencepiece=importlib.metadata.version("sentencepiece") if self.options.tokenizer == "subword" else None,
            files=stored,
            fraction=self.fraction,
            num_valid_files=len(self.valid),
            options=options,
            seed=self.seed if is_drawn else None,
        )


def _affordable(directory: Path, text: _Text, minutes: float) -> tuple[_Text, float]:
    """Return the text or what can be read of it, and where that was measured, the minutes that all of it needs."""
    seconds = reading_seconds(minutes)
    if text.num_bytes <= max(2 * ALWAYS_READ, SLOWEST_SPEED * seconds):
        return text, 0.0

    def read(fraction: float) -> None:
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            try:
                _encode_text(Path(folder), text.beginning(fraction), lambda _: None, None)
            except (CharnnError, RuntimeError):
                return  # what is wrong is said when it is read in earnest, if it is still wrong then

    fraction, needed = affordable_fraction(text.num_bytes, seconds, read)
    return (text if fraction == 1 else text.beginning(fraction)), minutes * needed / seconds


def _what_is_read(text: _Text, minutes: float, needed: float) -> str:
    of_each = " (a beginning of each file)" if len(text.sources) + len(text.valid) > 1 else ""
    return (
        f"reading {text.short_name}{of_each}, as much as {minutes:g} minutes leave time for; {max(1, needed):.0f} minutes "
        "are enough for all of it"
    )


def _part_from_cache(
    root: Path,
    directory: Path,
    text: _Text,
    part: _Text,
    digests: list[dict[str, Any]] | None,
    notify: Notify,
) -> Corpus | None:
    """Return a part of a text that was read before, if it is about as large as what can be read now, or larger."""
    fractions = like_fractions(part.fraction) if digests else [part.fraction]
    for kept in map(text.beginning, fractions):
        key = kept.key(digests or kept.facts(None))
        if (root / key).exists():
            files = kept.facts(None)
            return _from_cache(root, directory, kept, files, digests or files, notify)
    return None


def _encode(
    directory: Path,
    text: _Text,
    files: list[dict[str, Any]],
    digests: list[dict[str, Any]],
    notify: Notify,
    report: Report | None,
    cache_root: Path | None,
) -> Corpus:
    options, notes = text.options, list[str]()

    def note(message: str) -> None:
        notes.append(message)
        notify(message)

    trained, sizes = _encode_text(directory, text, note, report)
    if options.valid and not sizes["valid"].num_tokens:
        raise TextError(f"{options.valid}: holds no text to validate on; name another --valid file or leave it out")
    key = text.key(digests) if cache_root else ""
    tokenizer, rare_words = trained
    if cache_root:
        made = {f"{split}.bin": directory / f"{split}.bin" for split in SPLITS}
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            for name, content in tokenizer.files().items():
                made[name] = Path(folder, name)
                made[name].write_bytes(content)
            facts = {
                "what": f"text, {options.tokenizer}: {text.short_name}",
                "sizes": {split: asdict(size) for split, size in sizes.items()},
                "rare_words": rare_words,
                "notes": notes,
            }
            cache.keep(cache_root, key, made, facts)
    return Corpus(directory, tokenizer, sizes["train"], sizes["valid"], files, rare_words, key)


def _from_cache(root: Path, directory: Path, text: _Text, files: list[dict[str, Any]], notify: Notify) -> Corpus | None:
    key = text.key(digests)
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        facts = cache.fetch(root, key, Path(folder))
        if facts is None:
            return None
        made = {path.name: path for path in Path(folder).iterdir()}
        for split in SPLITS:
            made.pop(f"{split}.bin").replace(directory / f"{split}.bin")
        tokenizer = load_tokenizer(str(root / key), {name: path.read_bytes() for name, path in made.items()})
    sizes = {split: SplitSize(**facts["sizes"][split]) for split in SPLITS}
    for message in facts["notes"]:
        notify(message)
    notify(f"{text.short_name}: taken from the cache, encoded by an earlier run")
    return Corpus(directory, tokenizer, sizes["train"], sizes["valid"], files, facts["rare_words"], key)


def _encode_text(
    directory: Path, text: _Text, notify: Notify, report: Report | None
) -> tuple[TrainedTokenizer, dict[str, SplitSize]]:
    """Make the tokenizer and write both splits."""
    options = text.options
    encoding = RAW if options.tokenizer == "byte" else options.encoding

    def meter(what: str, sources: Sequence[Source]) -> Callable[[int], None]:
        return Meter(f"{what} {text.short_name}", "bytes", sum(map(stored_size, sources)), report).advance

    fraction = 0.0 if text.valid else options.valid_fraction
    first_pass = read_text(text.sources, encoding, notify, advance=meter("looking through", text.sources))
    if options.unit == "stream":
        split = stream_splitter(first_pass, fraction, text.name, notify)
    else:
        split = unit_splitter(first_pass, options.unit, fraction, text.seed, text.name, notify)

    def pieces(what: str) -> Iterator[Piece]:
        advance = meter(what, (*text.sources, *text.valid))
        return itertools.chain(
            split(read_text(text.sources, encoding, advance=advance)),
            all_valid(read_text(text.valid, encoding, advance=advance), options.unit),
        )

    def training_texts() -> Iterator[str]:
        for piece in split(read_text(text.sources, encoding, advance=meter("counting the tokens of", text.sources))):
            if piece.split == "train":
                yield piece.text(options.unit)

    if options.tokenizer == "word":
        return encode_words(directory, pieces("reading"), options)
    trained = train_tokenizer(options, training_texts, seed=text.seed)
    return trained, encode_pieces(directory, pieces("reading"), trained.tokenizer)


def _without(held_out: Sequence[Source], sources: Sequence[Source], notify: Notify) -> list[Source]:
    """Leave the validation file out of the training text, where a directory holds both."""
    places = {source.path.resolve() for source in held_out if source.path}
    kept = [source for source in sources if source.path is None or source.path.resolve() not in places]
    if len(kept) < len(sources) and kept:
        notify("the validation file is left out of the training text")
    return kept or list(sources)


def _facts(source: Source, meter: Meter) -> dict[str, Any]:
    num_bytes, digest = sha256_of(source, meter.advance)
    name = source.name.encode("utf-8", "replace").decode("utf-8")  # a file's name need not be UTF-8
    facts = {"name": name, "num_bytes": num_bytes, "sha256": digest}
    if source.num_bytes is not None and source.path is not None:
        facts["of_bytes"] = source.path.stat().st_size  # a beginning was read
    return facts
