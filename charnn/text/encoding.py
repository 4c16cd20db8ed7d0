"""Encoding of text chunks into ids on disk, `train.bin` and `valid.bin`.

Text is split into words once: they are numbered and written as these numbers, which are replaced by ids when all words are
counted and the vocabulary is known. Chunks of long texts are encoded in several processes.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from charnn.config import TextOptions, Unit
from charnn.text.characters import whole_characters
from charnn.text.code_points import raw_bytes
from charnn.text.encoding_workers import Encoders, encode_in_order
from charnn.text.facts import LabelFacts, SplitSize
from charnn.text.process_messages import Message
from charnn.text.splitting import SplitChunk
from charnn.text.stored_ids import ShardWriter, shard_paths, shard_writers
from charnn.text.tokenizer_training import NumberedWords, WordCounts, make_word_tokenizer, set_counts
from charnn.text.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer, load_tokenizer
from charnn.text.unit_kinds import has_own_boundary
from charnn.text.vocabulary import NEWLINE

SPLITS = ("train", "valid")
BLOCK_NUMBERS = 1 << 20
MAX_NUMBERED_WORDS = 1 << 17
"""Distinct words that an encoder keeps, in each process."""
_NUMBER = np.dtype(np.uint32)

_Sizes = tuple[int, int, int, int, int]


class Encoded(NamedTuple):
    """An encoded text whose ids are on disk.

    Args:
        tokenizer: built from the training split only.
        sizes: sizes by split.
        rare_words: see `TrainedWordTokenizer`.
        notes: what a user should know of the text.
        labels: of units, if they have any, as numbered in the files of labels.
    """

    tokenizer: Tokenizer
    sizes: dict[str, SplitSize]
    spelling_examples: Sequence[str] = ()
    notes: Sequence[str] = ()
    labels: Sequence[LabelFacts] = ()


def encode_chunks(
    directory: Path, split_chunks: Iterator[SplitChunk], tokenizer: Tokenizer, *, num_workers: int = 1
) -> dict[str, SplitSize]:
    """Write the ids of both splits, and return their sizes; subwords without counts get those of the training split."""
    totals = {split: np.zeros(5, dtype=np.int64) for split in SPLITS}
    counts = np.zeros(len(tokenizer.vocabulary), dtype=np.int64)
    is_counted = tokenizer.kind == "subword" and not any(tokenizer.vocabulary.counts)
    with _opened(directory, ".bin") as files:
        encode = _IdEncoder(tokenizer)
        for chunk, encoded in encode_in_order(encode, split_chunks, num_workers=num_workers):
            files[chunk.split].write(encoded.ids.data)
            totals[chunk.split] += encoded.sizes
            if is_counted and chunk.split == "train":
                counts += np.bincount(encoded.ids, minlength=len(counts))
    if is_counted:
        set_counts(tokenizer, counts)
    return {split: _split_size(totals[split]) for split in SPLITS}


class _EncodedChunk(NamedTuple):
    """An encoded chunk.

    Args:
        ids: as they are stored (N,).
        sizes: see `SplitSize`: tokens, characters, bytes, units and unknown tokens.
    """

    ids: npt.NDArray[Any]
    sizes: _Sizes

    def to_message(self) -> Message:
        """Return the encoded chunk as a message to another process."""
        return Message("ids", {"sizes": self.sizes}, [self.ids])

    @classmethod
    def from_message(cls, message: Message) -> "_EncodedChunk":
        """Return the encoded chunk that became a message."""
        (ids,) = message.parts
        return cls(cast(npt.NDArray[Any], ids), cast(_Sizes, tuple(message.facts["sizes"])))


class _IdEncoder:
    """Encodes a chunk with a tokenizer. Another process loads the tokenizer from its files."""

    chunk_type, result_type = SplitChunk, _EncodedChunk

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def to_message(self) -> Message:
        """Return the files of the tokenizer."""
        files = self._tokenizer.files()
        contents = [np.frombuffer(content, dtype=np.uint8) for content in files.values()]
        return Message("tokenizer", {"files": list(files)}, contents)

    @classmethod
    def from_message(cls, message: Message) -> "_IdEncoder":
        """Load the tokenizer from its files."""
        contents = (cast(npt.NDArray[Any], content).tobytes() for content in message.parts)
        return cls(load_tokenizer("the text's tokenizer", dict(zip(message.facts["files"], contents, strict=True))))

    def __call__(self, chunk: SplitChunk) -> _EncodedChunk:
        tokenizer, text = self._tokenizer, chunk.text(self._tokenizer.unit)
        ids = (
            stored_ids(tokenizer, text)
            if not has_own_boundary(tokenizer.unit)
            else encode_documents(tokenizer, chunk.texts)
        )
        stored = ids.astype(tokenizer.vocabulary.dtype, copy=False)
        num_unknown = _num_unknown(ids, tokenizer.vocabulary.unknown_id)
        return _EncodedChunk(stored, (len(ids), *_sizes(text, chunk), num_unknown))


def stored_ids(tokenizer: Tokenizer, text: str) -> npt.NDArray[Any]:
    """Return the ids of a text in the data type in which they are stored, or a larger one."""
    if isinstance(tokenizer, CharTokenizer):
        return tokenizer.stored.encode(text)
    if isinstance(tokenizer, ByteTokenizer):
        return raw_bytes(whole_characters(text))
    return tokenizer.encode(text)


def encode_documents(tokenizer: Tokenizer, documents: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the ids of documents, each closed by the boundary."""
    boundary = np.array([tokenizer.vocabulary.boundary_id])
    return np.concatenate([part for document in documents for part in (tokenizer.encode(document), boundary)])


