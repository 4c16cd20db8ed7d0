"""Four ways to cut a text into tokens, behind one Protocol: characters, bytes, words and subwords.

A tokenizer is made from the training text in `tokenizer_training.py`, kept as JSON (`Tokenizer.files`) and read back by
`load_tokenizer`. Newlines are tokens of their own in all four; the newline is the boundary of streams and lines.
"""

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from charnn.config import Unit
from charnn.errors import ModelError
from charnn.files import json_bytes, read_json
from charnn.text.characters import characters_only, whole_characters
from charnn.text.decoders import ByteDecoder, Decoder, PieceDecoder, PretokenizedDecoder, WordDecoder
from charnn.text.decoding import RAW
from charnn.text.vocabulary import DOCUMENT_BOUNDARY, NEWLINE, UNKNOWN, Vocabulary, as_text
from charnn.text.word_ids import PRETOKENIZED_WORD, PretokenizedEncoder, WordEncoder
from charnn.text.words import split_words

Ids = npt.NDArray[np.int64]
FORMAT_VERSION = 1
LONG_TEXT = 1 << 11
"""Characters from which on it pays to look words up by the chunks between spaces."""


class Token(NamedTuple):
    """A token of a text: what it is called, its id, and the place in the text where it starts, in characters."""

    text: str
    id: int
    start: int


class Tokenizer(Protocol):
    """Cuts text into the tokens of a vocabulary, and puts it together again."""

    kind: str
    unit: Unit
    vocabulary: Vocabulary

    def encode(self, text: str) -> Ids:
        """Return the ids (N,); unknown tokens get the id of <unk>."""
        ...

    def tokenize(self, text: str) -> list[Token]:
        """Return the tokens as they stand in the text, unknown ones under their own spelling."""
        ...

    def decoder(self) -> Decoder:
        """Return a decoder at the start of a text."""
        ...

    def files(self) -> dict[str, bytes]:
        """Return what `load_tokenizer` needs, by file name."""
        ...


def decode(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """Return the text of some ids."""
    decoder = tokenizer.decoder()
    return "".join([*(decoder.push(int(id)) for id in ids), decoder.flush()])


def text_encoding(tokenizer: Tokenizer, encoding: str) -> str:
    """Return how files are read for a tokenizer: bytes as they are, all others in their encoding."""
    return RAW if tokenizer.kind == "byte" else encoding


class CharTokenizer:
    """Unicode code points, as they are."""

    kind = "char"

    def __init__(self, vocabulary: Vocabulary, unit: Unit) -> None:
        self.vocabulary = vocabulary
        self.unit = unit
        if vocabulary.unknown_id is None:
            raise ValueError("a character vocabulary needs <unk>")
        self._id_of_code_point = np.full(0x110000, vocabulary.unknown_id, dtype=np.int64)
        for token, id in vocabulary.ids.items():
            if len(token) == 1:
                self._id_of_code_point[ord(token)] = id

    def encode(self, text: str) -> Ids:
        """Return one id a code point: a table lookup."""
        return self._id_of_code_point[_code_points(text)]

    def tokenize(self, text: str) -> list[Token]:
        """Return one token a code point."""
        return [Token(*token) for token in zip(text, self.encode(text).tolist(), range(len(text)), strict=True)]

    def decoder(self) -> Decoder:
        """Return a decoder that gives each token's own text."""
        return PieceDecoder(self.vocabulary.tokens)

    def files(self) -> dict[str, bytes]:
        """Return tokenizer.json."""
        return {"tokenizer.json": _tokenizer_json(self)}


def _code_points(text: str) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint32]:
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def count_characters(texts: Iterable[str]) -> dict[str, int]:
    """Count the code points of a text."""
    counts = np.zeros(0x110000, dtype=np.int64)
    for text in texts:
        found = np.bincount(_code_points(text))
        counts[: len(found)] += found
    return {chr(code_point): int(counts[code_point]) for code_point in np.flatnonzero(counts)}


