"""Dynamic evaluation of a model, at rates that are fitted to its held-out text and kept for later runs."""

import hashlib
import importlib.metadata
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from charnn.config import ScoreOptions
from charnn.errors import ModelError
from charnn.notices import notice_logger
from charnn.scoring.dynamic import (
    DECAYS,
    EPSILON_FRACTION,
    RATES,
    TABLE_RATE,
    DynamicEstimator,
    DynamicSettings,
    fit_rates,
    gradient_scales,
    network_of,
)
from charnn.scoring.tuning import HeldOut, read_held_out
from charnn.storage.encoded_text import check_encoded, has_encoded
from charnn.storage.model_directory import Model
from charnn.text import cache
from charnn.text.corpus import open_ids

logger = notice_logger(__name__)

FIT_VERSION = 1
"""To be raised when the fit, or dynamic evaluation itself, changes otherwise than by its constants."""


def dynamic_estimator(model: Model, options: ScoreOptions, temperature: float) -> DynamicEstimator:
    """Return a network that learns from what it scores, at the rate and decay of the options or at fitted ones.

    Raises:
        ModelError: if the model's directory lacks its training or held-out text.
    """
    segment = options.dynamic_stretch or (20 if model.tokenizer.kind in ("char", "byte") else 5)
    file = model.path / "train.bin"
    if not has_encoded(model, "train"):
        raise ModelError(
            f"{file}: is missing, but --dynamic needs gradients on the training text; restore it, "
            "or leave --dynamic out"
        )
    check_encoded(model, "train")
    is_fitted = options.dynamic_rate is None or options.dynamic_decay is None
    held_out = read_held_out(model, purpose="--dynamic") if is_fitted else None
    network = network_of(model)
    boundary_id = model.tokenizer.vocabulary.boundary_id
    scales = gradient_scales(network, open_ids(file, model.tokenizer), boundary_id=boundary_id, segment=segment, seed=1)
    estimator = DynamicEstimator(
        network,
        DynamicSettings(segment, options.dynamic_rate or 0.0, options.dynamic_decay or 0.0),
        scales,
        vocab_size=len(model.tokenizer.vocabulary),
        is_backward=model.architecture.direction == "backward",
        temperature=temperature,
    )
    if held_out is not None:
        estimator.reset(_fitted(model, options, estimator, held_out))
    return estimator


def _fitted(model: Model, options: ScoreOptions, estimator: DynamicEstimator, held_out: HeldOut) -> DynamicSettings:
    """Return the settings that are best on the held-out text: of an earlier run, or fitted now."""
    segment, root, key = estimator.settings.segment, cache.cache_directory(), _key(model, options, estimator, held_out)
    found, how = _kept(root, key, segment), ", fitted by an earlier run"
    if found is None:
        others = ", --no-dynamic leaves dynamic evaluation out" if options.may_be_dynamic else ""
        logger.info(
            f"{model.path}: fitting the learning rate and decay on its held-out text; "
            f"--dynamic-rate and --dynamic-decay skip this{others}"
        )
        *_, found = fit_rates(estimator, held_out, rate=options.dynamic_rate, decay=options.dynamic_decay)
        how = ""
        facts = {"rate": found[0].rate, "decay": found[0].decay, "loss_nats": found[1]}
        cache.store(root, key, {}, {"what": f"rates of dynamic evaluation for {model.path}", **facts})
    settings, loss = found
    logger.info(
        f"{model.path}: --dynamic-stretch {segment} --dynamic-rate {settings.rate:g} --dynamic-decay {settings.decay:g}, "
        f"{loss:.4f} nats per token on its held-out text{how}"
    )
    return settings


def _kept(root: Path | None, key: str, segment: int) -> tuple[DynamicSettings, float] | None:
    """Return settings and their loss from the cache, where JSON keeps the numbers exactly; None if it has none."""
    facts = cache.fetch(root, key, None)
    if facts is None:
        return None
    return DynamicSettings(segment, float(facts["rate"]), float(facts["decay"])), float(facts["loss_nats"])


def _key(model: Model, options: ScoreOptions, estimator: DynamicEstimator, held_out: HeldOut) -> str:
    """Return the key of fitted settings in the cache: of all that the fit depends on.

    The training text is part of it by the scales of gradients, and the processor by their last bits.
    """
    scales = ((name, scale.numpy()) for name, scale in estimator.scales.items())
    units = ((str(number), ids) for number, unit in enumerate(held_out.units) for ids in unit)
    return cache.make_cache_key(
        what="rates of dynamic evaluation",
        version=[FIT_VERSION, importlib.metadata.version("torch")],
        constants=[RATES, DECAYS, EPSILON_FRACTION, TABLE_RATE],
        asked=[estimator.settings.segment, options.dynamic_rate, options.dynamic_decay, estimator.temperature],
        architecture=asdict(model.architecture),
        tokenizer=model.tokenizer_sha256,
        weights=_digest(model.weights.items()),
        scales=_digest(scales),
        held_out=_digest(units),
    )


def _digest(arrays: Iterable[tuple[str, npt.NDArray[np.generic]]]) -> str:
    """Return the SHA-256 of arrays with their names."""
    hasher = hashlib.sha256()
    for name, array in arrays:
        hasher.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()
