"""Counting n-grams, and Kneser-Ney smoothing."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.ngrams import counting
from charnn.ngrams.counting import affordable_order, count_ngrams, window_keys
from charnn.ngrams.kneser_ney import DEFAULT_DISCOUNTS, estimate, from_arrays

VOCAB_SIZE, BOUNDARY = 7, 0


def text(number=2000, seed=1):
    """Return ids with some structure: what follows depends on the two before."""
    random, ids = np.random.default_rng(seed), [1, 2]
    while len(ids) < number:
        ids.append((ids[-1] * 2 + ids[-2] + int(random.random() < 0.3)) % VOCAB_SIZE)
    return np.array(ids, dtype=np.uint8)


def histories(ids, order, cut):
    """Yield (context, token) for each token, the slow way."""
    context = (BOUNDARY,)
    for id in map(int, ids):
        yield context[-(order - 1) :] if order > 1 else (), id
        context = (BOUNDARY,) if cut and id == BOUNDARY else (*context, id)


def key_of(tokens, bits=3):
    return sum((token + 1) << (bits * place) for place, token in enumerate(reversed(tokens)))


def counted(ids, order, cut=False, **options):
    return count_ngrams(ids, order=order, vocab_size=VOCAB_SIZE, boundary_id=BOUNDARY, cut_at_boundary=cut, **options)


@given(
    ids=st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=60),
    order=st.integers(1, 5),
    cut=st.booleans(),
    at_once=st.integers(1, 20),
)
def test_counts_are_those_of_counting_one_by_one(ids, order, cut, at_once):
    expected = Counter(key_of((*context, id)) for context, id in histories(ids, order, cut))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "TOKENS_AT_ONCE", at_once)
        found = counted(np.array(ids, dtype=np.uint8), order, cut)
    assert dict(zip(found.keys.tolist(), found.counts.tolist(), strict=True)) == dict(sorted(expected.items()))


def test_too_many_ngrams_lower_the_order(monkeypatch):
    ids = text()
    monkeypatch.setattr(counting, "TOKENS_AT_ONCE", 100)
    whole = counted(ids, 3)
    few = counted(ids, 6, max_ngrams=len(whole.keys))
    assert few.order == 3
    np.testing.assert_array_equal(few.keys, whole.keys)
    np.testing.assert_array_equal(few.counts, whole.counts)


def test_the_order_is_what_fits_into_a_key():
    assert [affordable_order(7, size) for size in (65, 20_000, 2**31 - 2, 2**40)] == [7, 4, 2, 1]
    assert affordable_order(16, 256) == 7


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_the_published_formulas(order, cut):
    ids = text(3000)
    model = estimate(counted(ids, order, cut), VOCAB_SIZE)
    reference = Reference(ids, order, cut)
    other = text(300, seed=2)
    reading = model.read_text(other, boundary_id=BOUNDARY, cut_at_boundary=cut)
    for place, (context, id) in enumerate(histories(other, order, cut)):
        assert reading.probs[place] == pytest.approx(reference.prob(context, id), rel=1e-5)
        probs, matched = model.distribution(context)
        assert probs[id] == pytest.approx(reading.probs[place], rel=1e-6)
        assert matched == reading.matched[place]
        assert probs.sum() == pytest.approx(1, abs=1e-6)


class Reference:
    """Interpolated modified Kneser-Ney over dictionaries, one n-gram at a time. Source: Chen and Goodman (1999)."""

    def __init__(self, ids, order, cut):
        plain = Counter()
        for context, id in histories(ids, order, cut):
            for length in range(len(context) + 1):
                plain[(*context[len(context) - length :], id)] += 1
        at_beginning = Counter((*context, id) for context, id in histories(ids, order, cut) if len(context) < order - 1)
        self.counts = {}
        for ngram, count in plain.items():
            before = {longer[0] for longer in plain if longer[1:] == ngram}
            self.counts[ngram] = count if len(ngram) == order else len(before) + at_beginning[ngram]
        self.discounts = {length: self._discounts(length) for length in range(1, order + 1)}

    def _discounts(self, length):
        n1, n2, n3, n4 = (
            sum(len(ngram) == length and count == number for ngram, count in self.counts.items())
            for number in (1, 2, 3, 4)
        )
        if not (n1 and n2 and n3 and n4):
            return (0.0, *DEFAULT_DISCOUNTS)
        y = n1 / (n1 + 2 * n2)
        found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        usable = all(0 <= discount <= number for number, discount in enumerate(found, start=1))
        return (0.0, *(found if usable else DEFAULT_DISCOUNTS))

    def prob(self, context, id):
        lower = self.prob(context[1:], id) if context else 1 / VOCAB_SIZE
        followers = {ngram[-1]: count for ngram, count in self.counts.items() if ngram[:-1] == tuple(context)}
        if not followers:
            return lower
        discounts, total = self.discounts[len(context) + 1], sum(followers.values())
        taken = {token: min(discounts[min(count, 3)], count) for token, count in followers.items()}
        own = (followers[id] - taken[id]) / total if id in followers else 0.0
        return own + sum(taken.values()) / total * lower


def test_a_text_of_nothing_leaves_the_uniform_distribution():
    model = estimate(counted(np.zeros(0, dtype=np.uint8), 3), VOCAB_SIZE)
    probs, matched = model.distribution([BOUNDARY, 3])
    np.testing.assert_allclose(probs, 1 / VOCAB_SIZE)
    assert matched == 0
    assert len(model.read_text(np.zeros(0, dtype=np.uint8), boundary_id=BOUNDARY, cut_at_boundary=True).probs) == 0


def test_reading_several_texts_at_once_is_reading_each():
    model = estimate(counted(text(), 4), VOCAB_SIZE)
    columns = [text(50, seed=3), text(50, seed=4)]
    contexts = np.stack([np.concatenate([[BOUNDARY], column[:-1]]) for column in columns], axis=1)
    together = model.read(contexts, np.stack(columns, axis=1))
    for number, column in enumerate(columns):
        alone = model.read_text(column, boundary_id=BOUNDARY, cut_at_boundary=False)
        np.testing.assert_array_equal(together.probs[:, number], alone.probs)
        np.testing.assert_array_equal(together.matched[:, number], alone.matched)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_whole_distributions_are_those_of_each_context(dtype):
    model = estimate(counted(text(), 4), VOCAB_SIZE)
    model.levels[1] = replace(
        model.levels[1], **{name: getattr(model.levels[1], name)[:0] for name in ("keys", "contexts")}
    )
    ids = np.concatenate(([BOUNDARY], text(60, seed=3), np.zeros(3, dtype=int), text(60, seed=4)))
    probs, matched = model.distributions(model.histories(np.stack([ids, ids[::-1]], axis=1)), dtype)
    assert (probs.dtype, set(matched.ravel().tolist())) == (dtype, {1, 3})
    for column, read in enumerate((ids, ids[::-1])):
        for place in range(len(ids)):
            expected, length = model.distribution(read[: place + 1].tolist())
            assert matched[place, column] == length
            np.testing.assert_allclose(probs[place, column], expected, rtol=1e-12 if dtype == np.float64 else 1e-5)


def test_a_model_survives_as_arrays_and_damage_is_found():
    model = estimate(counted(text(), 4), VOCAB_SIZE)
    again = from_arrays(model.arrays(), VOCAB_SIZE)
    np.testing.assert_array_equal(model.distribution([0, 1, 2, 4])[0], again.distribution([0, 1, 2, 4])[0])
    assert again.num_ngrams == model.num_ngrams
    with pytest.raises(ValueError, match="has a vocabulary of 7, but the network has 9"):
        from_arrays(model.arrays(), 9)
    arrays = model.arrays()
    arrays["3.discounted"] = arrays["3.discounted"][1:]
    with pytest.raises(ValueError, match="n-grams of order 3"):
        from_arrays(arrays, VOCAB_SIZE)
    with pytest.raises(ValueError, match="contains "):
        from_arrays({"1.probs": model.unigrams, "extra": model.unigrams}, VOCAB_SIZE)


def test_keys_of_a_text_shorter_than_the_order():
    assert window_keys(np.array([3]), 5, 3).tolist() == [4]
