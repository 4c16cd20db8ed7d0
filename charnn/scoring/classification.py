"""P(label | text) by Bayes' rule from a model of P(text | label)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from charnn.errors import ModelError, OptionError
from charnn.inference.engine import target_log_probs
from charnn.inference.label_engine import LabelEngine
from charnn.storage.label_ngrams import read_label_ngrams
from charnn.storage.labels import labels_of, no_labels
from charnn.storage.model_directory import Model
from charnn.storage.run_files import LABEL_NGRAM_FILE
from charnn.text.tokenizers import Tokenizer, closed_text

Prior = Literal["counts", "uniform"]
STREAMS_AT_ONCE = 256
TOKENS_AT_ONCE = 64
IdArray = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Classification:
    """The labels of a text.

    Args:
        probs: P(label | text) by label, the most probable one first.
        log_likelihoods: the network's log P(text | label) in nats, by label.

    Example:
        >>> from charnn.scoring.classification import Classification
        >>> Classification({"ANN": 0.75, "BEN": 0.25}, {"ANN": -9.0, "BEN": -10.1}).label
        'ANN'
    """

    probs: dict[str, float]
    log_likelihoods: dict[str, float]

    @property
    def label(self) -> str:
        """The most probable label."""
        return next(iter(self.probs))


def classify(
    model: Model,
    texts: Sequence[str],
    *,
    prior: Prior = "counts",
    weights: tuple[float, float] | None = None,
    flag: str = "--model",
) -> list[Classification]:
    """Return P(label | text) for each text, proportional to P(label) P(text | label).

    P(text | label) is a product of powers of the network's probability and that of the label's n-gram model.

    Args:
        model: one with labels.
        texts: each a unit, closed by the boundary.
        prior: P(label): "counts", as frequent as in training, or "uniform".
        weights: of the network and of the n-gram models, as exponents; None for those that were fitted after training.
        flag: how the user named the model, for messages.

    Raises:
        OptionError: if the model has no labels.

    Example:
        >>> label = charnn.api.classify(charnn.load("runs/voices").models[0], ["The fox slept."])[0].label
    """
    labels = labels_of(model)
    if not labels:
        raise no_labels(model, flag)
    if not texts:
        return []
    if weights is None:
        results = model.config.results
        weights = results.label_network_weight, results.label_ngram_weight
    log_likelihoods_NL = log_likelihoods(model, texts)
    logits_NL = weights[0] * log_likelihoods_NL
    if weights[1]:
        logits_NL = logits_NL + weights[1] * ngram_log_likelihoods(model, texts)
    if prior == "counts":
        logits_NL = logits_NL + np.log([each.num_train for each in labels])
    probs_NL = _softmax(logits_NL)
    names = [each.name for each in labels]
    orders = np.argsort(-probs_NL, axis=1, kind="stable").tolist()
    return [
        Classification(
            {names[index]: float(probs[index]) for index in order},
            {names[index]: float(given_label[index]) for index in order},
        )
        for probs, given_label, order in zip(probs_NL, log_likelihoods_NL, orders, strict=True)
    ]


def _softmax(logits_NL: Floats) -> Floats:
    unnormalized: Floats = np.exp(logits_NL - logits_NL.max(axis=1, keepdims=True))
    unnormalized /= unnormalized.sum(axis=1, keepdims=True)
    return unnormalized


def log_likelihoods(model: Model, texts: Sequence[str]) -> Floats:
    """Return log P(text | label) in nats (N, L), of each text as a unit, for each label of a model."""
    num_labels = model.architecture.num_labels
    result = np.zeros((len(texts), num_labels))
    encoded = [_unit_ids(model.tokenizer, text) for text in texts]
    engine = LabelEngine(model)
    by_length = np.argsort([len(ids) for ids in encoded], kind="stable")
    for first_label in range(0, num_labels, STREAMS_AT_ONCE):
        labels = np.arange(first_label, min(first_label + STREAMS_AT_ONCE, num_labels))
        size = max(1, STREAMS_AT_ONCE // len(labels))
        for first in range(0, len(texts), size):
            batch = by_length[first : first + size]
            engine.set_labels(np.tile(labels, len(batch)))
            sums = _summed(
                engine, [encoded[index] for index in batch], len(labels), model.tokenizer.vocabulary.boundary_id
            )
            result[np.ix_(batch, labels)] = sums
    return result


def ngram_log_likelihoods(model: Model, texts: Sequence[str]) -> Floats:
    """Return the same (N, L) by the n-gram models of the labels. Raises ModelError if these are missing or damaged."""
    ngrams = read_label_ngrams(model.path, model.architecture.vocab_size, model.tokenizer_sha256)
    if not ngrams:
        raise ModelError(
            f"{model.path / LABEL_NGRAM_FILE}: the n-gram models of the labels are missing; restore them, or train again"
        )
    ids, boundary_id = [_unit_ids(model.tokenizer, text) for text in texts], model.tokenizer.vocabulary.boundary_id
    starts = np.cumsum([0, *map(len, ids[:-1])])
    joined = np.concatenate(ids)
    probs = [each.read_text(joined, boundary_id=boundary_id, cut_at_boundary=True).probs for each in ngrams]
    return np.stack([np.add.reduceat(np.log(each.astype(np.float64)), starts) for each in probs], axis=1)


def _unit_ids(tokenizer: Tokenizer, text: object) -> IdArray:
    """Return the ids of a text with its closing boundary (T,). Raises OptionError for what is no text."""
    if not isinstance(text, str):
        raise OptionError(f"text: found {text!r}, but it must be a string, or a list of strings")
    return np.append(tokenizer.encode(closed_text(tokenizer, text)), tokenizer.vocabulary.boundary_id)


def _summed(engine: LabelEngine, units: Sequence[IdArray], num_labels: int, boundary_id: int) -> Floats:
    """Return the log probabilities (N, L) of units, each read by L streams."""
    lengths = np.array([len(ids) for ids in units])
    targets_TN = np.full((int(lengths.max()), len(units)), boundary_id, dtype=np.int64)
    for number, ids in enumerate(units):
        targets_TN[: len(ids), number] = ids
    contexts_TN = np.concatenate([np.full((1, len(units)), boundary_id), targets_TN[:-1]])
    sums_B = np.zeros(len(units) * num_labels)
    state = engine.initial_state(len(sums_B))
    for first in range(0, len(targets_TN), TOKENS_AT_ONCE):
        times = slice(first, first + TOKENS_AT_ONCE)
        outputs_TBH, state = engine.forward(np.repeat(contexts_TN[times], num_labels, axis=1), state)
        targets_TB = np.repeat(targets_TN[times], num_labels, axis=1)
        counts_TB = np.repeat(np.arange(first, first + len(targets_TB))[:, None] < lengths, num_labels, axis=1)
        sums_B += (target_log_probs(engine.logits(outputs_TBH), targets_TB) * counts_TB).sum(axis=0)
    return sums_B.reshape(len(units), num_labels)
