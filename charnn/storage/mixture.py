"""What a model is interpolated with for `--mix-ngram`: its n-gram model, and that of the label that was chosen."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from charnn.config import SampleOptions
from charnn.errors import ModelError
from charnn.ngrams.kneser_ney import NgramModel
from charnn.ngrams.mixture import NUM_WEIGHTS, Mixture, linear_weights
from charnn.storage.label_ngrams import read_label_ngrams
from charnn.storage.model_directory import Model, read_ngrams
from charnn.storage.run_files import LABEL_NGRAM_FILE, NGRAM_FILE


def read_mixture(model: Model) -> Mixture:
    """Read the n-gram model and the interpolation weights of a model, for `--mix-ngram`; of a label's, its own n-grams, too.

    Raises:
        ModelError: if the model has no n-gram model, or its training is not complete.
    """
    weights = model.config.mixture_weights
    if weights is None:
        reason = "training is not complete, nothing was held out, or --ngram-order was 0"
        raise ModelError(
            f"{model.path}: has no n-gram model to interpolate with ({reason}); leave --mix-ngram out, or complete training"
        )
    ngrams = read_ngrams(model.path, model.architecture.vocab_size, tokenizer_sha256=model.tokenizer_sha256)
    mixture = Mixture(ngrams, _checked_weights(weights, ngrams.order, model.path / NGRAM_FILE))
    return mixture if model.label is None else _with_label(mixture, model, model.label)


def _with_label(mixture: Mixture, model: Model, label: int) -> Mixture:
    """Return the mixture that is interpolated with the n-gram model of a label, too, if weights were fitted for it."""
    weights = model.config.results.label_mixture_weights
    if weights is None:
        return mixture
    ngrams = _label_ngrams(model, label)
    order = max(ngrams.order, len(weights))  # another label's may be higher
    found = _checked_weights(weights, order, model.path / LABEL_NGRAM_FILE)
    return Mixture(ngrams, found, inner=mixture)


def _checked_weights(weights: Sequence[Sequence[float]], order: int, file: Path) -> npt.NDArray[np.float64]:
    """Return the weights of a mixture as an array (order, NUM_WEIGHTS).

    Args:
        order: of the n-gram model in the file.
    """
    if len(weights) != order or any(len(each) != NUM_WEIGHTS for each in weights):
        raise ModelError(
            f"{file}: has order {order}, but config.json has weights for order {len(weights)}; "
            "restore the files that belong together"
        )
    return np.array(weights, dtype=np.float64)


def _label_ngrams(model: Model, label: int) -> NgramModel:
    found = read_label_ngrams(model.path, model.architecture.vocab_size, model.tokenizer_sha256, only=label)
    if not found:
        raise ModelError(
            f"{model.path / LABEL_NGRAM_FILE}: the n-gram models of the labels are missing; restore them, or train again"
        )
    return found[0]


def _without_ngrams(order: int) -> npt.NDArray[np.float64]:
    return np.array(linear_weights([1.0] * order))


def read_sampling_mixture(model: Model, options: SampleOptions) -> Mixture | None:
    """Read what a network is interpolated with, and tilted by, as sampling options require; None for the network alone.

    Raises:
        ModelError: if the n-gram models that this needs are missing or damaged.

    Example:
        >>> from charnn.config import SampleOptions
        >>> charnn.api.read_sampling_mixture(model.models[0], SampleOptions(mix_ngram=True)).ngrams.order
    """
    mixture = read_mixture(model) if options.mix_ngram else None
    if not options.label_strength or model.label is None:
        return mixture
    if mixture is None:
        ngrams = read_ngrams(model.path, model.architecture.vocab_size, tokenizer_sha256=model.tokenizer_sha256)
        mixture = Mixture(ngrams, _without_ngrams(ngrams.order))
    if mixture.inner is None:
        ngrams = _label_ngrams(model, model.label)
        mixture = Mixture(ngrams, _without_ngrams(ngrams.order), inner=mixture)
    return replace(mixture, strength=options.label_strength)
