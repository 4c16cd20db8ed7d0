"""The tokenizer of an earlier model, kept for another text: what its vocabulary covers, and new tokens for the rest."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from charnn.config import TextOptions, Unit
from charnn.errors import OptionError, first_of
from charnn.files import sha256_hex
from charnn.text.code_points import code_points, count_texts
from charnn.text.tokenizer_training import spelling_examples
from charnn.text.tokenizers import (
    PretokenizedTokenizer,
    Tokenizer,
    WordTokenizer,
    load_tokenizer,
)
from charnn.text.vocabulary import UNKNOWN, Vocabulary, as_text, visible

MAX_NEW_WORDS = 20_000
"""Maximum number of words that are added, unless --vocab-size limits the vocabulary."""
NUM_SHOWN = 8
"""Unknown tokens that a message names, the most frequent first."""
Counts = Mapping[str, int]


@dataclass(frozen=True)
class KeptTokenizer:
    """The tokenizer of an earlier model.

    Args:
        tokenizer: its tokenizer, with the unit of the new text.
        model: its directory, for messages.
        is_extended: whether tokens of the new text are added.
    """

    tokenizer: Tokenizer
    model: str
    is_extended: bool = False

    @property
    def key(self) -> list[object]:
        """What the encoded text depends on, for the key of the cache."""
        files = self.tokenizer.files()
        return [sha256_hex(*(files[name] for name in sorted(files))), self.model, self.is_extended]


class AdaptedTokenizer(NamedTuple):
    """A tokenizer for a new text, the spelling examples of the text, and what a user should know of its coverage."""

    tokenizer: Tokenizer
    spelling_examples: Sequence[str]
    notes: Sequence[str]


def with_unit(tokenizer: Tokenizer, unit: Unit, vocabulary: Vocabulary | None = None) -> Tokenizer:
    """Return a tokenizer for another unit of text, or with another vocabulary."""
    changed = load_tokenizer("tokenizer", tokenizer.files())
    changed.unit = unit
    if vocabulary is not None:
        changed.vocabulary = vocabulary
    return load_tokenizer("tokenizer", changed.files())


def adapt_tokenizer(
    kept: KeptTokenizer, options: TextOptions, texts: Callable[[], Iterator[str]], name: str
) -> AdaptedTokenizer:
    """Return the tokenizer of an earlier model for a new text, extended if so asked, and the coverage of the text.

    Args:
        kept: the tokenizer of the earlier model.
        options: `min_count` and `vocab_size` limit the tokens that are added.
        texts: starts a new pass over the training text.
        name: of the text, for messages.

    Raises:
        OptionError: for a `vocab_size` that leaves no room.
    """
    tokenizer = kept.tokenizer
    if tokenizer.kind in ("byte", "bins"):
        return AdaptedTokenizer(tokenizer, (), ())
    counts = count_tokens(tokenizer, texts())
    unknown = _unknown(tokenizer, counts)
    vocabulary = tokenizer.vocabulary
    if kept.is_extended:
        vocabulary = extended_vocabulary(vocabulary, counts, unknown, options, kind=tokenizer.kind, model=kept.model)
        if len(vocabulary) > len(tokenizer.vocabulary):
            tokenizer = with_unit(tokenizer, tokenizer.unit, vocabulary)
    is_of_words = isinstance(tokenizer, (WordTokenizer, PretokenizedTokenizer))
    examples = spelling_examples(counts, tokenizer.vocabulary) if is_of_words else ()
    num_added = len(vocabulary) - len(kept.tokenizer.vocabulary)
    remaining = {token: count for token, count in unknown.items() if token not in vocabulary.ids}
    note = _coverage(kept, name, counts, unknown, remaining, num_added)
    return AdaptedTokenizer(tokenizer, examples, [note])


def count_tokens(tokenizer: Tokenizer, texts: Iterator[str]) -> Counts:
    """Return the count of each token of a text, known or not: of words, or else of characters."""
    if not isinstance(tokenizer, (WordTokenizer, PretokenizedTokenizer)):
        counts = count_texts(texts, code_points)
        return {chr(code_point): int(counts[code_point]) for code_point in np.flatnonzero(counts)}
    numbers: dict[str, int] = {}
    encoder = tokenizer.encoder(lambda word: numbers.setdefault(word, len(numbers)))
    totals = np.zeros(1 << 10, dtype=np.int64)
    for text in texts:
        counted = np.bincount(encoder.encode(text))
        if len(counted) > len(totals):
            totals = np.pad(totals, (0, 2 * len(counted) - len(totals)))
        totals[: len(counted)] += counted
    return {word: count for word, count in zip(numbers, totals.tolist(), strict=False) if count}


def _unknown(tokenizer: Tokenizer, counts: Counts) -> dict[str, int]:
    """Return the tokens that the vocabulary does not have, the most frequent first; for subwords, characters."""
    known = set(tokenizer.vocabulary.tokens)
    if tokenizer.kind == "subword":
        known = {character for token in known for character in as_text(token)}
    unknown = [token for token in counts if token not in known and token != UNKNOWN]
    return {token: counts[token] for token in sorted(unknown, key=lambda token: (-counts[token], token))}


def extended_vocabulary(
    old: Vocabulary, counts: Counts, unknown: Counts, options: TextOptions, *, kind: str, model: str
) -> Vocabulary:
    """Return a vocabulary with new tokens at its end, so that the old ones keep their ids; counts are of both texts.

    Args:
        old: the vocabulary of the earlier model.
        counts: of each token of the new text.
        unknown: of those that are not in the vocabulary, the most frequent first.
        options: `min_count` and `vocab_size` limit them.
        kind: of the tokenizer.
        model: the earlier model, for messages.

    Raises:
        OptionError: for a `vocab_size` that leaves no room.
    """
    if options.vocab_size is not None and options.vocab_size <= len(old):
        raise OptionError(
            f"--vocab-size: found {options.vocab_size}, but {model} has {len(old):,} tokens already; use a larger one, or "
            "leave --extend-vocab out"
        )
    min_count = options.min_count or (2 if kind == "word" else 1)
    room = options.vocab_size - len(old) if options.vocab_size else MAX_NEW_WORDS if kind == "word" else len(unknown)
    new = [token for token, count in unknown.items() if count >= min_count][:room]
    tokens = (*old.tokens, *new)
    totals = [count + counts.get(token, 0) for token, count in zip(old.tokens, old.counts, strict=True)]
    if old.unknown_id is not None:
        totals[old.unknown_id] += sum(unknown.values()) - sum(unknown[token] for token in new)
    return replace(old, tokens=tokens, counts=(*totals, *(unknown[token] for token in new)))


def _coverage(
    kept: KeptTokenizer, name: str, counts: Counts, unknown: Counts, remaining: Counts, num_added: int
) -> str:
    """Return how much of a text an earlier vocabulary covers, and the option that helps."""
    kind = kept.tokenizer.kind
    what = "words" if kind in ("word", "pretokenized") else "characters"
    if not unknown:
        return f"{name}: the vocabulary of {kept.model} has all of its {what}"
    total = sum(counts.values())
    frequent = first_of([f"{visible(token)} ({count:,})" for token, count in unknown.items()], NUM_SHOWN)
    found = f"{name}: {_rate(unknown, total)} of its {what} are not in the vocabulary of {kept.model}: {frequent}"
    if kept.is_extended:
        left = f"; {_rate(remaining, total)} remain <unk>" if remaining else ""
        return f"{found}; --extend-vocab adds {num_added:,} token{'s' * (num_added != 1)}{left}"
    if kind == "subword":
        return f"{found}; they become <unk>; a new run without --init-from would know them"
    return f"{found}; they become <unk>; --extend-vocab adds them to the vocabulary"


def _rate(part: Counts, total: int) -> str:
    return f"{sum(part.values()) / total:.2%}"
