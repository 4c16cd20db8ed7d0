"""Tokenizers of characters, bytes, words and subwords, with a common Protocol.

A tokenizer is built from the training text in `tokenizer_training.py`, stored as JSON (`Tokenizer.files`) and loaded by
`load_tokenizer`. A newline is a separate token in all of them, and the boundary of streams and lines.
"""

import functools
import string
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from charnn.config import Unit
from charnn.errors import ModelError
from charnn.files import JsonObject, read_json
from charnn.text.bins import BinsTokenizer
from charnn.text.characters import characters_only, whole_characters
from charnn.text.code_points import NUM_CODE_POINTS, StoredCharacters, code_points
from charnn.text.decoders import ByteDecoder, Decoder, PretokenizedDecoder, TokenDecoder, WordDecoder
from charnn.text.decoding import RAW
from charnn.text.fasta import Fasta
from charnn.text.pretokenized import WORD, has_marks, marked_words, without_closing_mark
from charnn.text.tokenizer import Tokenizer as Tokenizer
from charnn.text.tokenizer import tokenizer_json
from charnn.text.unit_kinds import has_own_boundary
from charnn.text.vocabulary import DOCUMENT_BOUNDARY, NEWLINE, UNKNOWN, Vocabulary, as_text, escaped_symbols
from charnn.text.vocabulary import Token as Token
from charnn.text.word_ids import PretokenizedEncoder, WordEncoder
from charnn.text.words import split_words, word_rules

Ids = npt.NDArray[np.int64]
FORMAT_VERSION = 2
"""Version 2 changed how words and subwords are found, not the file; a tokenizer keeps the version that it was trained with."""
_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
LONG_TEXT = 1 << 11
"""Minimum length, in characters, for which lookup of space-separated fragments is faster."""