class ByteTokenizer:
    """The 256 bytes of UTF-8, or of any file at all: nothing is unknown. Id and byte are the same number."""

    kind = "byte"

    def __init__(self, vocabulary: Vocabulary, unit: Unit) -> None:
        self.vocabulary = vocabulary
        self.unit = unit

    def encode(self, text: str) -> Ids:
        """Return one id a byte."""
        encoded = whole_characters(text).encode("utf-8", "surrogateescape")
        return np.frombuffer(encoded, dtype=np.uint8).astype(np.int64)

    def tokenize(self, text: str) -> list[Token]:
        """Return one token a byte, with the start of the character that it is part of."""
        tokens = self.vocabulary.tokens
        return [
            Token(tokens[byte], byte, start)
            for start, character in enumerate(whole_characters(text))
            for byte in character.encode("utf-8", "surrogateescape")
        ]

    def decoder(self) -> Decoder:
        """Return a decoder that gives undecodable bytes as surrogates, so that encoding gives them back."""
        return ByteDecoder("surrogateescape")

    def files(self) -> dict[str, bytes]:
        """Return tokenizer.json."""
        return {"tokenizer.json": _tokenizer_json(self)}


def byte_vocabulary(counts: npt.NDArray[np.int64], unit: Unit) -> Vocabulary:
    """Return the vocabulary of bytes for counts (256,), with a boundary of its own for documents."""
    names = [chr(byte) if 0x20 < byte < 0x7F else f"<0x{byte:02X}>" for byte in range(256)]
    names[0x0A], names[0x20] = NEWLINE, " "
    tokens, token_counts = list(names), counts.tolist()
    if unit == "document":
        tokens.append(DOCUMENT_BOUNDARY)
        token_counts.append(0)
    boundary_id = 256 if unit == "document" else 0x0A
    return Vocabulary(tuple(tokens), tuple(token_counts), boundary_id=boundary_id, unknown_id=None)


class WordTokenizer:
    """Words, numbers and punctuation, with the spacing kept.

    The gap that one expects between two tokens (a space between words, none before a comma) is understood; any other gap
    is a token: the white space itself, or `GLUE` for none. So decode(encode(text)) == text wherever all words are known.
    """

    kind = "word"

    def __init__(self, vocabulary: Vocabulary, unit: Unit) -> None:
        self.vocabulary = vocabulary
        self.unit = unit
        self._encoders: list[WordEncoder] = []

    def encode(self, text: str) -> Ids:
        """Return the ids of words, line ends and unexpected gaps."""
        if len(text) >= LONG_TEXT:
            return _encode_with_one_of(self._encoders, text, lambda: WordEncoder(self.id_of))
        return np.fromiter((self.id_of(word) for word, _ in split_words(text)), dtype=np.int64)

    def tokenize(self, text: str) -> list[Token]:
        """Return the words, line ends and unexpected gaps."""
        return [Token(word, self.id_of(word), start) for word, start in split_words(text)]

    def id_of(self, word: str) -> int:
        """Return a word's id."""
        return self.vocabulary.id_of(word)

    def decoder(self) -> Decoder:
        """Return a decoder that puts the expected gaps back."""
        return WordDecoder(self.vocabulary.tokens)

    def files(self) -> dict[str, bytes]:
        """Return tokenizer.json."""
        return {"tokenizer.json": _tokenizer_json(self)}


class PretokenizedTokenizer:
    """What white space separates, as the benchmark files want it; `<unk>` in the text is the unknown token."""

    kind = "pretokenized"

    def __init__(self, vocabulary: Vocabulary, unit: Unit) -> None:
        self.vocabulary = vocabulary
        self.unit = unit
        self._encoders: list[PretokenizedEncoder] = []

    def encode(self, text: str) -> Ids:
        """Return the ids of words and line ends."""
        return _encode_with_one_of(self._encoders, text, lambda: PretokenizedEncoder(self.id_of))

    def tokenize(self, text: str) -> list[Token]:
        """Return words and line ends."""
        found = ((match.group(), match.start()) for match in PRETOKENIZED_WORD.finditer(text))
        return [Token(word, self.id_of(word), start) for word, start in found]

    def id_of(self, word: str) -> int:
        """Return a word's id; a document's boundary is no word, even if one is spelled like it."""
        return self.vocabulary.id_of(UNKNOWN if word == DOCUMENT_BOUNDARY else word)

    def decoder(self) -> Decoder:
        """Return a decoder that puts one space between words."""
        return PretokenizedDecoder(self.vocabulary.tokens)

    def files(self) -> dict[str, bytes]:
        """Return tokenizer.json."""
        return {"tokenizer.json": _tokenizer_json(self)}


_Encoder = TypeVar("_Encoder", WordEncoder, PretokenizedEncoder)