def encode_words(
    directory: Path, split_chunks: Iterator[SplitChunk], options: TextOptions, *, num_workers: int = 1
) -> Encoded:
    """Build a word tokenizer from the training split, and write the ids of both splits."""
    words = WordCounts()
    totals = {split: np.zeros(5, dtype=np.int64) for split in SPLITS}
    encode = _WordNumberer(options.pretokenized, options.unit)
    with _opened(directory, ".numbers") as files:
        for chunk, numbered in encode_in_order(encode, split_chunks, num_workers=num_workers):
            numbers = words.numbers_of(numbered.words)
            if chunk.split == "train":
                num_documents = len(chunk.texts) if has_own_boundary(options.unit) else 0
                words.count(numbers, numbered.counts, num_documents=num_documents)
            files[chunk.split].write(numbers.astype(_NUMBER)[numbered.indices].data)
            totals[chunk.split] += numbered.sizes
    made = make_word_tokenizer(options, words.counts())
    ids = words.ids(made.tokenizer.id_of, made.tokenizer.vocabulary.boundary_id)
    ids = ids.astype(made.tokenizer.vocabulary.dtype)
    del words
    sizes = {}
    with _opened(directory, ".bin") as files:
        for split in SPLITS:
            totals[split][-1] = _exchange(directory / f"{split}.numbers", files[split], ids, made.tokenizer)
            sizes[split] = _split_size(totals[split])
    return Encoded(made.tokenizer, sizes, made.spelling_examples)


class _NumberedChunk(NamedTuple):
    """A chunk as indices into its words.

    Args:
        indices: of each token among the distinct words (N,).
        words: distinct words, line ends and gaps (M,); "" is the boundary between documents.
        counts: how often each occurs (M,).
        sizes: see `_EncodedChunk`; no token is unknown.
    """

    indices: npt.NDArray[np.uint32]
    words: list[str]
    counts: npt.NDArray[np.int64]
    sizes: _Sizes

    def to_message(self) -> Message:
        """Return the numbered chunk as a message to another process."""
        return Message("numbers", {"sizes": self.sizes}, [self.indices, self.words, self.counts])

    @classmethod
    def from_message(cls, message: Message) -> "_NumberedChunk":
        """Return the numbered chunk that became a message."""
        indices, words, counts = message.parts
        sizes = cast(_Sizes, tuple(message.facts["sizes"]))
        return cls(cast(Any, indices), cast(list[str], words), cast(Any, counts), sizes)


class _WordNumberer:
    """Splits chunks into words."""

    chunk_type, result_type = SplitChunk, _NumberedChunk

    def __init__(self, pretokenized: bool, unit: Unit) -> None:
        self._pretokenized, self._unit = pretokenized, unit
        self._words = NumberedWords(pretokenized=pretokenized, unit=unit)

    def to_message(self) -> Message:
        """Return how the text is split."""
        return Message("words", {"pretokenized": self._pretokenized, "unit": self._unit})

    @classmethod
    def from_message(cls, message: Message) -> "_WordNumberer":
        """Return an encoder that splits in the same way."""
        return cls(message.facts["pretokenized"], message.facts["unit"])

    def __call__(self, chunk: SplitChunk) -> _NumberedChunk:
        if len(self._words) > MAX_NUMBERED_WORDS:
            self._words = NumberedWords(pretokenized=self._pretokenized, unit=self._unit)
        text = chunk.text(self._unit)
        numbers = (
            _document_numbers(self._words, chunk.texts) if has_own_boundary(self._unit) else self._words.encode(text)
        )
        counts = np.bincount(numbers, minlength=1)
        present = np.flatnonzero(counts)
        index_of = np.zeros(len(counts), dtype=_NUMBER)
        index_of[present] = np.arange(len(present))
        sizes = (len(numbers), *_sizes(text, chunk), 0)
        return _NumberedChunk(index_of[numbers], self._words.named(present), counts[present], sizes)


ENCODERS: Encoders = {"tokenizer": _IdEncoder, "words": _WordNumberer}
"""What a worker may be asked for."""


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


def _exchange(path: Path, file: ShardWriter, ids: npt.NDArray[Any], tokenizer: Tokenizer) -> int:
    """Replace the numbers in a file by ids, and return how many tokens are unknown."""
    num_unknown = 0
    with contextlib.ExitStack() as stack:
        for shard in shard_paths(path):
            numbers_file = stack.enter_context(shard.open("rb"))
            while content := numbers_file.read(BLOCK_NUMBERS * _NUMBER.itemsize):
                decoded_ids = ids[np.frombuffer(content, dtype=_NUMBER)]
                num_unknown += _num_unknown(decoded_ids, tokenizer.vocabulary.unknown_id)
                file.write(decoded_ids.data)
    for shard in shard_paths(path):
        shard.unlink()
    return num_unknown


@contextlib.contextmanager
def _opened(directory: Path, suffix: str) -> Iterator[dict[str, ShardWriter]]:
    """Open an encoded text to write for each split, flushed to disk when the block ends without an exception."""
    with shard_writers(directory / (split + suffix) for split in SPLITS) as writers:
        yield dict(zip(SPLITS, writers, strict=True))


def _sizes(text: str, chunk: SplitChunk) -> tuple[int, int, int]:
    """Return the numbers of characters, bytes and units."""
    num_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
    return len(text), num_bytes, len(chunk.texts)


def _num_unknown(ids: npt.NDArray[Any], unknown_id: int | None) -> int:
    return 0 if unknown_id is None else int(np.count_nonzero(ids == unknown_id))


def _split_size(total: npt.NDArray[np.int64]) -> SplitSize:
    num_tokens, num_chars, num_bytes, num_units, num_unknown = map(int, total)
    return SplitSize(num_tokens, num_chars, num_bytes, num_unknown, num_units)
