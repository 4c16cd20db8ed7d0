"""A sample in progress, and what its next token may depend on."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charnn.config import SampleOptions
from charnn.inference.engine import Floats
from charnn.inference.prompt import PromptState
from charnn.inference.stepper import Stepper
from charnn.sampling.constraints import Matching, NoRepeatedNgram, Pattern, Rule, unescaped
from charnn.sampling.stopping import Ending, EndReason
from charnn.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from charnn.ngrams.adaptive_model import AdaptiveReader

DRAWS_PER_CALL = 256
CONTEXT_STORED = 256
"""Tokens of its context that a stream stores, or as many as penalties look back; n-grams are far shorter."""

Alternatives = list[tuple[int, float]]
"""Ids with their log probabilities in nats, in descending order."""


@dataclass
class Sample:
    """One sample in progress or complete.

    Args:
        seed: determines its draws, whatever else is in the batch.
        parts: the generated text in segments, without the prompt.
        ids: its tokens, without the closing boundary.
        log_probs_nats: log probability of each token drawn, the closing boundary's last, before any filter; interpolated
            with `--mix-ngram`.
        ended: why it is complete, None while it is not.
        alternatives: the most probable tokens at each position, with `--show-alternatives`.
        matches: whether it matches `--match` as a whole, None without it.
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
        """The generated text, without the prompt."""
        return "".join(self.parts)

    @property
    def log_prob_nats(self) -> float:
        """The sum over all tokens drawn."""
        return sum(self.log_probs_nats)

    @property
    def perplexity(self) -> float | None:
        """exp of the mean loss per drawn token, or None where none was drawn."""
        return float(np.exp(-self.log_prob_nats / len(self.log_probs_nats))) if self.log_probs_nats else None


class SampleRequest(NamedTuple):
    """A request for one sample.

    Args:
        prompt_state: the model's state after the prompt.
        seed: of the random draws.
        text: the prompt as the user gave it; None for that of its tokens. Only interactive sampling uses it.

    Example:
        >>> SampleRequest(prompt_state, seed=7)
    """

    prompt_state: PromptState
    seed: int
    text: str | None = None


class PreparedPrompt:
    """What all samples of one prompt share, prepared once.

    Args:
        pattern: what their text must match.
        tail: the end of the state's text that belongs to the samples, since the last token begins before it.
    """

    def __init__(
        self,
        state: PromptState,
        tokenizer: Tokenizer,
        options: SampleOptions,
        pattern: Pattern | None,
        tail: str = "",
    ) -> None:
        self.state, self.tokenizer, self.options, self.tail = state, tokenizer, options, tail
        self.decoder = tokenizer.decoder()
        text = "".join([self.decoder.push(id) for id in state.ids[1:]])
        self.decoder.flush()  # a character that the prompt breaks off is not generated again
        self.ending = Ending([unescaped(stop) for stop in options.stop], options.until, text.removesuffix(tail))
        self.rules: list[Rule] = []
        if options.no_repeat_ngram:
            first = 0 if tokenizer.unit == "stream" else 1  # the boundary may come again, to close what it opened
            self.rules.append(NoRepeatedNgram(options.no_repeat_ngram, state.ids[first:]))
        if pattern is not None:
            self.rules.append(pattern.begin(self.decoder, tail))


class Stream:
    """A sample in progress, with its decoder, rules and random generator.

    Args:
        number: the index of its request.
        seed: of its draws.
        keeps_history: whether its tokens and text are stored; without them, memory use does not grow with its length.
        adaptive: has read the prompt, and learns from what is written.
    """

    def __init__(
        self,
        number: int,
        prompt: PreparedPrompt,
        seed: int,
        *,
        keeps_history: bool = True,
        adaptive: "AdaptiveReader | None" = None,
    ) -> None:
        options = prompt.options
        self.number = number
        self.prompt_state = prompt.state
        self.sample = Sample(seed)
        self._context_stored = max(CONTEXT_STORED, options.penalty_window)
        self.context = prompt.state.ids[-self._context_stored :]
        self.is_unbatched = False
        """Whether it has left the batch for a stepper of its own."""
        self._keeps_history = keeps_history
        self._own_stepper: Stepper | None = None
        self._own_logits = prompt.state.logits
        self._num_own_read = 0
        self._random = np.random.default_rng(seed)
        self._draws: Iterator[float] = iter(())
        vocabulary, unit = prompt.tokenizer.vocabulary, prompt.tokenizer.unit
        self._closing_id = None if unit == "stream" else vocabulary.boundary_id
        self._decoder = prompt.decoder.copy()
        self._ending = copy.copy(prompt.ending)
        self._ends_by_text = bool(options.stop) or options.until in ("sentence", "line")
        self.rules = [rule.copy() for rule in prompt.rules]
        self.adaptive = adaptive
        if prompt.tail:
            self._release(prompt.tail)

    def branch(self) -> "Stream":
        """Return a copy that can be extended independently; it draws nothing."""
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
        for uniform in self._draws:
            return uniform
        self._draws = iter(self._random.random(DRAWS_PER_CALL).tolist())
        return next(self._draws)

    def read_unbatched(self, stepper: Stepper) -> Floats:
        """Return the logits (1, V) of the next token, computed by a stepper of this stream only.

        A batched stream that comes here for the second time leaves the batch: catching up repeatedly costs more.
        """
        ids = self.sample.ids
        if self._own_stepper is None:
            self._own_stepper = stepper.fork(self.prompt_state.state)
        elif len(ids) - self._num_own_read > 1:
            self.is_unbatched = True
        if unread := ids[self._num_own_read :]:
            self._own_logits = self._own_stepper.replay(np.array(unread))
        self._num_own_read = len(ids)
        return self._own_logits

    def take(self, id: int, log_prob_nats: float, *, is_given: bool = False) -> str:
        """Append a token, which may close a line or document; return the text that is now certain.

        Args:
            is_given: whether it was not drawn, but given by the user; more is learned from it.
        """
        if self._keeps_history:
            self.sample.log_probs_nats.append(log_prob_nats)
        if id == self._closing_id:
            return self.finish("unit")
        if self._keeps_history:
            self.sample.ids.append(id)
        self.context.append(id)
        if len(self.context) > 2 * self._context_stored:
            del self.context[: -self._context_stored]
        for rule in self.rules:
            rule.push(id)
        if self.adaptive is not None:
            self.adaptive.learn(id, is_drawn=not is_given)
            self.adaptive.push(id)
        return self._release(self._decoder.push(id))

    def finish(self, reason: EndReason) -> str:
        """End the sample; return the text that was held back."""
        if self.sample.ended is not None:
            return ""
        new_text = self._release(self._decoder.flush())
        if self.sample.ended is None:
            self.sample.ended = reason
            held_back = self._ending.flush()
            self.sample.parts.append(held_back)
            new_text += held_back
        for rule in self.rules:
            if isinstance(rule, Matching):
                self.sample.matches = rule.is_complete
        return new_text

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