def _encode_with_one_of(idle: list[_Encoder], text: str, make: Callable[[], _Encoder]) -> Ids:
    """Encode with an encoder that remembers earlier texts, or where another thread has it, with a new one."""
    try:
        encoder = idle.pop()
    except IndexError:
        encoder = make()
    ids = encoder.encode(text)
    idle.append(encoder)
    return ids


class SubwordTokenizer:
    """SentencePiece pieces (Kudo and Richardson 2018), unigram or BPE, nothing normalised, newlines kept."""

    kind = "subword"

    def __init__(self, vocabulary: Vocabulary, unit: Unit, model: bytes) -> None:
        import sentencepiece

        self.vocabulary = vocabulary
        self.unit = unit
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._texts = [as_text(token) for token in vocabulary.tokens]

    def encode(self, text: str) -> Ids:
        """Return the ids of pieces and line ends."""
        newline = self.vocabulary.ids[NEWLINE]
        first, *others = self._processor.encode(characters_only(text).split("\n"), out_type=int)
        ids = [*first]
        for line in others:
            ids.append(newline)
            ids.extend(line)
        return np.array(ids, dtype=np.int64)

    def tokenize(self, text: str) -> list[Token]:
        """Return pieces, with spaces in place of SentencePiece's mark, and line ends."""
        pieces: list[str] = []
        for number, line in enumerate(characters_only(text).split("\n")):
            pieces.extend([NEWLINE] if number else [])
            pieces.extend(as_text(piece) for piece in self._processor.encode(line, out_type=str))
        starts = accumulate((len(piece) for piece in pieces), initial=0)
        return [
            Token(piece, id, start)
            for piece, id, start in zip(pieces, self.encode(text).tolist(), starts, strict=False)
        ]

    def decoder(self) -> Decoder:
        """Return a decoder that gives each piece's text."""
        return PieceDecoder(self._texts)

    def files(self) -> dict[str, bytes]:
        """Return tokenizer.json and SentencePiece's own tokenizer.model."""
        return {"tokenizer.json": _tokenizer_json(self), "tokenizer.model": self._model}


def _tokenizer_json(tokenizer: Tokenizer) -> bytes:
    vocabulary = tokenizer.vocabulary
    return json_bytes(
        {
            "format_version": FORMAT_VERSION,
            "kind": tokenizer.kind,
            "unit": tokenizer.unit,
            "normalization": "none",
            "boundary_id": vocabulary.boundary_id,
            "unknown_id": vocabulary.unknown_id,
            "tokens": list(vocabulary.tokens),
            "counts": list(vocabulary.counts),
        }
    )


def load_tokenizer(name: str, files: dict[str, bytes]) -> Tokenizer:
    """Make a tokenizer from its files.

    Args:
        name: where they lie, for messages.
        files: contents by file name, as `Tokenizer.files` gives them.

    Raises:
        ModelError: for a newer format version or contents that are none.
    """
    stored = read_json(f"{name}/tokenizer.json", files["tokenizer.json"], FORMAT_VERSION)
    try:
        vocabulary = Vocabulary(
            tuple(stored["tokens"]), tuple(stored["counts"]), int(stored["boundary_id"]), stored["unknown_id"]
        )
        unit: Unit = stored["unit"]
        _check_vocabulary(vocabulary)
        match stored["kind"]:
            case "char":
                return CharTokenizer(vocabulary, unit)
            case "byte":
                return ByteTokenizer(vocabulary, unit)
            case "word":
                return WordTokenizer(vocabulary, unit)
            case "pretokenized":
                return PretokenizedTokenizer(vocabulary, unit)
            case "subword":
                return SubwordTokenizer(vocabulary, unit, files["tokenizer.model"])
        raise ValueError(f"unknown kind {stored['kind']!r}")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{name}/tokenizer.json: is no tokenizer of charnn ({error!r}); restore the file or train again"
        ) from error


def _check_vocabulary(vocabulary: Vocabulary) -> None:
    if not all(isinstance(token, str) for token in vocabulary.tokens) or len(vocabulary.counts) != len(vocabulary):
        raise ValueError("tokens and counts do not agree")
    for id in (vocabulary.boundary_id, 0 if vocabulary.unknown_id is None else vocabulary.unknown_id):
        if not isinstance(id, int) or not 0 <= id < len(vocabulary):
            raise ValueError(f"id {id!r} is none of {len(vocabulary)} tokens")
