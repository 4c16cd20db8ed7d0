"""N-grams of sequences: plain counts, interpolated by pseudo-counts."""

import math
from collections import Counter

import numpy as np
import pytest

from charnn.ngrams import pseudocounts
from charnn.ngrams.counting import count_ngrams
from charnn.ngrams.kneser_ney import estimate, from_arrays
from charnn.ngrams.pseudocounts import estimate_by_pseudocounts

VOCAB_SIZE, BOUNDARY = 6, 5


def bases(number=3000, seed=1):
    """Return bases with some structure and a repeat, as ids from 0 to 3."""
    random, ids = np.random.default_rng(seed), [0, 1]
    while len(ids) < number:
        ids.append(int(random.choice(4, p=np.roll([0.5, 0.3, 0.15, 0.05], 2 * ids[-1] + ids[-2]))))
    return np.array([*ids, *ids[100:400], BOUNDARY, *ids[:50], BOUNDARY], dtype=np.uint8)


def counted(ids, order, *, cut=False):
    return count_ngrams(ids, order=order, vocab_size=VOCAB_SIZE, boundary_id=BOUNDARY, cut_at_boundary=cut)


@pytest.mark.parametrize("cut", [False, True], ids=["stream", "lines"])
def test_probabilities_are_those_of_plain_counts(cut):
    """With the pseudo-counts that were fitted, each probability is what the formula says, level by level."""
    ids, order = bases(), 4
    model = estimate_by_pseudocounts(counted(ids, order, cut=cut), VOCAB_SIZE)
    whole, history = Counter(), (BOUNDARY,)
    for id in map(int, ids):
        for length in range(min(order, len(history) + 1)):
            whole[(*history[len(history) - length :], id)] += 1
        history = (BOUNDARY,) if cut and id == BOUNDARY else (*history, id)
    for context in [(), (0,), (1, 2), (3, 3, 0), (2, 1, 0), (BOUNDARY, 0, 1)]:
        probs, matched = model.distribution(context)
        expected = np.array([whole[(id,)] + 1 / VOCAB_SIZE for id in range(VOCAB_SIZE)])
        expected /= expected.sum()
        for length in range(1, matched + 1):
            part, level = context[len(context) - length :], model.levels[length - 1]
            if not len(level.keys):
                continue
            counts = np.array([whole[(*part, id)] for id in range(VOCAB_SIZE)])
            key = sum((id + 1) << (model.bits * place) for place, id in enumerate(reversed(part)))
            backoff = float(level.backoffs[level.contexts.searchsorted(np.uint64(key))])
            expected = counts / counts.sum() * (1 - backoff) + backoff * expected
        assert probs == pytest.approx(expected, rel=1e-5)


def test_distributions_sum_to_one_and_agree_with_reading():
    ids = bases()
    model = estimate_by_pseudocounts(counted(ids, 12), VOCAB_SIZE)
    read = model.read_text(ids, boundary_id=BOUNDARY, cut_at_boundary=False)
    for place in (0, 1, 5, 20, 3100, 3200, len(ids) - 1):
        probs, matched = model.distribution([BOUNDARY, *ids[:place].tolist()])
        assert probs.sum() == pytest.approx(1, abs=1e-6)
        assert probs.min() > 0
        assert (read.probs[place], read.matched[place]) == (pytest.approx(probs[ids[place]]), matched)


def test_orders_with_nearly_as_many_ngrams_as_the_highest_are_left_out():
    model = estimate_by_pseudocounts(counted(bases(), 12), VOCAB_SIZE)
    numbers = [len(level.keys) for level in model.levels]
    kept = [number for number in numbers[:-1] if number]
    assert model.order == 12
    assert kept == numbers[: len(kept)]
    assert max(kept) <= 0.5 * numbers[-1] + 12 < numbers[-1]
    assert len(counted(bases(), len(kept) + 2).keys) > 0.5 * numbers[-1]


