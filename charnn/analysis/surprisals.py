"""How well a model predicts each token of a text: a passage in detail, and where the loss is highest and lowest."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from charnn.config import ScoreOptions
from charnn.errors import ModelError, TextError
from charnn.notebook import with_spaces
from charnn.scoring.build import build_scorer
from charnn.scoring.scores import Score, ScoredToken
from charnn.storage.model_directory import Model
from charnn.text.bins import KIND
from charnn.text.corpus import open_ids
from charnn.text.reading import documents, lines, whole_lines
from charnn.text.sources import display_name
from charnn.text.tokenizers import Tokenizer, decode
from charnn.text.unit_kinds import has_own_boundary, separator_of
from charnn.text.units import read_units
from charnn.text.vocabulary import UNKNOWN, as_text, visible

NUM_ALTERNATIVES = 5
MAX_POSITION = 80
MIN_COUNT = 10
"""Minimum number of tokens at a position of the line whose mean is shown."""
_MAX_CHARS_PER_TOKEN = {"char": 1, "byte": 1}
UNKNOWN_MARK = "\ufffd"
"""What stands for unknown characters, words and subwords of a held-out text, of which only the ids are stored."""


@dataclass(frozen=True)
class TokenLoss:
    """The loss of one token of the vocabulary.

    Args:
        token: as tables show it, with visible white space.
        count: occurrences in the text.
        mean_bits: mean surprisal.
        share: fraction of the loss of the whole text.
    """

    token: str
    count: int
    mean_bits: float
    share: float


@dataclass(frozen=True)
class Surprisals:
    """The surprisal of each token of a text.

    Args:
        passage: the tokens of the beginning of the text with the likeliest alternatives, each after the text before it that
            belongs to no token (see `charnn.notebook.with_spaces`).
        num_tokens, num_chars: of the whole text.
        total_bits: sum of the surprisals of the whole text.
        by_token: the loss by token, the largest share first.
        position_bits: mean surprisal by position in the line, from 0, in tokens (P,); NaN where there are few tokens.
        position_counts: numbers of tokens (P,).
    """

    passage: Sequence[tuple[str, ScoredToken]]
    num_tokens: int
    num_chars: int
    total_bits: float
    by_token: Sequence[TokenLoss]
    position_bits: npt.NDArray[np.float64]
    position_counts: npt.NDArray[np.int64]


def text_to_read(model: Model, file: str | None, max_tokens: int, *, encoding: str = "utf-8") -> str:
    """Return the beginning of a file, or of the text that was held out from a model.

    Args:
        file: name of the file; None for the held-out text.
        max_tokens: of the model's tokenizer.
        encoding: of the file.

    Raises:
        ModelError: if no text was held out.
        TextError: if the file has no token.
    """
    text = (
        _held_out_text(model, max_tokens) if file is None else _file_text(file, model.tokenizer, max_tokens, encoding)
    )
    return beginning(text, model.tokenizer, max_tokens)


def _file_text(file: str, tokenizer: Tokenizer, max_tokens: int, encoding: str) -> str:
    parts: list[str] = []
    is_of_tunes = tokenizer.unit == "tune"
    for part in read_units([file], tokenizer, unit="tune" if is_of_tunes else "stream", encoding=encoding):
        parts.append(part + separator_of("tune") * is_of_tunes)
        if sum(map(len, parts)) >= max_tokens * _MAX_CHARS_PER_TOKEN.get(tokenizer.kind, 16):
            break
    if not (text := "".join(parts)):
        raise TextError(f"{display_name(file)}: contains no token; name a text with some")
    return text


def _held_out_text(model: Model, max_tokens: int) -> str:
    file, tokenizer = model.path / "valid.bin", model.tokenizer
    ids = (
        np.asarray(open_ids(file, tokenizer)[:max_tokens]).astype(np.int64)
        if file.exists()
        else np.zeros(0, dtype=np.int64)
    )
    if not len(ids):
        raise ModelError(f"{model.path}: has no held-out text to read; name a text with --file")
    if tokenizer.unit == "stream":
        return _text_of(ids, tokenizer)
    ends = np.flatnonzero(ids == tokenizer.vocabulary.boundary_id)
    separator = separator_of(tokenizer.unit)
    return "".join(
        _text_of(part[part != tokenizer.vocabulary.boundary_id], tokenizer) + separator
        for part in np.split(ids, ends + 1)
        if len(part)
    )


def _text_of(ids: npt.NDArray[np.int64], tokenizer: Tokenizer) -> str:
    """Return a text with these tokens, in which an unknown one is spelled so that it is unknown again."""
    unknown_id = tokenizer.vocabulary.unknown_id
    if unknown_id is None or tokenizer.kind in ("pretokenized", KIND):  # which read <unk> as it is written
        return decode(tokenizer, ids)
    if tokenizer.kind == "char":
        parts = np.split(ids, np.flatnonzero(ids == unknown_id))  # all but the first begin with an unknown character
        return UNKNOWN_MARK.join([decode(tokenizer, parts[0]), *(decode(tokenizer, part[1:]) for part in parts[1:])])
    return decode(tokenizer, ids).replace(UNKNOWN, UNKNOWN_MARK)


def beginning(text: str, tokenizer: Tokenizer, num_tokens: int) -> str:
    """Return the beginning of a text, at most so many tokens; for a model of lines, whole lines if there is one."""
    head = text[: num_tokens * _MAX_CHARS_PER_TOKEN.get(tokenizer.kind, 16)]
    if tokenizer.kind == KIND and len(head) < len(text):
        head = head[: head.rindex(head.split()[-1])]  # without a number that may be cut
    tokens = list(tokenizer.tokenize(head))
    if len(tokens) > num_tokens:
        head = head[: tokens[num_tokens].start]
    if tokenizer.unit == "line" and len(head) < len(text) and "\n" in head:
        head = head[: head.rindex("\n") + 1]
    return head


def read_surprisals(model: Model, text: str, *, passage_length: int) -> Surprisals:
    """Return the surprisals of a text: those of `charnn score --per-token`, with the unit that the model was trained on.

    Args:
        passage_length: tokens that are returned with their alternatives.
    """
    unit = model.tokenizer.unit
    options = ScoreOptions(unit=unit, per_token=True, alternatives=NUM_ALTERNATIVES)
    passage = [
        token
        for score in _scores(model, beginning(text, model.tokenizer, passage_length), options)
        for token in with_spaces(score.tokens, score.text, score.start)
    ]
    plain = replace(options, per_token=False, alternatives=0)
    total, by_token, by_position = Score(), _ByToken(model), _ByPosition()
    for score in _scores(model, text, plain):
        total += score
        if unit != "stream":
            by_position.begin_line()
        for token in score.tokens:
            by_token.add(token)
            by_position.add(token)
    bits = total.bits_per(1)
    position_bits, position_counts = by_position.means()
    return Surprisals(
        passage[:passage_length],
        total.num_tokens,
        total.num_chars,
        bits,
        by_token.losses(bits),
        position_bits,
        position_counts,
    )


def divided(text: str, tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the units of a text: lines, documents, or pieces of a running text, as `charnn score` reads them from a file."""
    if has_own_boundary(tokenizer.unit):
        return documents(iter([text]))
    return (lines if tokenizer.unit == "line" else whole_lines)(iter([text]))


