"""Building a tokenizer from the training text."""

import functools
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.config import TextOptions, Unit
from charnn.errors import OptionError
from charnn.text.bins import KIND, train_bins
from charnn.text.code_points import Codes, code_points, count_texts, raw_bytes
from charnn.text.tokenizers import (
    ByteTokenizer,
    CharTokenizer,
    PretokenizedTokenizer,
    SubwordTokenizer,
    Tokenizer,
    WordTokenizer,
    byte_vocabulary,
)
from charnn.text.unit_kinds import has_own_boundary
from charnn.text.vocabulary import DOCUMENT_BOUNDARY, NEWLINE, UNKNOWN, Vocabulary, build_vocabulary, escaped_symbols
from charnn.text.word_ids import PretokenizedEncoder, WordEncoder
from charnn.text.words import GLUE

MAX_SENTENCE_CHARS = 4096
MIN_SPELLING_EXAMPLES = 5000
"""If fewer words are out of vocabulary, the rarest known words are spelling examples too."""
CHARS_PER_SUBWORD = 300
"""Characters of the training text per subword in the default vocabulary size."""
MAX_SUBWORD_CHARS = 1 << 27
"""Characters from which subwords are learned, all in memory."""
SUBWORDS_PER_CHARACTER = 1.25
"""Subwords per character where the default vocabulary would be too small for all characters, as in Chinese."""


class TrainedWordTokenizer(NamedTuple):
    """A word tokenizer, and the spelling examples: out-of-vocabulary words, and the rarest known ones if these are few."""

    tokenizer: WordTokenizer | PretokenizedTokenizer
    spelling_examples: Sequence[str]


Values = Callable[[str], Codes]
"""Returns the code points, or bytes, of a text."""


def values_of(options: TextOptions) -> Values | None:
    """Return the function that yields what the tokens of a text are; None where these are words or subwords."""
    return {"char": code_points, "byte": raw_bytes}.get(options.tokenizer)


def train_tokenizer(
    options: TextOptions,
    texts: Callable[[], Iterator[str]],
    *,
    seed: int,
    counts: npt.NDArray[np.int64] | None = None,
    name: str = "the training text",
) -> Tokenizer:
    """Build a tokenizer of bytes, characters, subwords or numbers from the training text; for words see `NumberedWords`.

    Subwords are not counted yet (see `set_counts`).

    Args:
        options: kind, sizes and unit.
        texts: starts a new pass over the training text, in chunks that end at line ends.
        counts: the count of each byte or code point (NUM_CODE_POINTS,), if they are known already.
        seed: seed of the lines that SentencePiece samples from a large corpus.
        name: of the text, for messages.

    Raises:
        OptionError: if a vocabulary of the requested size is impossible.
        TextError: for a series without a number.
    """
    if options.tokenizer == KIND:
        of_column = "" if options.column is None else f": the column {options.column}"
        return train_bins(texts(), options.unit, size=options.vocab_size, name=f"{name}{of_column}")
    boundary = DOCUMENT_BOUNDARY if has_own_boundary(options.unit) else NEWLINE
    values = values_of(options)
    if values is None:
        return _train_subwords(options, texts, boundary, seed)
    counts = count_texts(texts(), values) if counts is None else counts
    if options.tokenizer == "byte":
        return ByteTokenizer(byte_vocabulary(counts[:256], options.unit), options.unit)
    vocabulary = build_vocabulary(
        {chr(code_point): int(counts[code_point]) for code_point in np.flatnonzero(counts)},
        boundary=boundary,
        min_count=options.min_count or 1,
        max_size=options.vocab_size,
    )
    return CharTokenizer(vocabulary, options.unit)


