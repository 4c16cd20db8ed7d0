"""Tokens held in arrays, against objects made one by one."""

import tracemalloc

import numpy as np
import pytest

from charnn.config import TextOptions
from charnn.scoring import token_scores
from charnn.scoring.scores import ScoredToken
from charnn.scoring.token_scores import JoinedTokens, TokenColumns, TokenScores, spelled_tokens
from tests.conftest import trained_tokenizer

TEXT = "the fox\u2603 and the caf\u00e9  heron 12.5 wrote it down"


def tokenizer_of(kind, unit="line"):
    return trained_tokenizer(
        TextOptions(tokenizer=kind, unit=unit, min_count=None), "the fox and the heron wrote it\n" * 3
    )


def columns_of(num_tokens, alternatives=2):
    generator = np.random.default_rng(3)
    scored = np.ones(num_tokens, dtype=bool)
    scored[[0, num_tokens // 2]] = False
    return TokenColumns(
        generator.integers(0, 8, num_tokens),
        generator.normal(size=num_tokens),
        generator.random(num_tokens) < 0.3,
        scored,
        generator.integers(1, 9, num_tokens),
        generator.random(num_tokens),
        generator.integers(0, 8, (num_tokens, alternatives)),
        generator.normal(size=(num_tokens, alternatives)),
    )


def one_by_one(text, columns, tokenizer, *, start, is_backward):
    """Make each token as its definition reads: of the closing boundary, which comes last, and of those before it."""
    names = tokenizer.vocabulary.tokens
    spelled = [(token.text, token.start) for token in tokenizer.tokenize(text)]
    order = list(range(len(spelled)))[:: -1 if is_backward else 1]
    spelled.append((names[tokenizer.vocabulary.boundary_id], len(text)))
    tokens = []
    for (name, where), position in zip(spelled, [*order, len(order)], strict=True):
        scored = columns.is_scored[position]
        last = position + 1 == len(spelled)
        reduction = None if last else max(0.0, columns.entropies[position] - columns.entropies[position + 1])
        tokens.append(
            ScoredToken(
                name,
                columns.ids[position],
                start + where,
                columns.log_probs[position] if scored else None,
                columns.is_unknown[position],
                columns.ranks[position] if scored else None,
                columns.entropies[position] if scored else None,
                reduction if scored else None,
                tuple(
                    (names[id], value)
                    for id, value in zip(columns.top_ids[position], columns.top_log_probs[position], strict=True)
                )
                if scored
                else (),
            )
        )
    return tokens


@pytest.mark.parametrize("is_backward", [False, True])
@pytest.mark.parametrize("kind", ["char", "byte", "word"])
def test_tokens_are_those_made_one_by_one(monkeypatch, kind, is_backward):
    monkeypatch.setattr(token_scores, "TOKENS_AT_ONCE", 5)
    monkeypatch.setattr(token_scores, "CHARS_AT_ONCE", 7)
    tokenizer = tokenizer_of(kind)
    columns = columns_of(len(tokenizer.encode(TEXT)) + 1)
    tokens = TokenScores(TEXT, 100, columns, tokenizer, is_backward=is_backward, is_closed=True)
    expected = one_by_one(TEXT, columns, tokenizer, start=100, is_backward=is_backward)
    assert len(tokens) == len(expected)
    assert list(tokens) == expected
    assert tokens == expected
    assert tokens[-1] == expected[-1]
    assert tokens[1:4] == expected[1:4]
    assert tokens[3] is tokens[3] is list(tokens)[3]
    assert tokens != expected[1:]


def test_what_was_not_requested_is_none():
    tokenizer = tokenizer_of("char")
    columns = columns_of(4)._replace(ranks=None, entropies=None, top_ids=None, top_log_probs=None)
    (*_, last) = TokenScores("the", 0, columns, tokenizer, is_backward=False, is_closed=True)
    assert (last.rank, last.entropy_nats, last.entropy_reduction_nats, last.alternatives) == (None, None, None, ())
    empty = TokenScores(
        "", 0, columns_of(2)._replace(ids=np.zeros(0, int)), tokenizer, is_backward=False, is_closed=False
    )
    assert list(empty) == []
    assert not empty


@pytest.mark.parametrize("kind", ["char", "byte", "word", "subword"])
def test_a_text_is_spelled_in_windows_as_it_is_at_once(monkeypatch, kind):
    monkeypatch.setattr(token_scores, "CHARS_AT_ONCE", 3)
    options = {"vocab_size": 24} if kind == "subword" else {}
    tokenizer = trained_tokenizer(TextOptions(tokenizer=kind, **options), "the fox and the heron wrote it\n" * 9)
    text = TEXT + "\n\ud800x"
    assert list(spelled_tokens(tokenizer, text)) == [(token.text, token.start) for token in tokenizer.tokenize(text)]


def test_segments_are_joined():
    tokenizer = tokenizer_of("char")
    parts = [TokenScores("the", 3 * n, columns_of(3), tokenizer, is_backward=False, is_closed=False) for n in range(3)]
    joined = JoinedTokens(parts)
    assert len(joined) == 9
    assert [token.start for token in joined] == list(range(9))
    assert joined[4].start == 4
    assert [token.start for token in joined[7:]] == [7, 8]


def test_few_tokens_are_in_memory_at_a_time(monkeypatch):
    monkeypatch.setattr(token_scores, "TOKENS_AT_ONCE", 512)
    monkeypatch.setattr(token_scores, "CHARS_AT_ONCE", 1 << 12)
    tokenizer = tokenizer_of("char")
    text = "the fox " * 5000
    tokens = TokenScores(text, 0, columns_of(len(text), 1), tokenizer, is_backward=False, is_closed=False)
    tracemalloc.start()
    assert sum(1 for _ in tokens) == len(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * len(text) / 2  # as objects, they need 300 bytes each