def _scores(model: Model, text: str, options: ScoreOptions) -> Iterator[Score]:
    return build_scorer([model], options).scores(divided(text, model.tokenizer), options, with_tokens=True)


class _ByToken:
    """Sums the loss of each token of the vocabulary."""

    def __init__(self, model: Model) -> None:
        self._tokenizer = model.tokenizer
        self._bits = np.zeros(len(model.tokenizer.vocabulary))
        self._counts = np.zeros(len(self._bits), dtype=np.int64)

    def add(self, token: ScoredToken) -> None:
        if token.surprisal_bits is not None:
            self._bits[token.id] += token.surprisal_bits
            self._counts[token.id] += 1

    def losses(self, total_bits: float) -> list[TokenLoss]:
        """Return the loss of each token that occurs, the largest share first."""
        ids = np.flatnonzero(self._counts)
        ids = ids[np.argsort(-self._bits[ids], kind="stable")]
        names, kind = self._tokenizer.vocabulary.tokens, self._tokenizer.kind
        return [
            TokenLoss(
                visible(as_text(names[id], kind)),
                int(self._counts[id]),
                float(self._bits[id] / self._counts[id]),
                float(self._bits[id] / total_bits) if total_bits else math.nan,
            )
            for id in ids.tolist()
        ]


class _ByPosition:
    """Sums the loss at each position of the line."""

    def __init__(self) -> None:
        self._bits = np.zeros(MAX_POSITION)
        self._counts = np.zeros(MAX_POSITION, dtype=np.int64)
        self._position = 0

    def begin_line(self) -> None:
        self._position = 0

    def add(self, token: ScoredToken) -> None:
        if token.surprisal_bits is not None and self._position < MAX_POSITION:
            self._bits[self._position] += token.surprisal_bits
            self._counts[self._position] += 1
        self._position = 0 if "\n" in token.token else self._position + 1

    def means(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Return the means and the counts by position, up to the last one with enough tokens."""
        enough = self._counts >= MIN_COUNT
        length = int(np.flatnonzero(enough)[-1]) + 1 if enough.any() else 0
        means = np.where(enough, self._bits / np.maximum(self._counts, 1), np.nan)
        return means[:length], self._counts[:length]
