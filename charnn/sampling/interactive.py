"""Interactive sampling: a person selects tokens or lets the model generate, undoes turns and retries them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from charnn.config import SampleOptions
from charnn.inference.prompt import encode_prompt
from charnn.inference.stepper import Stepper
from charnn.ngrams.mixture import Mixture
from charnn.sampling.constraints import Pattern
from charnn.sampling.filters import LogProbs
from charnn.sampling.selection import STUCK, TokenContext, TokenSelector, mixed_log_softmax
from charnn.sampling.stream_sampler import top_tokens
from charnn.sampling.streams import Alternatives, PreparedPrompt, SampleRequest, Stream
from charnn.text.tokenizers import Tokenizer, decode


class InteractiveWriter:
    """Keeps a text and the model's state after it consistent.

    Args:
        stepper: of one stream in its initial state.
        request: the prompt and the seed of the draws.

    Example:
        >>> request = charnn.api.SampleRequest(next(prompts.states()), seed=7)
        >>> writer = charnn.api.InteractiveWriter(stepper, model.tokenizer, request, SampleOptions())
        >>> writer.run(20)
        >>> writer.undo()
        20
    """

    def __init__(
        self,
        stepper: Stepper,
        tokenizer: Tokenizer,
        request: SampleRequest,
        options: SampleOptions,
        *,
        mixture: Mixture | None = None,
    ) -> None:
        self._first, self._tokenizer, self._request, self._mixture = stepper, tokenizer, request, mixture
        self._options = options
        self._temperature = 0.0 if options.greedy else options.temperature
        self._selector = TokenSelector(tokenizer, options)
        pattern = None if options.match is None else Pattern(options.match, tokenizer)
        self._prompt = PreparedPrompt(request.prompt_state, tokenizer, options, pattern)
        self._random = np.random.default_rng(request.seed)
        self._turns: list[list[int]] = []
        """The tokens before each turn."""
        self._replay([])

    @property
    def text(self) -> str:
        """The text so far, without the prompt."""
        return self._stream.sample.text

    @property
    def ended(self) -> str | None:
        """Why nothing may follow, or None."""
        return self._stream.sample.ended

    def finish(self) -> None:
        """End the text as it is, and release text that was held back."""
        self._stream.finish("interrupted")

    @property
    def temperature(self) -> float:
        """That of the next draws."""
        return self._temperature

    def set_temperature(self, temperature: float) -> None:
        """Set the temperature of the next draws, 0 for the most probable token. Raises OptionError."""
        plain = replace(self._options, seed=None, final_temperature=None, greedy=False, temperature=1.0)
        if temperature == 0:
            plain = replace(plain, greedy=True, top_k=None, typical_p=None, top_p=None, min_p=None)
            self._selector = TokenSelector(self._tokenizer, plain)
        else:
            self._selector = TokenSelector(self._tokenizer, replace(plain, temperature=temperature))
        self._temperature = temperature

    def alternatives(self, count: int) -> Alternatives:
        """Return the most probable next tokens by the model, of those that are allowed."""
        log_probs_V = self._log_probs()[0]
        allowed = self._allowed()[0]
        tokens = top_tokens(np.where(np.isneginf(allowed), -np.inf, log_probs_V), count)
        return [(id, nats) for id, nats in tokens if nats > -np.inf]

    def take(self, id: int) -> None:
        """Add one token."""
        self._end_turn(lambda: self._add(id))

    def insert(self, text: str) -> None:
        """Continue with a text by the user, tokenized together with the text so far. Raises UnknownTokenError."""
        num_kept, ids = self._continuation(text)

        def add_all() -> None:
            if num_kept < len(self._stream.sample.ids):
                self._replay(self._stream.sample.ids[:num_kept])
            for id in ids:
                self._add(id)

        self._end_turn(add_all)

    def _continuation(self, text: str) -> tuple[int, list[int]]:
        """Return how many tokens so far stay as they are when a text is added, and the tokens after them."""
        prompt_ids, own_ids = self._request.prompt_state.ids[1:], self._stream.sample.ids
        before = decode(self._tokenizer, [*prompt_ids, *own_ids])
        if self._tokenizer.encode(before).tolist() == [*prompt_ids, *own_ids]:
            ids = self._encode(before + text, offset=-len(before))
            num_same = _num_common([*prompt_ids, *own_ids], ids)
            if num_same >= len(prompt_ids):
                return num_same - len(prompt_ids), ids[num_same:]
        return len(own_ids), self._encode(text)  # the last word of the prompt stays as it is

    def _encode(self, text: str, *, offset: int = 0) -> list[int]:
        on_unknown = self._options.on_unknown
        ids = encode_prompt(self._tokenizer, text, on_unknown=on_unknown, offset=offset, name="text", remedy="")
        as_list: list[int] = ids.tolist()
        return as_list

    def run(self, length: int) -> None:
        """Draw some tokens, fewer where the text ends."""

        def draw_all() -> None:
            for _ in range(length):
                if self.ended is not None:
                    return
                selected = self._selector.select(self._log_probs(), [self._context()], self._random.random(1), 0)
                id = int(selected.ids_B[0])
                if id == STUCK:
                    self._stream.finish(self._stream.stuck_reason())
                else:
                    self._add(id)

        self._end_turn(draw_all)

    def _end_turn(self, act: Callable[[], None]) -> None:
        """Act, and note how many tokens that added; a text's end adds none, and can be taken back too."""
        if self.ended is not None:
            return
        before = list(self._stream.sample.ids)
        try:
            act()
        finally:  # also where the user interrupts
            self._turns.append(before)

    def undo(self, num_turns: int = 1) -> int:
        """Undo the last turns; return how many tokens they added."""
        undone, self._turns = self._turns[-num_turns:], self._turns[:-num_turns]
        if not undone:
            return 0
        num_tokens = len(self._stream.sample.ids) - len(undone[0])
        self._replay(undone[0])
        return num_tokens

    def again(self) -> bool:
        """Undo the last turn and draw as many tokens again; tell whether there was one."""
        if not self._turns:
            return False
        self.run(max(1, self.undo()))
        return True

    def _replay(self, ids: list[int]) -> None:
        self._stream = Stream(0, self._prompt, self._request.seed)
        self._stepper = self._first.fork(self._request.prompt_state.state)
        self._logits = self._request.prompt_state.logits
        for id in ids:
            self._add(id)

    def _add(self, id: int) -> None:
        self._stream.take(id, float(self._log_probs()[0, id]))
        self._logits = self._stepper.step(np.array([id]))

    def _context(self) -> TokenContext:
        return TokenContext(self._stream.context, self._stream.rules)

    def _allowed(self) -> LogProbs:
        return self._selector.allowed(self._log_probs(), [self._context()])

    def _log_probs(self) -> LogProbs:
        return mixed_log_softmax(self._logits, [self._stream.context], self._mixture)


def _num_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the length of the longest common beginning."""
    pairs = zip(first, second, strict=False)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
