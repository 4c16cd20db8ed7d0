import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charnn.randomness import WEYL_INCREMENT, draw, draw_rows, splitmix64

weights = st.lists(st.floats(0, 10), min_size=1, max_size=9).filter(lambda row: sum(row) > 1e-9)
uniforms = st.floats(0, 1, exclude_max=True)


def first_above(row, uniform):
    """Walk along the cumulative distribution."""
    threshold = uniform * float(np.cumsum(row)[-1])
    total = 0.0
    for token, weight in enumerate(row):
        total += weight
        if total > threshold:
            return token
    return len(row) - 1


@given(weights, uniforms)
def test_a_token_is_drawn_where_the_cumulative_distribution_passes_the_number(row, uniform):
    assert draw(np.cumsum(row), uniform) == first_above(row, uniform)


@given(st.lists(st.tuples(weights, uniforms), min_size=1, max_size=5))
def test_each_row_is_drawn_from_by_itself(cases):
    rows = np.zeros((len(cases), 9))
    for number, (row, _) in enumerate(cases):
        rows[number, : len(row)] = row
    numbers = np.array([uniform for _, uniform in cases])
    expected = [draw(row.cumsum(), uniform) for row, uniform in zip(rows, numbers, strict=True)]
    assert draw_rows(np.cumsum(rows, axis=1), numbers, np).tolist() == expected
    cumulative = torch.tensor(np.cumsum(rows, axis=1))
    assert draw_rows(cumulative, torch.tensor(numbers), torch).tolist() == expected


def test_a_token_of_no_weight_is_never_drawn():
    assert [draw(np.cumsum([0.0, 1.0, 0.0, 1.0]), uniform) for uniform in (0.0, 0.49, 0.5, 0.99)] == [1, 1, 3, 3]


def test_splitmix64_is_the_published_sequence():
    """The first numbers of the generator with seed 1234567, as its authors' reference implementation in C prints them."""
    state, found = 1234567, []
    for _ in range(5):
        state = (state + WEYL_INCREMENT) % 2**64
        found.append(splitmix64(state))
    assert found == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@pytest.mark.parametrize("states", [[0, 1, 2**63, 2**64 - 1]])
def test_splitmix64_of_an_array_is_that_of_its_numbers(states):
    found = splitmix64(np.array(states, dtype=np.uint64))
    assert found.dtype == np.uint64
    assert found.tolist() == [splitmix64(state) for state in states]
