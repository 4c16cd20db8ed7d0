"""The next tokens of streams by one set of options."""

from collections.abc import Iterable, Sequence

import numpy as np

from charnn.config import SampleOptions
from charnn.inference.engine import Floats
from charnn.inference.stepper import Stepper
from charnn.ngrams.mixture import Mixture
from charnn.sampling.adapting import AdaptedPrompts
from charnn.sampling.constraints import Pattern
from charnn.sampling.filters import LogProbs
from charnn.sampling.selection import (
    STUCK,
    SelectedToken,
    SelectedTokens,
    TokenContext,
    TokenSelector,
    mixed_log_softmax,
    no_quick_draw,
    quick_draw,
)
from charnn.sampling.streams import Alternatives, PreparedPrompt, SampleRequest, Stream
from charnn.text.tokenizers import Tokenizer

CLOSE_NATS = 1e-5
"""The largest change of a selection's margin by batching: 3e-6 in all but one of a hundred steps of three models, never more
than this."""


class StreamSampler:
    """Selects and appends the next tokens of streams by a user's options.

    Args:
        stepper: of one stream in its initial state.
        mixture: the n-gram model to interpolate the network with.
        adapted: learns from prompts and samples.
        keeps_history: whether samples store their text and tokens, which one that is only streamed need not.

    Raises:
        OptionError: for options that exclude all of this model's tokens.
    """

    def __init__(
        self,
        stepper: Stepper,
        tokenizer: Tokenizer,
        options: SampleOptions,
        *,
        mixture: Mixture | None = None,
        adapted: AdaptedPrompts | None = None,
        keeps_history: bool = True,
    ) -> None:
        self.stepper, self._tokenizer, self._options, self._mixture = stepper, tokenizer, options, mixture
        self._adapted = adapted
        self.selector = TokenSelector(tokenizer, options)
        self._keeps_history = keeps_history
        needs_all = mixture is not None or adapted is not None or options.show_alternatives > 0
        largest_logit = stepper.largest_logit
        self.quick_draw = no_quick_draw if needs_all else quick_draw(self.selector, options, largest_logit)
        self._pattern = None if options.match is None else Pattern(options.match, tokenizer)
        self.depends_on_position = options.final_temperature is not None
        """Whether tokens at different positions of their samples cannot be selected together."""
        self.num_recomputed = 0
        """Selections so far that were too close for a batch and recomputed unbatched."""

    def streams(self, numbered: Iterable[tuple[int, SampleRequest]]) -> list[Stream]:
        """Return new streams after their prompts, which are prepared once where several in succession have the same."""
        made: list[Stream] = []
        prompt: PreparedPrompt | None = None
        for number, request in numbered:
            if prompt is None or prompt.state is not request.prompt_state:
                prompt = PreparedPrompt(request.prompt_state, self._tokenizer, self._options, self._pattern)
            adaptive = None if self._adapted is None else self._adapted.reader(request.prompt_state)
            stream = Stream(number, prompt, request.seed, keeps_history=self._keeps_history, adaptive=adaptive)
            made.append(stream)
        return made

    def exact(
        self,
        selected: SelectedTokens,
        log_probs_BV: LogProbs,
        streams: Sequence[Stream],
        draws_B: LogProbs,
        position: int,
    ) -> list[SelectedToken]:
        """Return the tokens selected for a batch, those that were too close to another one selected again unbatched."""
        ids: list[int] = selected.ids_B.tolist()
        for row in np.flatnonzero(selected.margin_B < CLOSE_NATS).tolist():
            self.num_recomputed += 1
            ids[row] = self.select_unbatched(streams[row], float(draws_B[row]), position).id
        return [SelectedToken(id, float(log_probs_BV[row, id]), log_probs_BV[row]) for row, id in enumerate(ids)]

    def select_unbatched(self, stream: Stream, uniform: float, position: int) -> SelectedToken:
        """Return the next token of a stream by logits that do not depend on other streams."""
        logits_1V = stream.read_unbatched(self.stepper)
        token = self.quick_draw(logits_1V[0], uniform, self.selector.temperature(position))
        return self.select_slowly(logits_1V, stream, uniform, position) if token is None else token

    def select_slowly(self, logits_1V: Floats, stream: Stream, uniform: float, position: int) -> SelectedToken:
        """Return the next token of one stream by `TokenSelector`, where `quick_draw` cannot, with all log probabilities."""
        log_probs_1V = self.log_probs(logits_1V, [stream])
        contexts = [TokenContext(stream.context, stream.rules)]
        id = int(self.selector.select(log_probs_1V, contexts, np.array([uniform]), position).ids_B[0])
        return SelectedToken(id, float(log_probs_1V[0, id]), log_probs_1V[0])

    def log_probs(self, logits_BV: Floats, streams: Sequence[Stream]) -> LogProbs:
        """Return the log probabilities (B, V) of the next tokens, interpolated if there is an n-gram model, or adapted."""
        log_probs_BV = mixed_log_softmax(logits_BV, [stream.context for stream in streams], self._mixture)
        return log_probs_BV if self._adapted is None else adapted_log_probs(log_probs_BV, streams)

    def extend(self, stream: Stream, token: SelectedToken, position: int) -> str | None:
        """Append a token to a stream; return the text that is now certain, or None if there is nothing to report."""
        num_alternatives = self._options.show_alternatives
        if token.id == STUCK:
            new_text = stream.finish(stream.stuck_reason())
        else:
            if num_alternatives and token.log_probs_V is not None:
                stream.sample.alternatives.append(top_tokens(token.log_probs_V, num_alternatives))
            new_text = stream.take(token.id, token.log_prob_nats)
            if position + 1 == self._options.max_tokens:
                new_text += stream.finish("length")
        return new_text if new_text or stream.sample.ended or num_alternatives else None


def adapted_log_probs(log_probs_BV: LogProbs, streams: Sequence[Stream]) -> LogProbs:
    """Return log probabilities (B, V) as mixed with the counts of the streams that have some."""
    rows = zip(log_probs_BV, streams, strict=True)
    return np.stack([row_V if each.adaptive is None else each.adaptive.predict(row_V) for row_V, each in rows])


def top_tokens(log_probs_V: LogProbs, count: int) -> Alternatives:
    """Return the most probable tokens and their log probabilities, in descending order."""
    order = np.argsort(-log_probs_V, kind="stable")[:count].tolist()
    return [(id, float(log_probs_V[id])) for id in order]
