"""Vectors of tokens and n-grams, their neighbors and their principal components."""

from collections import Counter

import numpy as np
import pytest

import charnn as library
from charnn.analysis.embeddings import frequent_ngrams, principal_components
from charnn.analysis.subjects import read_subjects
from charnn.config import InspectOptions


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_most_frequent_ngrams_are_those_of_a_counter(order):
    text = np.random.default_rng(1).integers(0, 5, 2000)
    counts = Counter(tuple(text[place : place + order].tolist()) for place in range(len(text) - order + 1))
    expected = sorted(counts, key=lambda ngram: (-counts[ngram], ngram))[:20]
    assert [tuple(ngram) for ngram in frequent_ngrams(text, order, 20).tolist()] == expected


def test_the_vectors_of_ngrams_are_those_that_the_network_adds(run):
    found = {each.kind: each for each in library.inspect("embeddings", run).vectors}
    (subject,) = read_subjects([run], InspectOptions())
    engine, tokenizer = subject.engine, subject.model.tokenizer
    assert set(found) == {"input", "2-gram", "3-gram", "word so far", "output"}
    bigrams = found["2-gram"]
    assert "th" in bigrams.tokens
    ids = tokenizer.encode("th")[:, None]
    rows, _ = engine.input_tables.state_rows(ids, engine.initial_state(), np)
    text = np.fromfile(run / "train.bin", dtype=tokenizer.vocabulary.dtype).astype(np.int64)
    ngrams = frequent_ngrams(text, 2, len(bigrams.tokens))
    index = ngrams.tolist().index(ids[:, 0].tolist())
    assert bigrams.tokens[index] == "th"
    table = subject.model.weights["embedding.2.weight"]
    vector = table[rows[1][1, 0]]
    other = int(bigrams.neighbors[index][0])
    second = table[engine_row(engine, ngrams[other])]
    cosine = vector @ second / np.linalg.norm(vector) / np.linalg.norm(second)
    assert bigrams.similarities[index][0] == pytest.approx(cosine, abs=1e-5)


def engine_row(engine, ngram):
    rows, _ = engine.input_tables.state_rows(ngram[:, None], engine.initial_state(), np)
    return rows[1][1, 0]


def test_the_vectors_of_words_are_those_that_the_network_adds(run):
    words = {each.kind: each for each in library.inspect("embeddings", run).vectors}["word so far"]
    (subject,) = read_subjects([run], InspectOptions())
    assert words.tokens[0] == "t"  # the most frequent beginning of a word
    index = words.tokens.index("the")
    rows = [
        subject.engine.input_tables.state_rows(
            subject.model.tokenizer.encode(f"so {word}")[:, None], subject.engine.initial_state(), np
        )[0][-1][-1, 0]
        for word in ("The", words.tokens[int(words.neighbors[index][0])])
    ]
    table = subject.model.weights["embedding.word.weight"]
    vector, second = table[rows[0]], table[rows[1]]
    cosine = vector @ second / np.linalg.norm(vector) / np.linalg.norm(second)
    assert words.similarities[index][0] == pytest.approx(cosine, abs=1e-5)


def test_principal_components_are_worked_by_hand():
    points, explained = principal_components(np.array([[0, 0, 1], [4, 0, 1], [2, 1, 1], [2, -1, 1]], dtype=np.float32))
    assert np.abs(points) == pytest.approx(np.array([[2, 0], [2, 0], [0, 1], [0, 1]]))
    assert points.sum(axis=0) == pytest.approx([0, 0])
    assert explained == pytest.approx((0.8, 0.2))
