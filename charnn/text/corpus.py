"""The corpus: text streamed into `train.bin` and `valid.bin`, never held in memory as a whole.

Three passes over the text: one measures it, one counts the tokens of the training part, one encodes. A unit (a line or a
document) is written with its closing boundary; the opening one of the first unit is understood.
"""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.config import TextOptions, Unit
from charnn.errors import TextError
from charnn.files import explain_write_errors
from charnn.text.reading import (
    RAW,
    Notify,
    Source,
    documents,
    find_sources,
    lines,
    read_text,
    sha256_of,
    whole_lines,
)
from charnn.text.tokenizer_training import train_tokenizer
from charnn.text.tokenizers import Tokenizer

UNITS_A_PIECE = 4096
TOKENS_REVERSED_AT_ONCE = 1 << 20
FEWEST_UNITS = 5
"""From this number of units on, at least one is held out."""


@dataclass(frozen=True)
class SplitSize:
    """How much text a split holds. A closing boundary counts as one character: the line end that it stands for."""

    num_tokens: int = 0
    num_chars: int = 0
    num_bytes: int = 0
    num_unknown: int = 0
    num_units: int = 0


@dataclass(frozen=True)
class Corpus:
    """An encoded corpus on disk.

    Args:
        directory: where `train.bin` and `valid.bin` lie.
        tokenizer: made from the training part alone.
        train, valid: sizes of the two parts.
        files: name, size and sha256 of each text.
        rare_words: see `TrainedTokenizer`.
    """

    directory: Path
    tokenizer: Tokenizer
    train: SplitSize
    valid: SplitSize
    files: list[dict[str, Any]]
    rare_words: Sequence[str] = ()

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


class Piece(NamedTuple):
    """A run of text of one split: some characters of a stream, or whole units."""

    split: str
    texts: Sequence[str]


def prepare_corpus(directory: Path, texts: Sequence[str], options: TextOptions, *, seed: int, notify: Notify) -> Corpus:
    """Read the texts, make a tokenizer and write the encoded corpus.

    Args:
        directory: receives `train.bin` and `valid.bin`.
        texts: what the user named (see `find_sources`).
        options: tokenizer, unit, split.
        seed: draws the held-out units.
        notify: told, once each, what a user should know of the text.

    Raises:
        TextError: for texts that cannot be read or hold nothing.
    """
    spool = directory / "stdin.spool"
    try:
        valid_sources = find_sources([options.valid], notify, spool=spool) if options.valid else []
        sources = _without(valid_sources, find_sources(texts, notify, spool=spool), notify)
        encoding = RAW if options.tokenizer == "byte" else options.encoding
        files = [_facts(source) for source in (*sources, *valid_sources)]
        names = ", ".join(source.name for source in sources)
        if not any(fact["num_bytes"] for fact in files[: len(sources)]):
            raise TextError(f"{names}: is empty; there is nothing to learn from")
        fraction = 0.0 if valid_sources else options.valid_fraction
        first_pass = read_text(sources, encoding, notify)
        if options.unit == "stream":
            split = _stream_splitter(first_pass, fraction, names, notify)
        else:
            split = _unit_splitter(first_pass, options.unit, fraction, seed, names, notify)

        def training_texts() -> Iterator[str]:
            for piece in split(read_text(sources, encoding)):
                if piece.split == "train":
                    yield _joined(piece, options.unit)

        tokenizer, rare_words = train_tokenizer(options, training_texts, seed=seed)
        pieces = itertools.chain(
            split(read_text(sources, encoding)), _all_valid(read_text(valid_sources, encoding), options.unit)
        )
        sizes = _encode(directory, pieces, tokenizer)
        if options.valid and not sizes["valid"].num_tokens:
            raise TextError(f"{options.valid}: holds no text to validate on; name another --valid file or leave it out")
    finally:
        with contextlib.suppress(
            PermissionError
        ):  # an error left it open, and tells more; the directory vanishes with it
            spool.unlink(missing_ok=True)
    return Corpus(directory, tokenizer, sizes["train"], sizes["valid"], files, rare_words)


def _without(held_out: Sequence[Source], sources: Sequence[Source], notify: Notify) -> list[Source]:
    """Leave the validation file out of the training text, where a directory holds both."""
    places = {source.path.resolve() for source in held_out if source.path}
    kept = [source for source in sources if source.path is None or source.path.resolve() not in places]
    if len(kept) < len(sources) and kept:
        notify("the validation file is left out of the training text")
    return kept or list(sources)


def _facts(source: Source) -> dict[str, Any]:
    num_bytes, digest = sha256_of(source)
    name = source.name.encode("utf-8", "replace").decode("utf-8")  # a file's name need not be UTF-8
    return {"name": name, "num_bytes": num_bytes, "sha256": digest}


Splitter = Callable[[Iterator[str]], Iterator[Piece]]
"""Cuts the chunks of a text into pieces of either split."""