def decode(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """Decode ids to text."""
    decoder = tokenizer.decoder()
    return "".join([*(decoder.push(int(id)) for id in ids), decoder.flush()])


def text_encoding(tokenizer: Tokenizer, encoding: str) -> str:
    """Return the encoding for reading files: raw bytes for a byte tokenizer."""
    return RAW if tokenizer.kind == "byte" else encoding


def closed_text(tokenizer: Tokenizer, text: str) -> str:
    """Return a unit to which its closing boundary is added, without a mark of it that the text ends with."""
    return without_closing_mark(text) if tokenizer.kind == "pretokenized" and tokenizer.version > 1 else text


class CharTokenizer:
    """Unicode code points, without normalization."""

    kind = "char"
    fasta: Fasta | None = None
    version = 1

    def __init__(self, vocabulary: Vocabulary, unit: Unit) -> None:
        self.vocabulary = vocabulary
        self.unit = unit
        if vocabulary.unknown_id is None:
            raise ValueError("a character vocabulary requires <unk>")
        self._id_of_code_point = np.full(NUM_CODE_POINTS, vocabulary.unknown_id, dtype=np.int64)
        for token, id in vocabulary.ids.items():
            if len(token) == 1:
                self._id_of_code_point[ord(token)] = id

    def encode(self, text: str) -> Ids:
        """Return one id per code point: a table lookup."""
        return self._id_of_code_point[code_points(text)]

    def fold_case(self) -> None:
        """Read lower-case letters as upper case, as in the training text."""
        for lower, upper in _UPPER.items():
            self._id_of_code_point[lower] = self._id_of_code_point[upper]

    @functools.cached_property
    def stored(self) -> StoredCharacters:
        """Encodes a long text in the data type in which its ids are stored."""
        return StoredCharacters(self._id_of_code_point.astype(self.vocabulary.dtype))

    def tokenize(self, text: str) -> list[Token]:
        """Return one token per code point."""
        return [Token(*token) for token in zip(text, self.encode(text).tolist(), range(len(text)), strict=True)]

    def decoder(self) -> Decoder:
        """Return a decoder that looks up the text of each token."""
        return TokenDecoder(self.vocabulary.tokens)

    def files(self) -> dict[str, bytes]:
        """Return tokenizer.json."""
        return {"tokenizer.json": tokenizer_json(self)}


class ByteTokenizer:
    """The 256 bytes, of UTF-8 text or any file, so no token is unknown. Each id is the value of the byte."""

    kind = "byte"
    fasta: Fasta | None = None
    version = 1

    def __init__(self, vocabulary: Vocabulary, unit: Unit) -> None:
        self.vocabulary = vocabulary
        self.unit = unit

    def encode(self, text: str) -> Ids:
        """Return one id per byte."""
        encoded = whole_characters(text).encode("utf-8", "surrogateescape")
        return np.frombuffer(encoded, dtype=np.uint8).astype(np.int64)

    def tokenize(self, text: str) -> list[Token]:
        """Return one token per byte, with the start of its character."""
        tokens = self.vocabulary.tokens
        return [
            Token(tokens[byte], byte, start)
            for start, character in enumerate(whole_characters(text))
            for byte in character.encode("utf-8", "surrogateescape")
        ]

    def decoder(self) -> Decoder:
        """Return a decoder that maps undecodable bytes to surrogates, which encode to the same bytes."""
        return ByteDecoder("surrogateescape")

    def files(self) -> dict[str, bytes]:
        """Return tokenizer.json."""
        return {"tokenizer.json": tokenizer_json(self)}


def byte_vocabulary(counts: npt.NDArray[np.int64], unit: Unit) -> Vocabulary:
    """Return the vocabulary of bytes for counts (256,), with an additional boundary for documents."""
    names = [chr(byte) if 0x20 < byte < 0x7F else f"<0x{byte:02X}>" for byte in range(256)]
    names[0x0A], names[0x20] = NEWLINE, " "
    tokens, token_counts = list(names), counts.tolist()
    if has_own_boundary(unit):
        tokens.append(DOCUMENT_BOUNDARY)
        token_counts.append(0)
    boundary_id = 256 if has_own_boundary(unit) else 0x0A
    return Vocabulary(tuple(tokens), tuple(token_counts), boundary_id=boundary_id, unknown_id=None)


class WordTokenizer:
    """Words, numbers and punctuation; spacing is preserved.

    The expected gap between two tokens (a space between words, none before a comma) is implicit; any other gap is a token: the
    white space itself, or `GLUE` for none. So decode(encode(text)) == text if all words are known.
    """

    kind = "word"
    fasta: Fasta | None = None

    def __init__(self, vocabulary: Vocabulary, unit: Unit, version: int = FORMAT_VERSION) -> None:
        self.vocabulary = vocabulary
        self.unit = unit
        self.version = version
        self._rules = word_rules(version)
        self._encoders: list[WordEncoder] = []

    def encode(self, text: str) -> Ids:
        """Return the ids of words, line ends and unexpected gaps."""
        if len(text) >= LONG_TEXT:
            return _encode_with_any(self._encoders, text, lambda: self.encoder(self.id_of))
        return np.fromiter((self.id_of(word) for word, _ in split_words(text, self._rules)), dtype=np.int64)

    def encoder(self, id_of: Callable[[str], int]) -> WordEncoder:
        """Return an encoder with other ids."""
        return WordEncoder(id_of, self._rules)

    def tokenize(self, text: str) -> list[Token]:
        """Return the words, line ends and unexpected gaps."""
        return [Token(word, self.id_of(word), start) for word, start in split_words(text, self._rules)]

    def id_of(self, word: str) -> int:
        """Return a word's id."""
        return self.vocabulary.id_of(word)

    def decoder(self) -> Decoder:
        """Return a decoder that restores the expected gaps."""
        return WordDecoder(self.vocabulary.tokens, self._rules)

    def files(self) -> dict[str, bytes]:
        """Return tokenizer.json."""
        return {"tokenizer.json": tokenizer_json(self)}


class PretokenizedTokenizer:
    """Words separated by white space, as in benchmark files; `<unk>` in the text is the unknown token, `</s>` the boundary."""

    kind = "pretokenized"
    fasta: Fasta | None = None

    def __init__(self, vocabulary: Vocabulary, unit: Unit, version: int = FORMAT_VERSION) -> None:
        self.vocabulary = vocabulary
        self.unit = unit
        self.version = version
        self._marks_unit = unit if version > 1 else None
        self._encoders: list[PretokenizedEncoder] = []

    def encode(self, text: str) -> Ids:
        """Return the ids of words, line ends and boundaries."""
        if len(text) >= LONG_TEXT:
            return _encode_with_any(self._encoders, text, lambda: self.encoder(self.id_of))
        return np.fromiter((self.id_of(word) for word, _ in self._words(text)), dtype=np.int64)

    def encoder(self, id_of: Callable[[str], int]) -> PretokenizedEncoder:
        """Return an encoder with other ids."""
        return PretokenizedEncoder(id_of, self._marks_unit)

    def tokenize(self, text: str) -> list[Token]:
        """Return words, line ends and boundaries."""
        return [Token(word, self.id_of(word), start) for word, start in self._words(text)]

    def _words(self, text: str) -> Iterator[tuple[str, int]]:
        """Return each word, line end and boundary with its start position."""
        if self._marks_unit is not None and has_marks(text):
            return marked_words(text, self._marks_unit)
        return ((match.group(), match.start()) for match in WORD.finditer(text))

    def id_of(self, word: str) -> int:
        """Return a word's id; version 1 has no boundary of documents within a text."""
        return self.vocabulary.id_of(UNKNOWN if word == DOCUMENT_BOUNDARY and self.version == 1 else word)

    def decoder(self) -> Decoder:
        """Return a decoder that puts one space between words."""
        return PretokenizedDecoder(self.vocabulary.tokens)

    def files(self) -> dict[str, bytes]:
        """Return tokenizer.json."""
        return {"tokenizer.json": tokenizer_json(self)}


_Encoder = TypeVar("_Encoder", WordEncoder, PretokenizedEncoder)


def _encode_with_any(available: list[_Encoder], text: str, make: Callable[[], _Encoder]) -> Ids:
    """Encode with an encoder that has cached earlier texts, or with a new one if other threads use all of them."""
    try:
        encoder = available.pop()
    except IndexError:
        encoder = make()
    ids = encoder.encode(text)
    available.append(encoder)
    return ids


class SubwordTokenizer:
    """SentencePiece pieces (Kudo and Richardson 2018), unigram or BPE, without normalization, newlines retained."""

    kind = "subword"
    fasta: Fasta | None = None

    def __init__(self, vocabulary: Vocabulary, unit: Unit, model: bytes, version: int = FORMAT_VERSION) -> None:
        import sentencepiece

        self.vocabulary = vocabulary
        self.unit = unit
        self.version = version
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._texts = [as_text(token) for token in vocabulary.tokens]

    def encode(self, text: str) -> Ids:
        """Return the ids of pieces and line ends."""
        newline = self.vocabulary.ids[NEWLINE]
        first, *others = self._processor.encode(self._lines(text), out_type=int)
        ids = [*first]
        for line in others:
            ids.append(newline)
            ids.extend(line)
        return np.array(ids, dtype=np.int64)

    def tokenize(self, text: str) -> list[Token]:
        """Return pieces, with spaces for SentencePiece's space symbol, and line ends."""
        pieces: list[str] = []
        for number, line in enumerate(self._lines(text)):
            pieces.extend([NEWLINE] if number else [])
            pieces.extend(as_text(piece) for piece in self._processor.encode(line, out_type=str))
        starts = accumulate((len(piece) for piece in pieces), initial=0)
        return [
            Token(piece, id, start)
            for piece, id, start in zip(pieces, self.encode(text).tolist(), starts, strict=False)
        ]

    def _lines(self, text: str) -> list[str]:
        characters = characters_only(text)
        if self.fasta is not None and self.fasta.case == "upper":
            characters = characters.translate(_UPPER)
        return (characters if self.version == 1 else escaped_symbols(characters)).split("\n")

    def decoder(self) -> Decoder:
        """Return a decoder that looks up the text of each piece."""
        return TokenDecoder(self._texts)

    @property
    def scores(self) -> list[float]:
        """SentencePiece's score of each piece."""
        return [self._processor.get_score(id) for id in range(len(self.vocabulary))]

    def files(self) -> dict[str, bytes]:
        """Return tokenizer.json and the SentencePiece model, tokenizer.model."""
        return {"tokenizer.json": tokenizer_json(self), "tokenizer.model": self._model}


def load_tokenizer(name: str, files: dict[str, bytes]) -> Tokenizer:
    """Load a tokenizer from its files.

    Args:
        name: their directory, for messages.
        files: contents by file name, as returned by `Tokenizer.files`.

    Raises:
        ModelError: for a newer format version or invalid contents.
    """
    stored = read_json(f"{name}/tokenizer.json", files["tokenizer.json"], FORMAT_VERSION)
    try:
        vocabulary = Vocabulary(
            tuple(stored["tokens"]), tuple(stored["counts"]), int(stored["boundary_id"]), stored["unknown_id"]
        )
        unit: Unit = stored["unit"]
        version: int = stored["format_version"]
        _check_vocabulary(vocabulary)
        tokenizer = _make(stored, vocabulary, unit, version, files)
        if "fasta" in stored:
            tokenizer.fasta = Fasta(**stored["fasta"])
            if isinstance(tokenizer, CharTokenizer) and tokenizer.fasta.case == "upper":
                tokenizer.fold_case()
        return tokenizer
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{name}/tokenizer.json: is not a valid tokenizer ({error!r}); restore the file or train again"
        ) from error