def test_a_model_with_orders_left_out_is_stored():
    ids = bases()
    model = estimate_by_pseudocounts(counted(ids, 12), VOCAB_SIZE)
    again = from_arrays(model.arrays(), VOCAB_SIZE)
    scores = [each.read_text(ids, boundary_id=BOUNDARY, cut_at_boundary=False) for each in (model, again)]
    assert np.array_equal(scores[0].probs, scores[1].probs)


def test_the_pseudocount_is_the_best_with_each_token_left_out():
    ids = bases()
    ngrams = counted(ids, 2)
    model = estimate_by_pseudocounts(ngrams, VOCAB_SIZE)
    pairs, firsts = Counter(zip([BOUNDARY, *ids[:-1].tolist()], ids.tolist(), strict=True)), Counter()
    for (first, _), count in pairs.items():
        firsts[first] += count
    singles = np.bincount(ids, minlength=VOCAB_SIZE) + 1 / VOCAB_SIZE

    def loss(pseudocount):
        return -sum(
            count
            * math.log((count - 1 + pseudocount * (singles[second] - 1) / len(ids)) / (firsts[first] - 1 + pseudocount))
            for (first, second), count in pairs.items()
        )

    fitted = model.levels[0].backoffs[0] * firsts[0] / (1 - model.levels[0].backoffs[0])
    assert loss(float(fitted)) <= min(loss(2.0**power) for power in range(-8, 17)) * (1 + 1e-4)


def test_kneser_ney_is_worse_on_bases():
    ids = bases(6000)
    ngrams = counted(ids[:5000], 10)
    models = [make(ngrams, VOCAB_SIZE) for make in (estimate_by_pseudocounts, estimate)]
    losses = [
        -np.log(model.read_text(ids[5000:6000], boundary_id=BOUNDARY, cut_at_boundary=False).probs).mean()
        for model in models
    ]
    assert losses[0] < losses[1] - 0.05


def test_short_and_empty_texts():
    for ids in ([], [0], [0, BOUNDARY]):
        model = estimate_by_pseudocounts(counted(np.array(ids, dtype=np.uint8), 5), VOCAB_SIZE)
        assert model.distribution([BOUNDARY, 0, 1])[0].sum() == pytest.approx(1, abs=1e-6)


def test_a_sample_of_ngrams_fits_nearly_as_well(monkeypatch):
    ids, losses = bases(6000), []
    for number in (1 << 18, 500):
        monkeypatch.setattr(pseudocounts, "FITTED_NGRAMS", number)
        model = estimate_by_pseudocounts(counted(ids[:5000], 12), VOCAB_SIZE)
        scores = model.read_text(ids[5000:6000], boundary_id=BOUNDARY, cut_at_boundary=False)
        losses.append(-np.log(scores.probs).mean())
    assert losses[1] == pytest.approx(losses[0], abs=0.03)
    assert losses[1] != losses[0]


@pytest.mark.parametrize("order", [6, 20])
def test_records_shorter_than_the_order_do_not_make_it_overconfident(order):
    """Random records tell nothing, so that no order should be worse than unigrams by more than a little."""
    random = np.random.default_rng(1)
    train, held_out = (
        np.column_stack([random.integers(0, 4, (number, 15)), np.full(number, BOUNDARY)]).ravel()
        for number in (500, 100)
    )
    losses = []
    for each in (1, order):
        model = estimate_by_pseudocounts(counted(train, each, cut=True), VOCAB_SIZE)
        scores = model.read_text(held_out, boundary_id=BOUNDARY, cut_at_boundary=True)
        losses.append(-np.log2(scores.probs).mean())
    assert losses[1] < losses[0] + 0.02


def test_without_evidence_a_pseudocount_is_that_of_the_imagined_tokens():
    """a / (1 + a) * (1 + a / V) / (1 + a) is largest at a = V / (V - 2), which is 1.5 for the six tokens here."""
    model = estimate_by_pseudocounts(counted(np.array([0, 1]), 2), VOCAB_SIZE)
    probs, matched = model.distribution([0])
    backoff = (probs[1] - 1) / (model.unigrams[1] - 1)
    assert matched == 1
    assert backoff / (1 - backoff) == pytest.approx(1.5, rel=0.07)