def _stream_splitter(chunks: Iterator[str], fraction: float, names: str, notify: Notify) -> Splitter:
    """Read a stream once, and return what holds out its end."""
    num_chars, has_text = 0, False
    for chunk in chunks:
        num_chars += len(chunk)
        has_text = has_text or not chunk.isspace()
    _refuse_blank(has_text, names)
    num_train = int(num_chars * (1 - fraction))
    if fraction and (num_train < 2 or num_train == num_chars):
        num_train = num_chars
        notify(f"{names}: too short to hold anything out ({num_chars} characters); training without validation")
    return functools.partial(_split_stream, num_train=num_train)


def _unit_splitter(
    chunks: Iterator[str], unit: Unit, fraction: float, seed: int, names: str, notify: Notify
) -> Splitter:
    """Read lines or documents once, and return what holds out some of them, drawn by the seed."""
    num_units = sum(1 for _ in _units(chunks, unit))
    _refuse_blank(num_units > 0, names)
    num_held_out = round(num_units * fraction)
    if fraction and num_held_out == 0:
        num_held_out = int(num_units >= FEWEST_UNITS)
    if fraction and num_held_out in (0, num_units):
        num_held_out = 0
        notify(f"{names}: too few units to hold any out ({num_units}); training without validation")
    held_out = np.zeros(num_units, dtype=bool)
    held_out[np.random.default_rng(seed).permutation(num_units)[:num_held_out]] = True
    return lambda chunks: _split_units(_units(chunks, unit), held_out)


def _refuse_blank(has_text: bool, names: str) -> None:
    if not has_text:
        raise TextError(f"{names}: holds white space only; there is nothing to learn from")


def _all_valid(chunks: Iterator[str], unit: Unit) -> Iterator[Piece]:
    """Yield a whole text as validation pieces."""
    if unit == "stream":
        yield from (Piece("valid", [text]) for text in whole_lines(chunks))
        return
    units = _units(chunks, unit)
    while texts := list(itertools.islice(units, UNITS_A_PIECE)):
        yield Piece("valid", texts)


def _units(chunks: Iterator[str], unit: Unit) -> Iterator[str]:
    """Yield the units of a text; blank lines are none."""
    return documents(chunks) if unit == "document" else (line for line in lines(chunks) if line.strip())


def _split_stream(chunks: Iterator[str], num_train: int) -> Iterator[Piece]:
    place = 0
    for text in whole_lines(chunks):
        cut = min(max(num_train - place, 0), len(text))
        if cut:
            yield Piece("train", [text[:cut]])
        if cut < len(text):
            yield Piece("valid", [text[cut:]])
        place += len(text)


def _split_units(units: Iterator[str], held_out: npt.NDArray[np.bool_]) -> Iterator[Piece]:
    gathered: dict[str, list[str]] = {"train": [], "valid": []}
    for number, unit in enumerate(units):
        split = "valid" if held_out[number] else "train"
        gathered[split].append(unit)
        if len(gathered[split]) == UNITS_A_PIECE:
            yield Piece(split, gathered[split])
            gathered[split] = []
    yield from (Piece(split, texts) for split, texts in gathered.items() if texts)


def _joined(piece: Piece, unit: Unit) -> str:
    return piece.texts[0] if unit == "stream" else "\n".join(piece.texts) + "\n"


def encode_units(tokenizer: Tokenizer, units: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the ids of units, each closed by the boundary."""
    boundary = np.array([tokenizer.vocabulary.boundary_id])
    if tokenizer.unit == "line":
        return tokenizer.encode("\n".join(units) + "\n")
    return np.concatenate([part for unit in units for part in (tokenizer.encode(unit), boundary)])


def _encode(directory: Path, pieces: Iterator[Piece], tokenizer: Tokenizer) -> dict[str, SplitSize]:
    vocabulary = tokenizer.vocabulary
    totals = {split: np.zeros(5, dtype=np.int64) for split in ("train", "valid")}
    paths = {split: directory / f"{split}.bin" for split in totals}
    with (
        explain_write_errors(paths["train"]),
        paths["train"].open("wb") as train,
        paths["valid"].open("wb") as valid,
    ):
        files = {"train": train, "valid": valid}
        for piece in pieces:
            text = _joined(piece, tokenizer.unit)
            ids = tokenizer.encode(text) if tokenizer.unit == "stream" else encode_units(tokenizer, piece.texts)
            files[piece.split].write(ids.astype(vocabulary.dtype).tobytes())
            num_unknown = 0 if vocabulary.unknown_id is None else int(np.sum(ids == vocabulary.unknown_id))
            num_bytes = len(text.encode("utf-8", "surrogateescape"))
            totals[piece.split] += (len(ids), len(text), num_bytes, num_unknown, len(piece.texts))
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    return {split: SplitSize(*(int(count) for count in total)) for split, total in totals.items()}
