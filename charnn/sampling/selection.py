"""Token selection: from log probabilities to the next token of each stream, through rules and filters."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charnn import randomness
from charnn.config import SampleOptions
from charnn.inference.engine import Floats, log_softmax
from charnn.ngrams.mixture import Mixture
from charnn.sampling import filters
from charnn.sampling.constraints import Rule, token_bias
from charnn.sampling.filters import LogProbs, Margins
from charnn.text.tokenizers import Tokenizer

STUCK = -1
"""In position of a token's id, where none is allowed."""


class TokenContext(NamedTuple):
    """What the selection of a stream's next token depends on besides the model."""

    ids: Sequence[int]
    """The tokens so far, those of the prompt included."""
    rules: Sequence[Rule]


def mixed_log_softmax(logits_BV: Floats, contexts: Sequence[Sequence[int]], mixture: Mixture | None) -> LogProbs:
    """Return log probabilities (B, V), interpolated with an n-gram model where there is one."""
    log_probs_BV = log_softmax(logits_BV)
    if mixture is not None:
        for row, context in enumerate(contexts):
            log_probs_BV[row] = mixture.log_distribution(log_probs_BV[row], context)
    return log_probs_BV


class SelectedToken(NamedTuple):
    """A token, its log probability, and those of all tokens (V,) where they were computed."""

    id: int
    log_prob_nats: float
    log_probs_V: LogProbs | None = None


class SelectedTokens(NamedTuple):
    """A token for each stream (B,), and the margin to another one in nats (B,): see `filters`."""

    ids_B: npt.NDArray[np.int64]
    margin_B: Margins


class TokenSelector:
    """Selects tokens by a user's options.

    Raises:
        OptionError: where they name tokens that are not in the vocabulary, or exclude all (see `token_bias`).
    """

    def __init__(self, tokenizer: Tokenizer, options: SampleOptions) -> None:
        self._options = options
        bias = token_bias(tokenizer, options)
        self.bias_V = bias if bias.any() else None
        penalties = (options.repetition_penalty, options.presence_penalty, options.frequency_penalty)
        self._constant_temperature: float | None = 0.0 if options.greedy else options.temperature
        if options.final_temperature is not None and options.max_tokens != 1:
            self._constant_temperature = None
        self._opening_id = None if tokenizer.unit == "stream" else tokenizer.vocabulary.boundary_id
        self._filters = _enabled_filters(options)
        self.is_penalised = penalties != (1, 0, 0)
        self.can_raise = bool((bias > 0).any()) or min(penalties) < 0

    def temperature(self, position: int) -> float:
        """Return the temperature at a position, the first being 0."""
        if self._constant_temperature is not None:
            return self._constant_temperature
        first, last, length = self._options.temperature, self._options.final_temperature, self._options.max_tokens
        assert last is not None
        assert length is not None
        return first + (last - first) * min(1.0, position / (length - 1))

    def allowed(self, log_probs_BV: LogProbs, contexts: Sequence[TokenContext]) -> LogProbs:
        """Apply penalties, biases and rules: all that does not depend on a temperature."""
        options = self._options
        if self.is_penalised:
            log_probs_BV = filters.penalised(
                log_probs_BV,
                [self._lately(context.ids) for context in contexts],
                repetition=options.repetition_penalty,
                presence=options.presence_penalty,
                frequency=options.frequency_penalty,
            )
        if self.bias_V is not None:
            log_probs_BV = filters.biased(log_probs_BV, self.bias_V)
        if any(context.rules for context in contexts):
            log_probs_BV = log_probs_BV.copy()
            for row, context in enumerate(contexts):
                for rule in context.rules:
                    log_probs_BV[row, ~rule.is_allowed(np.isfinite(log_probs_BV[row]))] = -np.inf
        return log_probs_BV

    def _lately(self, context: Sequence[int]) -> list[int]:
        """Return the last tokens, without the boundary that opened a line or document."""
        return [id for id in context[-self._options.penalty_window :] if id != self._opening_id]

    def weights(self, log_probs_BV: LogProbs, temperature: float) -> filters.Filtered:
        """Return unnormalized log probabilities after temperature (above 0) and filters."""
        weights = log_probs_BV if temperature == 1 else filters.tempered(log_probs_BV, temperature)
        margin = np.full(len(weights), np.inf)
        for keep in self._filters:
            weights, own_margin = keep(weights)
            margin = np.minimum(margin, own_margin)
        return filters.Filtered(weights, margin)

    def select(
        self, log_probs_BV: LogProbs, contexts: Sequence[TokenContext], draws_B: npt.NDArray[np.float64], position: int
    ) -> SelectedTokens:
        """Select a token for each stream.

        Args:
            log_probs_BV: the model's normalised log probabilities.
            draws_B: a random number in [0, 1) for each stream.
            position: tokens generated before.
        """
        allowed = self.allowed(log_probs_BV, contexts)
        is_stuck_B = np.isneginf(allowed.max(axis=1))
        if is_stuck_B.any():
            allowed = np.where(is_stuck_B[:, None], 0.0, allowed)
        temperature = self.temperature(position)
        if temperature == 0:
            selected = most_probable(allowed)
        else:
            weights, margin = self.weights(allowed, temperature)
            selected = draw(weights, draws_B)
            selected = SelectedTokens(selected.ids_B, np.minimum(selected.margin_B, margin) * temperature)
        selected = SelectedTokens(selected.ids_B, selected.margin_B / self._options.repetition_penalty)
        selected.ids_B[is_stuck_B] = STUCK
        return selected


