import numpy as np
import pytest
import torch

from charnn.cells.ngram_embedding import MAX_ROWS, InputTables, max_rows, ngram_rows, summed, table_sizes
from charnn.config import Architecture

VOCAB_SIZE = 30
LARGEST = (31**2, MAX_ROWS, MAX_ROWS)


def hashed(tokens, num_rows):
    """The number whose digits in base V + 1 are the tokens' ids + 1, modulo the table's size."""
    number = sum(token * (VOCAB_SIZE + 1) ** place for place, token in enumerate(reversed(tokens)))
    return number % num_rows


@pytest.mark.parametrize("sizes", [LARGEST, (7, 40, 3)], ids=["largest", "small"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_rows_are_those_of_the_ngrams_that_end_in_each_token(order, xp, sizes):
    sizes = sizes[: order - 1]
    array = np.array if xp is np else torch.tensor
    ids = np.random.default_rng(order).integers(0, VOCAB_SIZE, (6, 2))
    before = np.array([[0, 0, 7], [3, 30, 1]])[:, 4 - order :]
    rows, history = InputTables(VOCAB_SIZE, sizes, 0, None).rows(array(ids), array(before), xp)
    text = np.concatenate((before.T, ids + 1))
    assert [row.tolist() for row in rows[:1]] == [ids.tolist()]
    for length, row in enumerate(rows[1:], start=2):
        for time, stream in np.ndindex(ids.shape):
            end = order - 1 + time + 1
            assert int(row[time, stream]) == hashed(text[end - length : end, stream].tolist(), sizes[length - 2])
    assert len(rows) == order
    assert history.tolist() == text[len(text) - order + 1 :].T.tolist()


def test_rows_of_numbers_are_those_of_arrays():
    arrays = ngram_rows([np.array([0, 5]), np.array([2, 9]), np.array([30, 1])], VOCAB_SIZE, LARGEST[:2])
    expected = zip(at_once([0, 2, 30]), at_once([5, 9, 1]), strict=True)
    assert [tuple(row.tolist()) for row in arrays] == list(expected)


def at_once(digits):
    return ngram_rows(digits, VOCAB_SIZE, LARGEST[:2])


def test_a_state_ends_with_the_history_where_ngrams_are_embedded():
    ids = np.array([[4, 2]])
    tables = InputTables(VOCAB_SIZE, (31**2,), 0, None)
    rows, history = tables.state_rows(ids, (("lstm",), (np.zeros((2, 1), dtype=np.int64),)), np)
    assert [row.tolist() for row in rows] == [[[4, 2]], [[5, 3]]]
    assert [[part.tolist() for part in layer] for layer in history] == [[[[5], [3]]]]
    assert InputTables(VOCAB_SIZE, (), 0, None).state_rows(ids, (("lstm",),), np) == ([ids], ())


@pytest.mark.parametrize("sizes", [(), (50, 70)])
def test_one_token_has_the_rows_of_an_array(sizes):
    codes = np.array([5, 9, -3, 7])
    tables = InputTables(VOCAB_SIZE, sizes, 31, codes)
    history_1M = np.array([[*[2, 3][: len(sizes)], 11]])
    for id in range(4):
        rows, after = tables.rows(np.array([[id]]), history_1M, np)
        assert tables.rows_of_one(id, history_1M[0].tolist()) == ([int(row.item()) for row in rows], after[0].tolist())


def test_no_table_has_more_rows_than_the_most():
    assert max_rows(VOCAB_SIZE, 2) == 31**2
    assert max_rows(VOCAB_SIZE, 3) == MAX_ROWS


@pytest.mark.parametrize(
    ("order", "given", "expected"),
    [(1, None, ()), (3, None, (4356, 16_381)), (3, (900, 4001), (900, 4001))],
    ids=["no n-grams", "by the vocabulary", "by the text"],
)
def test_sizes_are_those_of_the_architecture_or_follow_from_the_vocabulary(order, given, expected):
    architecture = Architecture("lstm", 65, 8, 16, 1, embedding_order=order, ngram_table_sizes=given)
    assert table_sizes(architecture) == expected


def test_vectors_are_added_from_the_first_on():
    assert summed([1.0, 1e16, -1e16]) == (1.0 + 1e16) - 1e16
