import numpy as np
import pytest
import torch

from charnn.cells.ngram_embedding import MAX_ROWS, embedding_rows, ngram_rows, num_rows, state_rows, summed

VOCAB_SIZE = 30


def hashed(tokens):
    """The number whose digits in base V + 1 are the tokens' ids + 1, modulo the table's size after each digit."""
    row = tokens[0]
    for token in tokens[1:]:
        row = (row * (VOCAB_SIZE + 1) + token) % num_rows(VOCAB_SIZE, len(tokens))
    return row


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_rows_are_those_of_the_ngrams_that_end_in_each_token(order, xp):
    array = np.array if xp is np else torch.tensor
    ids = np.random.default_rng(order).integers(0, VOCAB_SIZE, (6, 2))
    before = np.array([[0, 0, 7], [3, 30, 1]])[:, 4 - order :]
    rows, history = embedding_rows(array(ids), array(before), VOCAB_SIZE, xp)
    text = np.concatenate((before.T, ids + 1))
    assert [row.tolist() for row in rows[:1]] == [ids.tolist()]
    for length, row in enumerate(rows[1:], start=2):
        for time, stream in np.ndindex(ids.shape):
            end = order - 1 + time + 1
            assert int(row[time, stream]) == hashed(text[end - length : end, stream].tolist())
    assert len(rows) == order
    assert history.tolist() == text[len(text) - order + 1 :].T.tolist()


def test_rows_of_numbers_are_those_of_arrays():
    arrays = ngram_rows([np.array([0, 5]), np.array([2, 9]), np.array([30, 1])], VOCAB_SIZE)
    expected = zip(at_once([0, 2, 30]), at_once([5, 9, 1]), strict=True)
    assert [tuple(row.tolist()) for row in arrays] == list(expected)


def at_once(digits):
    return ngram_rows(digits, VOCAB_SIZE)


def test_a_state_ends_with_the_history_where_ngrams_are_embedded():
    ids = np.array([[4, 2]])
    rows, history = state_rows(ids, (("lstm",), (np.zeros((2, 1), dtype=np.int64),)), 2, VOCAB_SIZE, np)
    assert [row.tolist() for row in rows] == [[[4, 2]], [[5, 3]]]
    assert [[part.tolist() for part in layer] for layer in history] == [[[[5], [3]]]]
    assert state_rows(ids, (("lstm",),), 1, VOCAB_SIZE, np) == ([ids], ())


def test_no_table_has_more_rows_than_the_most():
    assert num_rows(VOCAB_SIZE, 2) == 31**2
    assert num_rows(VOCAB_SIZE, 3) == MAX_ROWS


def test_vectors_are_added_from_the_first_on():
    assert summed([1.0, 1e16, -1e16]) == (1.0 + 1e16) - 1e16