def _enabled_filters(options: SampleOptions) -> list[Callable[[LogProbs], filters.Filtered]]:
    """Return the filters that the options enable, in their order."""
    enabled: list[Callable[[LogProbs], filters.Filtered]] = []
    if options.top_k is not None:
        enabled.append(partial(filters.keep_top_k, k=options.top_k))
    if options.typical_p is not None:
        enabled.append(partial(filters.keep_typical_p, p=options.typical_p))
    if options.top_p is not None:
        enabled.append(partial(filters.keep_top_p, p=options.top_p))
    if options.min_p is not None:
        enabled.append(partial(filters.keep_min_p, fraction=options.min_p))
    return enabled


def most_probable(log_probs_BV: LogProbs) -> SelectedTokens:
    """Select the most probable token of each stream, the first of equals."""
    ids = np.asarray(np.argmax(log_probs_BV, axis=1))
    if log_probs_BV.shape[1] == 1:
        return SelectedTokens(ids, np.full(len(ids), np.inf))
    two = np.partition(log_probs_BV, -2, axis=1)[:, -2:]
    with np.errstate(invalid="ignore"):
        gap = (two[:, 1] - two[:, 0]) / 2
    return SelectedTokens(ids, np.nan_to_num(gap, nan=np.inf, posinf=np.inf))


def draw(weights_BV: LogProbs, draws_B: npt.NDArray[np.float64]) -> SelectedTokens:
    """Draw a token for each stream by unnormalized log probabilities.

    The margin is the error in all log probabilities that moves a bound between two tokens across the draw: where F is the
    cumulative probability below a bound, it moves by at most 2 F (1 - F) of that. The bounds next to the draw reach it first.
    """
    sums = np.exp(weights_BV - weights_BV.max(axis=1, keepdims=True)).cumsum(axis=1)
    total = sums[:, -1]
    ids = randomness.draw_rows(sums, draws_B, np)
    rows = np.arange(len(ids))
    above, below = sums[rows, ids] / total, np.where(ids > 0, sums[rows, ids - 1], 0) / total
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        distances = np.abs(np.stack((above, below)) - draws_B) / (
            2 * np.stack((above * (1 - above), below * (1 - below)))
        )
    return SelectedTokens(ids, np.nan_to_num(distances, nan=np.inf).min(axis=0))


QuickDraw = Callable[[npt.NDArray[np.float32], float, float], SelectedToken | None]
"""(logits (V,), random number in [0, 1), temperature) -> a token and its log probability in nats, or None where only
`TokenSelector` can tell."""
BANNED_ONE_BY_ONE = 4
SMALLEST_WEIGHT, LARGEST_LOGIT = 1e-200, 300.0


def no_quick_draw(logits_V: npt.NDArray[np.float32], uniform: float, temperature: float) -> None:
    """Leave every draw to `TokenSelector`."""


def quick_draw(selector: TokenSelector, options: SampleOptions, largest_logit: float) -> QuickDraw:
    """Return a faster way to make the same selection for one stream, or `no_quick_draw` where the options need more.

    It works on weights in place of log probabilities; excluded tokens have weight 0.

    Args:
        largest_logit: a bound on the absolute value of the logits. Where their exponentials could overflow by it, the largest
            is looked for at each step.
    """
    bias_V = selector.bias_V
    has_rules = options.no_repeat_ngram > 0 or options.match is not None
    has_biases = bias_V is not None and bool((np.isfinite(bias_V) & (bias_V != 0)).any())
    if selector.is_penalised or has_rules or has_biases or options.typical_p is not None:
        return no_quick_draw
    banned = [] if bias_V is None else np.flatnonzero(np.isneginf(bias_V)).tolist()
    allowed_V = None
    if bias_V is not None and len(banned) > BANNED_ONE_BY_ONE:
        banned, allowed_V = [], np.isfinite(bias_V).astype(np.float64)

    is_simple = allowed_V is None and options.top_k is None and options.top_p is None and options.min_p is None

    def select(logits_V: npt.NDArray[np.float32], uniform: float, temperature: float) -> SelectedToken | None:
        limit = LARGEST_LOGIT * min(temperature, 1.0)
        if largest_logit > limit and not float(np.maximum.reduce(logits_V)) <= limit:  # or not a number
            return None
        weights = np.exp(logits_V, dtype=np.float64)
        if is_simple and temperature == 1:
            removed = 0.0
            for id in banned:
                removed += float(weights[id])
                weights[id] = 0
            cumulative = np.add.accumulate(weights)
            id, total = randomness.draw(cumulative, uniform), float(cumulative[-1])
            if total <= SMALLEST_WEIGHT:
                return None
            return SelectedToken(id, float(logits_V[id]) - math.log(total + removed))
        total_of_all = float(np.add.reduce(weights))
        if total_of_all <= SMALLEST_WEIGHT:
            return None
        if temperature != 1:
            weights = np.exp(logits_V / temperature, dtype=np.float64)
        for id in banned:
            weights[id] = 0
        if allowed_V is not None:
            weights *= allowed_V
        if options.top_k is not None and options.top_k < len(weights):
            weights *= weights >= filters.kth_largest(weights, options.top_k)[0]
        if options.top_p is not None and options.top_p < 1:
            bound = filters.top_p_bound(weights, options.top_p)
            if bound is None:
                return None
            weights *= weights >= bound
        if options.min_p is not None:
            weights *= weights >= options.min_p * np.maximum.reduce(weights)
        cumulative = np.add.accumulate(weights)
        id, total = randomness.draw(cumulative, uniform), float(cumulative[-1])
        return SelectedToken(id, float(logits_V[id]) - math.log(total_of_all)) if total > SMALLEST_WEIGHT else None

    return select