def _make(stored: JsonObject, vocabulary: Vocabulary, unit: Unit, version: int, files: dict[str, bytes]) -> Tokenizer:
    match stored["kind"]:
        case "char":
            return CharTokenizer(vocabulary, unit)
        case "byte":
            return ByteTokenizer(vocabulary, unit)
        case "word":
            return WordTokenizer(vocabulary, unit, version)
        case "pretokenized":
            return PretokenizedTokenizer(vocabulary, unit, version)
        case "subword":
            return SubwordTokenizer(vocabulary, unit, files["tokenizer.model"], version)
        case "bins":
            return BinsTokenizer.loaded(stored, unit, vocabulary)
    raise ValueError(f"unknown kind {stored['kind']!r}")


def _check_vocabulary(vocabulary: Vocabulary) -> None:
    if not all(isinstance(token, str) for token in vocabulary.tokens) or len(vocabulary.counts) != len(vocabulary):
        raise ValueError("the numbers of tokens and counts differ, or a token is not a string")
    for id in (vocabulary.boundary_id, 0 if vocabulary.unknown_id is None else vocabulary.unknown_id):
        if not isinstance(id, int) or not 0 <= id < len(vocabulary):
            raise ValueError(f"id {id!r} is not valid for {len(vocabulary)} tokens")
