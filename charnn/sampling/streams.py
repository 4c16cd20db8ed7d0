"""A sample as it grows, and what its next token may depend on."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from charnn.config import SampleOptions
from charnn.inference.engine import Floats
from charnn.inference.prompt import PromptState
from charnn.inference.stepper import Stepper
from charnn.sampling.constraints import Matching, NoRepeatedNgram, Pattern, Rule, unescaped
from charnn.sampling.stopping import Ending, EndReason
from charnn.text.tokenizers import Tokenizer

DRAWN_AT_ONCE = 256
CONTEXT_KEPT = 256
"""Tokens of its context that a stream remembers by id, or as many as penalties look back; n-grams are far shorter."""

Alternatives = list[tuple[int, float]]
"""Ids with their log probabilities in nats, likeliest first."""


@dataclass
class Sample:
    """One sample as it grows.

    Args:
        seed: decides its draws, whatever is drawn beside it.
        parts: what was written, without the prompt, piece by piece.
        ids: its tokens, the closing boundary not among them.
        log_probs_nats: log probability of each token drawn, the closing boundary's last, mixed where that is asked for but
            before any filter.
        ended: why it is complete, None while it is not.
        alternatives: the likeliest tokens in the place of each one drawn, where asked for.
        matches: whether it matches the pattern that was asked for as a whole, None where there is none.
    """

    seed: int
    parts: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    log_probs_nats: list[float] = field(default_factory=list)
    ended: EndReason | None = None
    alternatives: list[Alternatives] = field(default_factory=list)
    matches: bool | None = None

    @property
    def text(self) -> str:
        """What was written, without the prompt."""
        return "".join(self.parts)

    @property
    def log_prob_nats(self) -> float:
        """The sum over all tokens drawn."""
        return sum(self.log_probs_nats)

    @property
    def perplexity(self) -> float | None:
        """e to the mean loss a token drawn, or None where none was."""
        return float(np.exp(-self.log_prob_nats / len(self.log_probs_nats))) if self.log_probs_nats else None


class Plan(NamedTuple):
    """A sample to be written.

    Args:
        start: what the model has read before it.
        seed: of its draws.
    """

    start: PromptState
    seed: int


class Opening:
    """What all samples after one start have in common, made once.

    Args:
        pattern: what their text must match.
    """

    def __init__(
        self, start: PromptState, tokenizer: Tokenizer, options: SampleOptions, pattern: Pattern | None
    ) -> None:
        self.start, self.tokenizer, self.options = start, tokenizer, options
        self.decoder = tokenizer.decoder()
        text = "".join([self.decoder.push(id) for id in start.ids[1:]])
        self.decoder.flush()  # a character that the prompt breaks off is not written again
        self.ending = Ending([unescaped(stop) for stop in options.stop], options.until, text)
        self.rules: list[Rule] = []
        if options.no_repeat_ngram:
            first = 0 if tokenizer.unit == "stream" else 1  # the boundary may come again, to close what it opened
            self.rules.append(NoRepeatedNgram(options.no_repeat_ngram, start.ids[first:]))
        if pattern is not None:
            self.rules.append(pattern.begin(self.decoder))


class Stream:
    """A sample with what it needs to grow.

    Args:
        number: its place among the samples.
        seed: of its draws.
        keeps_history: whether its tokens and text are remembered; without, an endless one stays small.
    """

    def __init__(self, number: int, opening: Opening, seed: int, *, keeps_history: bool = True) -> None:
        options = opening.options
        self.number = number
        self.start = opening.start
        self.sample = Sample(seed)
        self._context_kept = max(CONTEXT_KEPT, options.penalty_window)
        self.context = opening.start.ids[-self._context_kept :]
        self.is_apart = False
        """Whether it is read by itself from now on."""
        self._keeps_history = keeps_history
        self._alone: Stepper | None = None
        self._logits_alone = opening.start.logits
        self._num_read_alone = 0
        self._random = np.random.default_rng(seed)
        self._draws: Iterator[float] = iter(())
        vocabulary, unit = opening.tokenizer.vocabulary, opening.tokenizer.unit
        self._closing_id = None if unit == "stream" else vocabulary.boundary_id
        self._decoder = opening.decoder.copy()
        self._ending = copy.copy(opening.ending)
        self._ends_by_text = bool(options.stop) or options.until in ("sentence", "line")
        self.rules = [rule.copy() for rule in opening.rules]

    def branch(self) -> "Stream":
        """Return another one that has written the same so far, and draws nothing."""
        other = copy.copy(self)
        sample = self.sample
        other.sample = Sample(
            sample.seed,
            sample.parts.copy(),
            sample.ids.copy(),
            sample.log_probs_nats.copy(),
            sample.ended,
            sample.alternatives.copy(),
        )
        other.context = self.context.copy()
        other._decoder = self._decoder.copy()
        other._ending = copy.copy(self._ending)
        other.rules = [rule.copy() for rule in self.rules]
        return other

    def next_draw(self) -> float:
        """Return a number in [0, 1)."""
        for found in self._draws:
            return found
        self._draws = iter(self._random.random(DRAWN_AT_ONCE).tolist())
        return next(self._draws)

    def read_alone(self, stepper: Stepper) -> Floats:
        """Return the logits (1, V) of what follows, read by a stepper of one stream.

        Of streams that are read together, one that comes here for the second time stays by itself: catching up costs more.
        """
        ids = self.sample.ids
        if self._alone is None:
            self._alone = stepper.fork(self.start.state)
        elif len(ids) - self._num_read_alone > 1:
            self.is_apart = True
        if unread := ids[self._num_read_alone :]:
            self._logits_alone = self._alone.replay(np.array(unread))
        self._num_read_alone = len(ids)
        return self._logits_alone

    def take(self, id: int, log_prob_nats: float) -> str:
        """Take the token that was chosen, which may close a line or document; return the text that is now certain."""
        if self._keeps_history:
            self.sample.log_probs_nats.append(log_prob_nats)
        if id == self._closing_id:
            return self.finish("unit")
        if self._keeps_history:
            self.sample.ids.append(id)
        self.context.append(id)
        if len(self.context) > 2 * self._context_kept:
            del self.context[: -self._context_kept]
        for rule in self.rules:
            rule.push(id)
        return self._release(self._decoder.push(id))

    def finish(self, reason: EndReason) -> str:
        """End the sample; return the text that was held back."""
        if self.sample.ended is not None:
            return ""
        fresh = self._release(self._decoder.flush())
        if self.sample.ended is None:
            self.sample.ended = reason
            held_back = self._ending.flush()
            self.sample.parts.append(held_back)
            fresh += held_back
        for rule in self.rules:
            if isinstance(rule, Matching):
                self.sample.matches = rule.is_complete
        return fresh

    def stuck_reason(self) -> EndReason:
        """Return why nothing may follow."""
        matching = [rule for rule in self.rules if isinstance(rule, Matching)]
        return "match" if matching and matching[0].is_complete else "stuck"

    def _release(self, text: str) -> str:
        if self._ends_by_text:
            text, self.sample.ended = self._ending.push(text)
        if self._keeps_history:
            self.sample.parts.append(text)
        return text