class _Numbers(dict[str, int]):
    """Numbers words in order of appearance, and lists them."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__((word, number) for number, word in enumerate(words))
        self.words = [*words]

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self.words)
        self.words.append(word)
        return number


class NumberedWords:
    """Words, line ends and gaps, numbered in order of appearance.

    Args:
        pretokenized: whether words are separated by white space only.
        unit: decides what a mark in a pretokenized text is.
    """

    boundary = 0
    """The number of the boundary between documents, which is not a word."""

    def __init__(self, *, pretokenized: bool, unit: Unit = "stream") -> None:
        self._numbers = _Numbers(["", NEWLINE])
        number_of = self._numbers.__getitem__  # a method of this object would make a cycle, which is freed late
        encoder = PretokenizedEncoder(number_of, unit) if pretokenized else WordEncoder(number_of)
        self.encode = encoder.encode

    def __len__(self) -> int:
        return len(self._numbers)

    def number_of(self, word: str) -> int:
        """Return the number of a word, a new one if necessary."""
        return self._numbers[word]

    def named(self, numbers: npt.NDArray[np.int64]) -> list[str]:
        """Return the words of some numbers (M,)."""
        return [self._numbers.words[number] for number in numbers.tolist()]


class WordCounts:
    """The words of a whole text, numbered in order of appearance, with their counts in the training split."""

    def __init__(self) -> None:
        self._numbers = defaultdict(count(2).__next__, {"": NumberedWords.boundary, NEWLINE: 1})
        self._counts = np.zeros(1 << 16, dtype=np.int64)

    def numbers_of(self, words: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the numbers of words (M,), new ones if necessary."""
        return np.fromiter(map(self._numbers.__getitem__, words), np.int64, count=len(words))

    def count(self, numbers: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], *, num_documents: int = 0) -> None:
        """Count words of the training split; a boundary counts as the line end of a document's last line.

        Args:
            numbers: of distinct words (M,).
            counts: how often each occurs (M,).
            num_documents: closed by boundaries.
        """
        if len(self._numbers) > len(self._counts):
            self._counts = np.pad(self._counts, (0, 2 * len(self._numbers) - len(self._counts)))
        self._counts[numbers] += counts
        self._counts[1] += num_documents
        self._counts[NumberedWords.boundary] = 0

    def counts(self) -> dict[str, int]:
        """Return the count of each word, without zeros."""
        numbered = zip(self._numbers, self._counts.tolist(), strict=False)
        return {word: count for word, count in numbered if count}

    def ids(self, id_of: Callable[[str], int], boundary_id: int) -> npt.NDArray[np.int64]:
        """Return the id of each number (N,)."""
        _, *words = self._numbers
        return np.array([boundary_id, *map(id_of, words)], dtype=np.int64)


def make_word_tokenizer(options: TextOptions, counts: Mapping[str, int]) -> TrainedWordTokenizer:
    """Build a word tokenizer from counts in the training text."""
    boundary = DOCUMENT_BOUNDARY if has_own_boundary(options.unit) else NEWLINE
    if options.pretokenized:
        vocabulary = build_vocabulary(
            counts,
            boundary=boundary,
            always=[NEWLINE],
            min_count=options.min_count or 1,
            max_size=options.vocab_size,
        )
        return TrainedWordTokenizer(
            PretokenizedTokenizer(vocabulary, options.unit), spelling_examples(counts, vocabulary)
        )
    vocabulary = build_vocabulary(
        counts,
        boundary=boundary,
        always=[NEWLINE, GLUE, " "],
        min_count=options.min_count or 2,
        max_size=options.vocab_size or 20_000,
    )
    return TrainedWordTokenizer(WordTokenizer(vocabulary, options.unit), spelling_examples(counts, vocabulary))


def spelling_examples(counts: Mapping[str, int], vocabulary: Vocabulary) -> list[str]:
    """Return the out-of-vocabulary words, sorted, and the rarest known ones if these are too few."""
    words = [word for word in counts if not word.isspace() and word not in (UNKNOWN, GLUE, DOCUMENT_BOUNDARY)]
    unknown = sorted(word for word in words if word not in vocabulary.ids)
    known = sorted(sorted(word for word in words if word in vocabulary.ids), key=counts.__getitem__)
    return unknown + known[: max(0, MIN_SPELLING_EXAMPLES - len(unknown))]


