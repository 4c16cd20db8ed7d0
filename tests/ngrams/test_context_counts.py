from collections import Counter

import numpy as np
import pytest

from charnn.ngrams.adaptive_model import AdaptiveModel
from charnn.ngrams.context_counts import ContextCounts
from charnn.ngrams.context_index import TextIndex
from charnn.ngrams.contexts import Expert, LaggedFamily

BOUNDARY, VOCAB_SIZE = 3, 4
FAMILY = LaggedFamily((1, 2), 3, BOUNDARY, is_cut=False)
EXPERTS = (Expert(0, 1), Expert(0, 2))


def followers(index, context):
    """Return the counts of what followed the tokens of a context."""
    digits = [id + 1 for id in reversed(context)] + [0] * (2 - len(context))
    key = digits[0] << 60 | digits[1] << 57
    found = index.followers(key, [len(context)])
    return {int(symbol): int(count) for symbols, counts in found for symbol, count in zip(symbols, counts, strict=True)}


@pytest.mark.parametrize("length", [40, 3000])
@pytest.mark.parametrize("vocab_size", [4, 5000], ids=["few tokens", "many tokens"])
def test_the_index_finds_what_followed_a_context(length, vocab_size):
    ids = np.random.default_rng(1).choice(4, length, p=[0.6, 0.2, 0.19, 0.01])
    index = TextIndex(FAMILY, ids, vocab_size)
    before = [BOUNDARY, *ids.tolist()]
    for first in range(4):
        assert followers(index, [first]) == Counter(
            now for last, now in zip(before, ids, strict=False) if last == first
        )
        pairs = zip(before, before[1:], before[2:], strict=False)
        assert followers(index, [first, 0]) == Counter(now for *last, now in pairs if last == [first, 0])


def model_of(ids, **options):
    indices = [None if ids is None else TextIndex(FAMILY, np.array(ids), VOCAB_SIZE)]
    model = AdaptiveModel([FAMILY], EXPERTS, indices, VOCAB_SIZE)
    model.counts = ContextCounts(EXPERTS, indices, **options)
    return model


def uniform():
    return np.full(VOCAB_SIZE, -np.log(VOCAB_SIZE))


def read(reader, ids, **options):
    for id in ids:
        reader.predict(uniform())
        reader.learn(id, **options)
        reader.push(id)


def counts_after(model, context):
    """Return {(expert, token): (count in all text, in what was read)} after a context."""
    reader = model.reader()
    for id in context:
        reader.push(id)
    reader.predict(uniform())
    entries = reader._entries
    pairs = zip(entries.owners_N.tolist(), entries.symbols_N.tolist(), strict=True)
    return dict(zip(pairs, map(tuple, entries.counts_2N.T.tolist()), strict=True))


def test_a_read_token_counts_eight_and_others_of_its_context_fade():
    model = model_of([0, 1, 0, 1, 0, 2])
    assert counts_after(model, [0]) == {(0, 1): (2, 0), (0, 2): (1, 0)}
    assert counts_after(model, [1, 0]) == {(0, 1): (2, 0), (0, 2): (1, 0), (1, 1): (1, 0), (1, 2): (1, 0)}
    reader = model.reader()
    reader.push(0)
    read(reader, [1, 0, 0])
    found = counts_after(model, [0])
    assert found[0, 1] == pytest.approx((0.9 * 10, 0.9))
    assert found[0, 2] == pytest.approx((0.9 * 0.9, 0))
    assert found[0, 0] == (8, 1)
    assert counts_after(model, [1, 0])[1, 0] == (8, 1)
    assert counts_after(model, [1, 0])[1, 1] == (0.9, 0)


def test_a_drawn_token_counts_as_one_of_the_training_text_and_nothing_fades():
    model = model_of([0, 1, 0, 1, 0, 2])
    reader = model.reader()
    reader.push(0)
    read(reader, [1, 0, 0], is_drawn=True)
    assert counts_after(model, [0]) == {(0, 1): (3, 0), (0, 2): (1, 0), (0, 0): (1, 0)}
    assert not model.mixer._weights.by_set.any()


def test_without_a_training_text_only_what_is_read_counts():
    model = model_of(None)
    assert counts_after(model, [0]) == {}
    reader = model.reader()
    reader.push(0)
    read(reader, [1, 1])
    assert counts_after(model, [0]) == {(0, 1): (8, 1)}


def test_a_copy_goes_on_by_itself():
    model = model_of([0, 1, 0, 1, 0, 2])
    reader = model.reader()
    reader.push(0)
    read(reader, [1, 0])
    before = counts_after(model, [0])
    other = reader.copy()
    read(other, [0, 0, 2, 1])
    assert counts_after(model, [0]) == before
    read(reader, [2])
    assert counts_after(model, [0])[0, 2] != before[0, 2]


def test_contexts_not_read_for_longest_are_dropped_and_found_again_in_the_training_text():
    ids = [0, 1, 0, 1, 0, 2]
    model = model_of(ids, max_contexts=6)
    reader = model.reader()
    reader.push(0)
    random = np.random.default_rng(3).choice(3, 200).tolist()
    read(reader, random)
    assert model.counts._store.num_slots <= 6 + len(EXPERTS)
    kept, unlimited = counts_after(model, [BOUNDARY, 0]), model_of(ids)
    assert (1, 1) in kept, "after the boundary and 0 only the training text had anything"
    other = unlimited.reader()
    other.push(0)
    read(other, random)
    last = random[-1]
    assert counts_after(unlimited, [last]).keys() >= counts_after(model, [last]).keys()
