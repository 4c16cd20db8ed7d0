import math

import numpy as np
import pytest

from charnn.config import TextOptions
from charnn.ngrams.adaptive_model import AdaptiveModel
from charnn.ngrams.context_index import TextIndex
from charnn.ngrams.contexts import Expert, LaggedFamily
from charnn.storage.adaptation import contexts_of
from tests.conftest import trained_tokenizer

END = 2
FAMILIES = [LaggedFamily((1, 2, 3), 2, END, is_cut=True), LaggedFamily((2,), 2, END, is_cut=True)]
EXPERTS = [Expert(0, 1), Expert(0, 2), Expert(0, 3), Expert(1, 1)]
TRAINING = np.array([0, 1, 0, 1, 1, 2, 0, 0, 1, 2] * 5)


def model_of(vocab_size=3, training=TRAINING, bits=2):
    families = [LaggedFamily(family.lags, bits, vocab_size - 1, is_cut=True) for family in FAMILIES]
    indices = [TextIndex(family, training, vocab_size) for family in families]
    return AdaptiveModel(families, EXPERTS, indices, vocab_size)


def network(before):
    """Return log probabilities after some tokens: any distribution that depends on them."""
    logits = np.cos(np.arange(3) * (1.7 + sum(before)) + len(before))
    return logits - np.log(np.exp(logits).sum())


def mass(reader, before, depth):
    """Return the probability of all strings that continue some tokens, those that end and the longest ones."""
    log_probs = reader.predict(network(before))
    if not depth:
        return math.exp(log_probs[0]) + math.exp(log_probs[1]) + math.exp(log_probs[END])
    total = math.exp(log_probs[END])
    for id in (0, 1):
        other = reader.copy()
        other.predict(network(before))
        other.learn(id)
        other.push(id)
        total += math.exp(log_probs[id]) * mass(other, [*before, id], depth - 1)
    return total


def test_all_strings_have_probability_one_together_while_each_is_learned_from():
    model = model_of()
    reader = model.reader()
    reader.push(END)
    for before, id in enumerate((0, 1, 1, 0, 1)):  # some experience
        reader.predict(network([before]))
        reader.learn(id)
        reader.push(id)
    assert mass(reader, [0, 1], depth=6) == pytest.approx(1, abs=1e-9)


def log_probs_of(model, ids, networks):
    reader = model.reader()
    reader.push(len(networks[0]) - 1)
    found = []
    for id, each in zip(ids, networks, strict=True):
        found.append(float(reader.predict(each)[id]))
        reader.learn(id)
        reader.push(id)
    return np.array(found)


def test_no_prediction_depends_on_what_follows_and_repeated_runs_are_equal():
    random = np.random.default_rng(8)
    ids = random.choice(3, 200).tolist()
    networks = [network([number]) for number in range(200)]
    found = log_probs_of(model_of(), ids, networks)
    assert np.array_equal(found, log_probs_of(model_of(), ids, networks))
    other = [*ids[:150], *random.choice(3, 50).tolist()]
    assert np.array_equal(found[:150], log_probs_of(model_of(), other, networks)[:150])


def test_random_tokens_are_never_predicted_below_their_entropy():
    random = np.random.default_rng(9)
    training, ids = random.choice(8, 5000), random.choice(8, 4000).tolist()
    model = model_of(9, training, bits=4)
    uniform = np.log(np.array([0.999 / 8] * 8 + [0.001]))
    loss = -log_probs_of(model, ids, [uniform] * len(ids)).mean()
    assert math.log(8) - 1e-3 < loss < math.log(8) + 0.03


def test_what_recurs_is_soon_expected_though_the_network_does_not():
    ids = [0, 1, 2, 3, 4, 5, 6, 7] * 12
    uniform = np.full(9, -math.log(9))
    model = model_of(9, np.zeros(0, dtype=np.int64), bits=4)
    log_probs = log_probs_of(model, ids, [uniform] * len(ids))
    assert log_probs[:8] == pytest.approx(np.full(8, -math.log(9)))
    assert log_probs[-8:].mean() > log_probs[8:16].mean() > -math.log(9)
    assert -log_probs[-8:].mean() < 0.5


@pytest.mark.parametrize(
    ("options", "num_families", "lengths"),
    [
        (TextOptions(), 2, [2, 3, 4, 5, 6, 1, 2, 3]),
        (TextOptions(tokenizer="byte"), 2, [2, 3, 4, 5, 6, 1, 2, 3]),
        (TextOptions(tokenizer="word"), 2, [1, 2, 3, 1]),
    ],
    ids=["char", "byte", "word"],
)
def test_contexts_suit_the_tokenizer(options, num_families, lengths):
    tokenizer = trained_tokenizer(options, "The fox saw a hen. The hen saw a fox.\n" * 9)
    families, experts = contexts_of(tokenizer)
    assert len(families) == num_families
    assert [expert.num_digits for expert in experts] == lengths
    assert all(sum(family.widths) <= 63 for family in families)
