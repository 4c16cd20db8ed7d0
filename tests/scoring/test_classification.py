import numpy as np
import pytest

from charnn.api import load
from charnn.errors import OptionError
from charnn.scoring import classification
from charnn.scoring.classification import classify
from charnn.text.corpus import open_ids
from charnn.text.labels import read_labels
from charnn.text.tokenizers import decode

TEXTS = ["is the kettle on", "never mind the boat 3", "hm", "", "a longer text than any that was read in training"]


def by_scores(model, text: str, weight: float) -> dict[str, float]:
    """Return P(label | text) from the scores of the text with each label, by Bayes' rule."""
    counts = {each.name: each.num_train for each in model.models[0].config.corpus.labels}
    weights = {
        label: counts[label] * np.exp(weight * model.score(text, label=label).log_prob_nats) for label in model.labels
    }
    return {label: weight / sum(weights.values()) for label, weight in weights.items()}


@pytest.mark.parametrize("streams", [1, 2, 256])
def test_it_is_bayes_rule_with_the_scores_of_each_label(voices_run, monkeypatch, streams):
    monkeypatch.setattr(classification, "STREAMS_AT_ONCE", streams)
    model = load(voices_run)
    for text, found in zip(TEXTS, classify(model.models[0], TEXTS, weights=(0.5, 0.0)), strict=True):
        assert found.probs == pytest.approx(by_scores(model, text, 0.5), abs=1e-4)
        assert sum(found.probs.values()) == pytest.approx(1)
        assert list(found.probs.values()) == sorted(found.probs.values(), reverse=True)


def test_long_texts_are_read_in_segments(voices_run, monkeypatch):
    model = load(voices_run)
    whole = [model.classify(text) for text in TEXTS]
    monkeypatch.setattr(classification, "TOKENS_AT_ONCE", 5)
    for found, expected in zip(classify(model.models[0], TEXTS), whole, strict=True):
        assert found.probs == pytest.approx(expected, abs=1e-5)


def test_texts_are_told_apart_and_rare_labels_are_rare(voices_run):
    model = load(voices_run)
    assert set(model.labels) == {"ANN", "BEN", "CYD"}
    assert model.labels[2] == "CYD"
    assert next(iter(model.classify("never mind the boat 3"))) == "BEN"
    assert next(iter(model.classify("hm"))) == "CYD"
    uniform = model.classify("hm", prior="uniform")
    assert uniform["CYD"] > model.classify("hm")["CYD"]


def test_the_held_out_accuracy_is_that_of_classification(voices_run):
    model = load(voices_run)
    (directed,) = model.models
    ids, boundary_id = (
        np.asarray(open_ids(voices_run / "valid.bin", model.tokenizer)),
        model.tokenizer.vocabulary.boundary_id,
    )
    units = np.split(ids, np.flatnonzero(ids == boundary_id) + 1)[:-1]
    texts = [decode(model.tokenizer, unit[:-1].tolist()) for unit in units]
    labels = [model.labels[number - 1] for number in read_labels(voices_run, "valid")]
    found = [each.label for each in classify(directed, texts)]
    results = directed.config.results
    assert results.label_num_units == len(texts)
    assert results.label_accuracy == np.mean([one == other for one, other in zip(found, labels, strict=True)])
    assert results.label_majority == labels.count(model.labels[0]) / len(labels)
    assert results.label_accuracy > results.label_majority


def test_no_texts_have_no_labels(voices_run):
    assert classify(load(voices_run).models[0], []) == []


def test_words_are_completed_with_a_label(voices_run):
    model = load(voices_run)
    for mix_ngram in (False, True):
        ann, ben, plain = (
            {each.word: each.prob for each in model.complete("", top=20, label=label, mix_ngram=mix_ngram)}
            for label in ("ANN", "BEN", None)
        )
        assert ann["is"] > plain["is"] > ben.get("is", 0.0)


def test_a_model_without_labels_cannot_classify(line_run):
    model = load(line_run)
    assert model.labels == ()
    with pytest.raises(OptionError) as error:
        model.classify("ab")
    assert str(error.value).endswith("was trained without labels; leave it out, or train with label_from")


def test_what_is_no_text_is_refused(voices_run):
    with pytest.raises(OptionError, match="text: found 7, but it must be a string, or a list of strings"):
        classify(load(voices_run).models[0], [7])  # type: ignore[list-item]
