"""What adaptation knows beforehand is built once for a loaded model, and what it learns is forgotten after each call."""

import gc
import weakref

import numpy as np
import pytest

from charnn import load
from charnn.storage import adaptation
from charnn.storage.labels import with_label

NAMES = "Zorgle met Flibbet, and Flibbet met Zorgle."


@pytest.fixture
def built(monkeypatch):
    """The indices that were built, by weak references."""
    made = []

    class Counted(adaptation.TextIndex):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(weakref.ref(self))

    monkeypatch.setattr(adaptation, "TextIndex", Counted)
    return made


def nats(model, text=NAMES):
    return model.score(text, adapt=True, dynamic=False).log_prob_nats


def test_the_index_is_built_once_for_a_model_and_goes_with_it(run, built):
    model = load(run)
    nats(model)
    model.sample("The fox", adapt=True, length=5, seed=1)
    list(model.stream("The fox", adapt=True, length=5, seed=1))
    nats(model)
    assert len(built) == 2  # of the last characters, and of words
    other = load(run)
    nats(other)
    assert len(built) == 4
    del model
    gc.collect()
    assert [each() is None for each in built] == [True, True, False, False]


def test_what_one_call_learns_is_unknown_to_the_next(run):
    model, fresh = load(run), nats(load(run))
    sampled = load(run).sample("The fox", adapt=True, length=60, seed=3).text
    for _ in range(2):
        assert nats(model) == fresh
        assert model.sample("The fox", adapt=True, length=60, seed=3).text == sampled
        model.score([NAMES] * 20, adapt=True, dynamic=False)
        model.sample("met the heron. " * 5, adapt=True, length=60, seed=4)
    first, second = (model.score(iter([NAMES] * 3), adapt=True, dynamic=False) for _ in range(2))
    pairs = [(one.log_prob_nats, other.log_prob_nats) for one, other in zip(first, second, strict=True)]
    assert [one for one, _ in pairs] == [other for _, other in pairs]
    assert pairs[0][0] == fresh < pairs[2][0]


def test_an_index_cannot_be_written(run):
    model = load(run).models[0]
    adaptation.build_adaptive_model(model)
    for index in model.text_indices:
        assert not index._keys.flags.writeable
        assert not index._followers.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        model.text_indices[0]._keys += np.uint64(1)


def test_a_label_shares_the_index_and_a_text_that_is_gone_is_not_counted(voices_run, built):
    model = load(voices_run).models[0]
    assert adaptation.build_adaptive_model(model).counts._indices is model.text_indices
    adaptation.build_adaptive_model(with_label(model, "ANN"))
    assert len(built) == 2
    (voices_run / "train.bin").unlink()
    assert adaptation.build_adaptive_model(model).counts._indices == [None, None]
