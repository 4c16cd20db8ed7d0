"""The labels of a model: to choose one is to add its vector to the embedding of each token.

What results is a model like any other, without labels, so that prompts, scores, servers and exports know nothing of them.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

from charnn.errors import ModelError, OptionError, first_of
from charnn.storage.model_directory import Model
from charnn.text.facts import LabelFacts

WEIGHT = "labels.weight"
MOST_NAMED = 8


def labels_of(model: Model) -> Sequence[LabelFacts]:
    """Return the labels of a model, the most frequent one first; none for a model without labels.

    Raises:
        ModelError: if `config.json` does not name all labels that the network has.
    """
    if not model.architecture.num_labels:
        return ()
    labels = model.config.corpus.labels
    if len(labels) != model.architecture.num_labels:
        raise ModelError(
            f"{model.path}/config.json: names {len(labels):,} labels, but the network has {model.architecture.num_labels:,}; "
            "restore the file"
        )
    return labels


def with_label(model: Model, label: str | None, *, flag: str = "--label") -> Model:
    """Return the model of the units with a label; without a label the model itself, which was trained without one, too.

    Args:
        flag: how the user named the label, for messages.

    Raises:
        OptionError: if the model has no such label.

    Example:
        >>> from charnn.storage.labels import with_label
        >>> with_label(model.models[0], None) is model.models[0]
        True
    """
    if label is None:
        return model
    names = [each.name for each in labels_of(model)]
    if not names:
        raise no_labels(model, flag)
    if label not in names:
        raise OptionError(f"{flag}: found {label!r}, which {_is_no_label(model, label, names)}")
    vectors_LE, embedding_VE = model.weights[WEIGHT], model.weights["embedding.weight"]
    plain, number = without_labels(model), names.index(label)
    weights = {**plain.weights, "embedding.weight": embedding_VE + vectors_LE[number]}
    return replace(plain, weights=weights, label=number)


def no_labels(model: Model, flag: str) -> OptionError:
    """Return the error for a model without labels."""
    return OptionError(
        f"{flag}: {shlex.quote(str(model.path))} was trained without labels; leave it out, or train with --label-from"
    )


def _is_no_label(model: Model, label: str, names: Sequence[str]) -> str:
    folded = {name.casefold(): name for name in names}
    near = get_close_matches(label.casefold(), folded, n=1)
    advice = f"did you mean {folded[near[0]]!r}?" if near else "charnn info --json lists them"
    return f"is no label of {model.path} ({first_of(names, MOST_NAMED)}); {advice}"


def without_labels(model: Model) -> Model:
    """Return a model without its labels."""
    if not model.architecture.num_labels:
        return model
    weights = {name: array for name, array in model.weights.items() if name != WEIGHT}
    return replace(model, architecture=replace(model.architecture, num_labels=0), weights=weights)
