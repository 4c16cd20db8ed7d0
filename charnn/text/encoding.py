"""Encoding of text chunks into ids on disk, `train.bin` and `valid.bin`.

Text is split into words once: they are numbered in order of appearance and written as these numbers, which are replaced by
ids when all words are counted and the vocabulary is known.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.config import TextOptions
from charnn.files import explain_write_errors
from charnn.text.facts import SplitSize
from charnn.text.splitting import SplitChunk
from charnn.text.tokenizer_training import NumberedWords, make_word_tokenizer
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import NEWLINE

SPLITS = ("train", "valid")
BLOCK_NUMBERS = 1 << 20
_NUMBER = np.dtype(np.uint32)


class Encoded(NamedTuple):
    """An encoded text whose ids are on disk.

    Args:
        tokenizer: built from the training split only.
        sizes: sizes by split.
        rare_words: see `TrainedWordTokenizer`.
        notes: what a user should know of the text.
    """

    tokenizer: Tokenizer
    sizes: dict[str, SplitSize]
    spelling_examples: Sequence[str] = ()
    notes: Sequence[str] = ()


def encode_chunks(directory: Path, split_chunks: Iterator[SplitChunk], tokenizer: Tokenizer) -> dict[str, SplitSize]:
    """Write the ids of both splits, and return their sizes."""
    vocabulary = tokenizer.vocabulary
    totals = {split: np.zeros(5, dtype=np.int64) for split in SPLITS}
    with _opened(directory, ".bin") as files:
        for chunk in split_chunks:
            text = chunk.text(tokenizer.unit)
            ids = tokenizer.encode(text) if tokenizer.unit != "document" else encode_documents(tokenizer, chunk.texts)
            files[chunk.split].write(ids.astype(vocabulary.dtype).tobytes())
            totals[chunk.split] += (len(ids), *_sizes(text, chunk), _num_unknown(ids, vocabulary.unknown_id))
    return {split: _split_size(totals[split]) for split in SPLITS}


def encode_documents(tokenizer: Tokenizer, documents: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the ids of documents, each closed by the boundary."""
    boundary = np.array([tokenizer.vocabulary.boundary_id])
    return np.concatenate([part for document in documents for part in (tokenizer.encode(document), boundary)])


def encode_words(directory: Path, split_chunks: Iterator[SplitChunk], options: TextOptions) -> Encoded:
    """Build a word tokenizer from the training split, and write the ids of both splits."""
    words = NumberedWords(pretokenized=options.pretokenized, unit=options.unit)
    totals = {split: np.zeros(5, dtype=np.int64) for split in SPLITS}
    with _opened(directory, ".numbers") as files:
        for chunk in split_chunks:
            text = chunk.text(options.unit)
            numbers = _document_numbers(words, chunk.texts) if options.unit == "document" else words.encode(text)
            if chunk.split == "train":
                words.count(numbers, num_documents=len(chunk.texts) if options.unit == "document" else 0)
            files[chunk.split].write(numbers.astype(_NUMBER).tobytes())
            totals[chunk.split] += (len(numbers), *_sizes(text, chunk), 0)
    made = make_word_tokenizer(options, words.counts())
    ids = words.ids(made.tokenizer.id_of, made.tokenizer.vocabulary.boundary_id)
    sizes = {}
    with _opened(directory, ".bin") as files:
        for split in SPLITS:
            totals[split][-1] = _exchange(directory / f"{split}.numbers", files[split], ids, made.tokenizer)
            sizes[split] = _split_size(totals[split])
    return Encoded(made.tokenizer, sizes, made.spelling_examples)


def _document_numbers(words: NumberedWords, documents: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the numbers of documents, each closed by the boundary's.

    They are encoded as one text, in which two consecutive line ends occur only between documents.
    """
    numbers = words.encode("\n\n".join(documents) + "\n\n")
    is_newline = numbers == words.number_of(NEWLINE)
    closes = np.append(is_newline[:-1] & is_newline[1:], False)
    numbers[closes] = words.boundary
    without_separators: npt.NDArray[np.int64] = numbers[np.concatenate([[True], ~closes[:-1]])]
    return without_separators


def _exchange(
    path: Path,
    file: IO[bytes],
    ids: npt.NDArray[np.int64],
    tokenizer: Tokenizer,
) -> int:
    """Replace the numbers in a file by ids, and return how many tokens are unknown."""
    num_unknown = 0
    with path.open("rb") as numbers_file:
        while content := numbers_file.read(BLOCK_NUMBERS * _NUMBER.itemsize):
            decoded_ids = ids[np.frombuffer(content, dtype=_NUMBER)]
            num_unknown += _num_unknown(decoded_ids, tokenizer.vocabulary.unknown_id)
            file.write(decoded_ids.astype(tokenizer.vocabulary.dtype).tobytes())
    path.unlink()
    return num_unknown


@contextlib.contextmanager
def _opened(directory: Path, suffix: str) -> Iterator[dict[str, IO[bytes]]]:
    """Open a file for each split, flushed to disk when the block ends without an exception."""
    paths = {split: directory / (split + suffix) for split in SPLITS}
    with contextlib.ExitStack() as stack:
        stack.enter_context(explain_write_errors(paths["train"]))
        files: dict[str, IO[bytes]] = {split: stack.enter_context(path.open("wb")) for split, path in paths.items()}
        yield files
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())


def _sizes(text: str, chunk: SplitChunk) -> tuple[int, int, int]:
    """Return the numbers of characters, bytes and units."""
    num_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
    return len(text), num_bytes, len(chunk.texts)


def _num_unknown(ids: npt.NDArray[Any], unknown_id: int | None) -> int:
    return 0 if unknown_id is None else int(np.count_nonzero(ids == unknown_id))


def _split_size(total: npt.NDArray[np.int64]) -> SplitSize:
    num_tokens, num_chars, num_bytes, num_units, num_unknown = map(int, total)
    return SplitSize(num_tokens, num_chars, num_bytes, num_unknown, num_units)
