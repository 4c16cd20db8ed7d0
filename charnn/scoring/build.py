"""A scorer from options: networks, adaptation and interpolation."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from charnn.config import ScoreOptions
from charnn.config.adaptation import CACHE_SIZE
from charnn.config.arguments import ScoreArguments
from charnn.config.scoring import FIT
from charnn.errors import ModelError, OptionError
from charnn.inference.devices import require_gpu
from charnn.inference.engine import Engine
from charnn.ngrams.spelling import Spelling
from charnn.notices import notice_logger
from charnn.options import pick, refuse_both, refuse_unused, shown, with_tuples
from charnn.scoring.adapting import AdaptiveEstimator
from charnn.scoring.cache import CachedEstimator, CacheSettings, fit_cache
from charnn.scoring.estimators import Estimator, Interpolation, NetworkEstimator
from charnn.scoring.scorer import score_stream, score_units, token_log_probs, with_ngrams
from charnn.scoring.scores import Score, averaged
from charnn.scoring.series import refuse_for_numbers
from charnn.scoring.strands import mean_of_strands, scores_strands
from charnn.scoring.tuning import fit_engine_temperature, fit_interpolation_weights, read_held_out
from charnn.storage.encoded_text import has_encoded
from charnn.storage.labels import with_label
from charnn.storage.mixture import read_mixture
from charnn.storage.model_directory import Model, read_spelling
from charnn.text.reading import white_space_first
from charnn.text.sources import display_name, empty_text_error
from charnn.text.strands import reverse_complement
from charnn.text.tokenizers import Tokenizer
from charnn.text.units import read_units

if TYPE_CHECKING:
    from charnn.ngrams.adaptive_model import AdaptiveModel

logger = notice_logger(__name__)

NOTHING_TO_FIT = "there is nothing to fit weights on"


def checked_score_options(options: ScoreArguments, *, by_word: bool = False) -> ScoreOptions:
    """Return scoring options from keyword arguments. Raises OptionError."""
    values = with_tuples(options, ScoreArguments.__annotations__)
    if "temperature" in values:
        values["temperature"] = str(values["temperature"])
    if values.get("alternatives"):
        values["per_token"] = True
    return pick(ScoreOptions, {**values, "by_word": by_word})


@dataclass(frozen=True)
class Scorer:
    """Computes the scores of texts.

    Args:
        estimators: one estimator, or both of a bidirectional model, whose log probabilities are averaged.
        tokenizer: the tokenizer of all estimators.
        spelling: the spelling model, for `--spell`.
        weights: interpolation weights, if several models are interpolated.
        scores_strands: whether the probability of a unit is the mean of those of both strands of its DNA.
    """

    estimators: Sequence[Estimator]
    tokenizer: Tokenizer
    spelling: Spelling | None = None
    weights: Sequence[float] = ()
    scores_strands: bool = False

    def scores(
        self, units: Iterable[str], options: ScoreOptions, *, with_tokens: bool = False, first: int = 1
    ) -> Iterator[Score]:
        """Return the score of each unit, or of each segment of a running text, one after the other.

        Args:
            first: number of the first unit.
        """
        checked = map(checked_unit, units)
        of_strands = self._scores_of_strands if self.scores_strands and not options.is_running else self._scores
        return of_strands(checked, options, with_tokens=with_tokens, first=first)

    def _scores_of_strands(
        self, units: Iterable[str], options: ScoreOptions, *, with_tokens: bool, first: int
    ) -> Iterator[Score]:
        """See `scores`: the mean of both strands."""
        given, other = itertools.tee(units)
        fasta = self.tokenizer.fasta
        is_rna = fasta is not None and fasta.alphabet == "RNA"
        others = (reverse_complement(unit, is_rna=is_rna) for unit in other)
        pairs = zip(
            self._scores(given, options, with_tokens=with_tokens, first=first),
            self._scores(others, options, with_tokens=False, first=first),
            strict=True,
        )
        yield from (mean_of_strands(score, other_score) for score, other_score in pairs)

    def _scores(self, units: Iterable[str], options: ScoreOptions, *, with_tokens: bool, first: int) -> Iterator[Score]:
        """See `scores`: of the given strand."""
        score = score_stream if options.is_running else partial(score_units, first=first)
        if options.is_running and any(each.is_backward for each in self.estimators):
            units = ["".join(units)]
        elif options.is_running and options.by_word and options.spaces == "before":
            units = white_space_first(iter(units))
        streams = [
            score(each, self.tokenizer, same, options, spelling=self.spelling, with_tokens=with_tokens)
            for each, same in zip(self.estimators, itertools.tee(units, len(self.estimators)), strict=True)
        ]
        for scores in zip(*streams, strict=True):
            yield scores[0] if len(scores) == 1 else averaged(scores)


def checked_unit(unit: object) -> str:
    """Return a text to score. Raises OptionError for anything else."""
    if not isinstance(unit, str):
        raise OptionError(f"text: found {shown(unit)}, but it must be a string, a list of strings or a path")
    return unit


def build_scorer(models: Sequence[Model], options: ScoreOptions) -> Scorer:
    """Return a scorer for models.

    Args:
        models: a model, several models to interpolate, or the two halves of a bidirectional model.

    Raises:
        CharnnError: if the models cannot be combined, or an option requires files that are missing.

    Example:
        >>> scorer = charnn.api.build_scorer(model.models, ScoreOptions())
        >>> [score.perplexity for score in scorer.scores(["The fox slept."], ScoreOptions())]
    """

    models = [with_label(model, options.label) for model in models]
    is_forward_half = options.direction == "both"
    tokenizer = models[0].tokenizer
    for option, is_set in {"-w": bool(options.weight), "--fit-weights": options.fit_weights is not None}.items():
        refuse_unused(option, is_set and (is_forward_half or len(models) == 1), "several models (-m A -m B)")
    refuse_both("-w", bool(options.weight) and options.fit_weights is not None, "--fit-weights")
    _refuse_incompatible(models, options)
    spelling = read_spelling(models[0]) if options.spell else None
    strands = scores_strands(models, options)
    if is_forward_half or len(models) == 1:
        estimators = [_estimator(model, options) for model in models]
        return Scorer(estimators, tokenizer, spelling, scores_strands=strands)

    check_compatible(models)
    if len(options.weight) not in (0, len(models)):
        found = f"found {len(options.weight)} for {len(models)} models"
        raise OptionError(f"-w: {found}; give one per -m, in the same order")
    units = _units_to_fit_on(tokenizer, options)
    estimators = [_estimator(model, options) for model in models]
    weights = _weights(models, estimators, options, units)
    return Scorer([Interpolation(estimators, weights)], tokenizer, spelling, weights, strands)


def build_plain_scorer(models: Sequence[Model], options: ScoreOptions, weights: Sequence[float]) -> Scorer | None:
    """Return a scorer without adaptation, for comparison with the adapted one; None if no option adapts the model.

    Args:
        weights: interpolation weights of the adapted scorer.

    Example:
        >>> charnn.api.build_plain_scorer(model.models, ScoreOptions(cache=True), ())
    """
    return build_scorer(models, options.plain(tuple(weights))) if options.adapts else None


def _refuse_incompatible(models: Sequence[Model], options: ScoreOptions) -> None:
    """Refuse options that do not apply to these models. Raises OptionError."""
    kind, is_backward = models[0].tokenizer.kind, models[0].architecture.direction == "backward"
    for flag, is_set in {
        "--exclude-unk": options.exclude_unk,
        "--unk-penalty": options.unk_penalty is not None,
    }.items():
        if is_set and kind == "byte":
            raise OptionError(f"{flag}: found a byte model, which has no unknown tokens; leave it out")
    refuse_for_numbers(models[0].tokenizer, options, str(models[0].path))
    if options.spaces == "after" and kind == "subword":
        raise OptionError(
            "--spaces after: found a subword model, whose tokens begin with the preceding space; use --spaces before"
        )
    if options.state == "carry" and is_backward:
        raise OptionError(
            "--state carry: found a backward model, for which previous lines are not context; leave it out"
        )
    follows_the_text = options.format in ("kenlm", "srilm", "neural-complexity")
    if follows_the_text and (is_backward or options.direction == "both"):
        raise OptionError(
            f"--format {options.format}: found a backward model, but the format requires probabilities given the left context; "
            "use table, tsv, jsonl or lmzoo"
        )


def check_compatible(models: Sequence[Model]) -> None:
    """Refuse models with different vocabularies or directions. Raises ModelError."""
    for other in models[1:]:
        if other.tokenizer_sha256 != models[0].tokenizer_sha256:
            raise ModelError(
                f"{other.path}: has a different vocabulary from {models[0].path}, so their token probabilities cannot be "
                "interpolated; train both with the same tokenizer, or compare them: charnn compare A B FILE"
            )
        if other.architecture.direction != models[0].architecture.direction:
            raise ModelError(
                f"{other.path}: reads {other.architecture.direction}, {models[0].path} {models[0].architecture.direction}; "
                "interpolate models of the same direction"
            )


def _units_to_fit_on(tokenizer: Tokenizer, options: ScoreOptions) -> list[str]:
    """Return the units of the text of `--fit-weights`, none without it. Raises TextError if it is empty."""
    if options.fit_weights is None:
        return []
    units = list(read_units([options.fit_weights], tokenizer, unit=options.unit, encoding=options.encoding))
    if not units:
        raise empty_text_error([options.fit_weights], NOTHING_TO_FIT)
    return units


def _weights(
    models: Sequence[Model], estimators: Sequence[Estimator], options: ScoreOptions, units: Sequence[str]
) -> list[float]:
    """Return interpolation weights: fitted to units, given, or equal ones."""
    if options.fit_weights is not None:
        weights = _fitted_weights(estimators, models[0].tokenizer, options, units)
        shown = ", ".join(f"{model.path} {weight:.4f}" for model, weight in zip(models, weights, strict=True))
        logger.info(f"weights fitted on {display_name(options.fit_weights)}: {shown}")
        return weights
    relative = options.weight or tuple(1.0 for _ in models)
    return [weight / sum(relative) for weight in relative]


def _fitted_weights(
    estimators: Sequence[Estimator], tokenizer: Tokenizer, options: ScoreOptions, units: Sequence[str]
) -> list[float]:

    plain = replace(options, per_token=False, alternatives=0)
    log_probs = [list(token_log_probs(each, tokenizer, iter(units), plain)) for each in estimators]
    if not sum(map(len, log_probs[0])):
        assert options.fit_weights is not None
        raise empty_text_error([options.fit_weights], NOTHING_TO_FIT)
    return fit_interpolation_weights(np.stack([np.concatenate(each) for each in log_probs]))


def _estimator(model: Model, options: ScoreOptions) -> Estimator:
    """Return the estimator of a model: its network, adapted and interpolated with its n-gram model as the options specify."""
    engine = Engine.of(model)
    if options.device == "cuda":
        engine = _on_gpu(engine)
    adaptive = _adaptive_model(model) if options.adapt else None
    mixture = read_mixture(model) if options.mix_ngram else None
    network = _network(model, engine, options)  # last, as it may be fitted for long
    if adaptive is not None:
        return AdaptiveEstimator(network, adaptive)
    return with_ngrams(network, model.tokenizer, mixture)


def _adaptive_model(model: Model) -> "AdaptiveModel":
    from charnn.storage.adaptation import build_adaptive_model  # scoring seldom needs it

    return build_adaptive_model(model)


def _on_gpu(engine: Engine) -> Engine:
    from charnn.inference.torch_engine import TorchEngine  # loads torch

    require_gpu()
    return TorchEngine(engine, device="cuda")


def _network(model: Model, engine: Engine, options: ScoreOptions) -> Estimator:
    if options.temperature == FIT:
        temperature = fit_engine_temperature(engine, read_held_out(model, purpose="--temperature fit"))
        logger.info(f"{model.path}: temperature {temperature:.3f}, fitted on its held-out text")
    else:
        temperature = float(options.temperature)
    if options.dynamic or (options.may_be_dynamic and _can_be_dynamic(model)):
        from charnn.scoring.rates import dynamic_estimator  # loads torch

        return dynamic_estimator(model, options, temperature)
    if not options.cache:
        return NetworkEstimator(engine, temperature)

    size = CACHE_SIZE if options.cache_size is None else options.cache_size
    weight, sharpness = options.cache_weight, options.cache_sharpness
    if weight is not None and sharpness is not None:
        return CachedEstimator(engine, CacheSettings(size, weight, sharpness), temperature)
    held_out = read_held_out(model, purpose="--cache")
    settings = fit_cache(engine, held_out, size=size, temperature=temperature, weight=weight, sharpness=sharpness)
    logger.info(
        f"{model.path}: cache of {settings.size:,} tokens, weight {settings.weight:.4f}, sharpness {settings.sharpness:g}, "
        "fitted on its held-out text"
    )
    return CachedEstimator(engine, settings, temperature)


def _can_be_dynamic(model: Model) -> bool:
    """Return whether `--adapt` may include dynamic evaluation; what is missing for it is logged."""
    if find_spec("torch") is None:
        missing = "torch is not installed"
    elif not all(has_encoded(model, split) for split in ("train", "valid")):
        missing = f"{model.path} lacks its training or held-out text"
    else:
        return True
    logger.info(f"--adapt goes on without dynamic evaluation: {missing}")
    return False