def _train_subwords(
    options: TextOptions, texts: Callable[[], Iterator[str]], boundary: str, seed: int
) -> SubwordTokenizer:
    num_chars = sum(map(len, texts()))
    wanted = options.vocab_size or int(np.clip(num_chars // CHARS_PER_SUBWORD, 256, 8000))
    sampled = functools.partial(_spaced_chunks, texts, min(1.0, MAX_SUBWORD_CHARS / max(1, num_chars)))
    try:
        model, tokens = _sentencepiece_model(options, sampled, wanted, boundary, seed)
    except _TooFewSubwordsError as error:
        if options.vocab_size:
            raise OptionError(
                f"--vocab-size: found {options.vocab_size}, but this text needs at least {error.minimum} subwords, one for "
                f"each of its characters; pass --vocab-size {error.minimum * 2} or so"
            ) from error
        enough = int(error.minimum * SUBWORDS_PER_CHARACTER)
        model, tokens = _sentencepiece_model(options, sampled, enough, boundary, seed)
    uncounted = Vocabulary(
        tokens, (0,) * len(tokens), boundary_id=tokens.index(boundary), unknown_id=tokens.index(UNKNOWN)
    )
    return SubwordTokenizer(uncounted, options.unit, model)


def _spaced_chunks(texts: Callable[[], Iterator[str]], fraction: float) -> Iterator[str]:
    """Yield a fraction of the chunks of a text, evenly spaced."""
    return (text for number, text in enumerate(texts()) if int((number + 1) * fraction) > int(number * fraction))


def set_counts(tokenizer: Tokenizer, counts: npt.NDArray[np.int64]) -> None:
    """Set the counts of a tokenizer's tokens (V,); a boundary of documents counts as the line end of a document's last line."""
    vocabulary = tokenizer.vocabulary
    if has_own_boundary(tokenizer.unit):
        counts[vocabulary.ids[NEWLINE]] += counts[vocabulary.boundary_id]
        counts[vocabulary.boundary_id] = 0
    tokenizer.vocabulary = replace(vocabulary, counts=tuple(counts.tolist()))


class _TooFewSubwordsError(Exception):
    """A vocabulary is too small for the characters of the text."""

    def __init__(self, minimum: int) -> None:
        self.minimum = minimum


def _sentencepiece_model(
    options: TextOptions, texts: Callable[[], Iterator[str]], vocab_size: int, boundary: str, seed: int
) -> tuple[bytes, tuple[str, ...]]:
    """Return a SentencePiece model and its pieces.

    Raises _TooFewSubwordsError, or OptionError for a text that SentencePiece refuses.
    """
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.set_random_generator_seed(seed)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_short_lines(texts()),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=options.subword_model,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            character_coverage=1.0,
            hard_vocab_limit=False,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            unk_id=0,
            user_defined_symbols=[NEWLINE],
            control_symbols=[boundary] if boundary != NEWLINE else [],
            max_sentence_length=1 << 20,
            input_sentence_size=1_000_000,
            shuffle_input_sentence=True,
            num_threads=2,
            minloglevel=2,
        )
    except RuntimeError as error:
        minimum = re.search(r"required_chars\. \d+ vs (\d+)", str(error))
        if minimum is not None:
            raise _TooFewSubwordsError(int(minimum[1])) from error
        maximum = re.search(r"value <= (\d+)", str(error))
        if maximum is not None and options.vocab_size is None and int(maximum[1]) < vocab_size:
            return _sentencepiece_model(options, texts, int(maximum[1]), boundary, seed)
        remedy = f"--vocab-size {maximum[1]} or less" if maximum else "--tokenizer char, or a longer text"
        raise OptionError(f"--tokenizer subword: SentencePiece refuses this text ({error}); use {remedy}") from error
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return model.getvalue(), tuple(processor.id_to_piece(id) for id in range(processor.get_piece_size()))


def _short_lines(texts: Iterator[str]) -> Iterator[str]:
    """Yield lines, long ones in parts: SentencePiece silently skips lines over its limit.

    The name of a special token is also divided: it would be taken for the token, and its characters would remain unknown.
    """
    for text in texts:
        whole = escaped_symbols(text).replace(UNKNOWN, f"{UNKNOWN[0]}\n{UNKNOWN[1:]}")
        for line in whole.replace(DOCUMENT_BOUNDARY, f"{DOCUMENT_BOUNDARY[0]}\n{DOCUMENT_BOUNDARY[1:]}").split("\n"):
            yield from (line[first : first + MAX_SENTENCE_CHARS] for first in range(0, len(line), MAX_SENTENCE_CHARS))
