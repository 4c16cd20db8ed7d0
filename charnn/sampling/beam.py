"""Beam search: the most probable text that a beam of hypotheses finds, and others that differ from it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charnn.config import SampleOptions
from charnn.inference.prompt import PromptState
from charnn.inference.stepper import Stepper
from charnn.ngrams.mixture import Mixture
from charnn.sampling.constraints import Pattern
from charnn.sampling.filters import LogProbs
from charnn.sampling.selection import TokenContext, TokenSelector, mixed_log_softmax
from charnn.sampling.stopping import EndReason
from charnn.sampling.stream_sampler import top_tokens
from charnn.sampling.streams import PreparedPrompt, Sample, Stream
from charnn.text.tokenizers import Tokenizer

SORTED_FIRST = 4
"""Candidates that are sorted at first, for each hypothesis that is kept."""


@dataclass
class Hypothesis:
    """A partial text.

    Args:
        stream: the text, and what it depends on.
        score: its log probability in nats, with penalties and biases.
    """

    stream: Stream
    score: float

    def normalised(self, length_penalty: float) -> float:
        """Return the score a token, to a power."""
        length = max(1, len(self.stream.sample.log_probs_nats))
        return float(self.score / length**length_penalty)


class _Group:
    """Hypotheses that compete with each other: those that grow, and the best of those that are complete.

    Args:
        size: how many of each are kept.
    """

    def __init__(self, first: Hypothesis, size: int, length_penalty: float) -> None:
        self.growing = [first]
        self._size, self._length_penalty = size, length_penalty
        self._complete: dict[str, Hypothesis] = {}

    def retire(self, hypothesis: Hypothesis) -> None:
        """Take a complete text; of several ways to write the same one, the most probable stays."""
        text = hypothesis.stream.sample.text
        if text not in self._complete or self._rank(hypothesis) < self._rank(self._complete[text]):
            self._complete[text] = hypothesis
        if len(self._complete) > 2 * self._size:
            self._complete = {one.stream.sample.text: one for one in self.best()}

    def best(self) -> list[Hypothesis]:
        """Return the complete texts, the best first; those that were stuck come last."""
        return sorted(self._complete.values(), key=self._rank)[: self._size]

    def _rank(self, one: Hypothesis) -> tuple[bool, float]:
        return one.stream.sample.ended == "stuck", -one.normalised(self._length_penalty)

    def is_done(self, max_tokens: int) -> bool:
        """Tell whether nothing that grows can still come in among the best, as long as no token adds to a score."""
        if not self.growing or len(self._complete) < self._size:
            return not self.growing
        worst = self.best()[-1]
        if worst.stream.sample.ended == "stuck":
            return False
        highest = max(hypothesis.score for hypothesis in self.growing)
        bound = highest / (max_tokens**self._length_penalty if highest < 0 else 1)
        return bound <= worst.normalised(self._length_penalty)


class BeamSearch:
    """A search for the most probable texts after a prompt.

    The score is the log probability with penalties and biases, divided by the number of tokens to the power of
    `length_penalty`. With groups, each adds a penalty for the tokens that earlier ones have selected at the same position, and
    the best of each come first.

    Args:
        stepper: of one stream in its initial state.

    Source: Wu et al. (2016) for the length; Vijayakumar et al. (2018), Diverse beam search, for the groups.
    """

    def __init__(
        self,
        stepper: Stepper,
        tokenizer: Tokenizer,
        prompt_state: PromptState,
        options: SampleOptions,
        *,
        mixture: Mixture | None = None,
    ) -> None:
        assert options.beam is not None
        assert options.max_tokens is not None
        self._options, self._tokenizer, self._mixture = options, tokenizer, mixture
        self._max_tokens: int = options.max_tokens
        self._size = options.beam // options.beam_groups
        self._selector = TokenSelector(tokenizer, options)
        self._can_gain = self._selector.can_raise
        """Whether a token may add to a score, so that no complete text is safe."""
        pattern = None if options.match is None else Pattern(options.match, tokenizer)
        first = Stream(0, PreparedPrompt(prompt_state, tokenizer, options, pattern), 0)
        self._groups = [
            _Group(Hypothesis(first.branch(), 0.0), self._size, options.length_penalty)
            for _ in range(options.beam_groups)
        ]
        self._stepper = stepper.fork(prompt_state.state, options.beam_groups)
        self._logits_BV = np.repeat(prompt_state.logits, options.beam_groups, axis=0)

    def run(self) -> list[Sample]:
        """Search to the end; return `num_samples` texts, or as many as there are, the best first."""
        for _ in range(self._max_tokens):
            if not self._grow():
                break
        return self.end("length")

    def end(self, reason: EndReason) -> list[Sample]:
        """End what grows where it is, and return the best texts there are."""
        for group in self._groups:
            growing, group.growing = group.growing, []
            for hypothesis in growing:
                hypothesis.stream.finish(reason)
                group.retire(hypothesis)
        best = [group.best() for group in self._groups]
        ranked = []
        for rank in range(self._size):
            equals = [texts[rank] for texts in best if rank < len(texts)]
            ranked += sorted(equals, key=lambda one: -one.normalised(self._options.length_penalty))
        return [one.stream.sample for one in ranked[: self._options.num_samples]]

    def _grow(self) -> bool:
        """Add a token to every hypothesis; tell whether any is left to grow."""
        growing = [hypothesis for group in self._groups for hypothesis in group.growing]
        contexts = [TokenContext(one.stream.context, one.stream.rules) for one in growing]
        log_probs_BV = mixed_log_softmax(self._logits_BV, [context.ids for context in contexts], self._mixture)
        allowed_BV = self._selector.allowed(log_probs_BV, contexts)
        taken = np.zeros(allowed_BV.shape[1])
        parents: list[int] = []
        ids: list[int] = []
        first = 0
        for group in self._groups:
            rows = slice(first, first + len(group.growing))
            first = rows.stop
            kept = self._extend(group, log_probs_BV[rows], allowed_BV[rows], taken)
            for _, id in kept:
                taken[id] += 1
            parents += [rows.start + parent for parent, _ in kept]
            ids += [id for _, id in kept]
        if not ids:
            return False
        self._stepper.keep(parents)
        self._logits_BV = self._stepper.step(np.array(ids))
        return True

    def _extend(
        self, group: _Group, log_probs_BV: LogProbs, allowed_BV: LogProbs, taken_V: LogProbs
    ) -> list[tuple[int, int]]:
        """Replace a group's hypotheses by their best extensions; return row and token of each that is continued.

        They are replaced once all is done, so that an interrupt in between loses nothing.
        """
        options = self._options
        if not self._can_gain and group.is_done(self._max_tokens):
            group.growing = []
            return []
        parents = group.growing
        grown: list[Hypothesis] = []
        scores_BV = np.array([parent.score for parent in parents])[:, None] + allowed_BV
        kept: list[tuple[int, int]] = []
        diverse_BV = scores_BV - options.diversity * taken_V
        for row, id in best_continuations(diverse_BV, SORTED_FIRST * self._size):
            if len(kept) == self._size:
                break
            stream = parents[row].stream.branch()
            if options.show_alternatives:
                stream.sample.alternatives.append(top_tokens(log_probs_BV[row], options.show_alternatives))
            stream.take(id, float(log_probs_BV[row, id]))
            hypothesis = Hypothesis(stream, float(scores_BV[row, id]))
            if stream.sample.ended is None:
                grown.append(hypothesis)
                kept.append((row, id))
            else:
                group.retire(hypothesis)
        for row, parent in enumerate(parents):
            if np.isneginf(allowed_BV[row]).all():
                parent.stream.finish(parent.stream.stuck_reason())
                group.retire(parent)
        group.growing = grown
        return kept


def best_continuations(scores_BV: LogProbs, num_sorted: int) -> Iterator[tuple[int, int]]:
    """Yield hypothesis and token of the continuations that are possible, the best first, equal ones in their order.

    Args:
        scores_BV: of each hypothesis with each token, minus infinity where the token may not follow.
        num_sorted: continuations that the caller will want, about: the others are sorted only if it asks for more.
    """
    flat = scores_BV.ravel()
    parts = [np.arange(len(flat))]
    if len(flat) > num_sorted:
        bound = np.partition(flat, len(flat) - num_sorted)[len(flat) - num_sorted]
        parts = [np.flatnonzero(flat > bound), np.flatnonzero(flat <= bound)]
    for part in parts:
        for position in part[np.argsort(-flat[part], kind="stable")].tolist():
            if np.isneginf(flat[position]):
                return
            yield divmod(position, scores_BV.shape[1])
