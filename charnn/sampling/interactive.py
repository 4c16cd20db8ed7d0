"""Interactive sampling: a person selects tokens or lets the model generate, undoes turns and retries them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from charnn.config import SampleOptions
from charnn.inference.prompt import PromptState, encode_prompt, prefill, without_trailing_space
from charnn.inference.stepper import Stepper
from charnn.ngrams.mixture import Mixture
from charnn.sampling.adapting import AdaptedPrompts
from charnn.sampling.constraints import Pattern
from charnn.sampling.filters import LogProbs
from charnn.sampling.selection import STUCK, TokenContext, TokenSelector, mixed_log_softmax
from charnn.sampling.stream_sampler import adapted_log_probs, top_tokens
from charnn.sampling.streams import Alternatives, PreparedPrompt, SampleRequest, Stream
from charnn.text.tokenizers import Tokenizer, decode


class InteractiveWriter:
    """Keeps a text and the model's state after it consistent.

    Args:
        stepper: of one stream in its initial state.
        request: the prompt, its text and the seed of the draws.
        adapted: learns from the prompt and the text; what is undone is unlearned.

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
        adapted: AdaptedPrompts | None = None,
    ) -> None:
        self._first, self._tokenizer, self._request, self._mixture = stepper, tokenizer, request, mixture
        self._options, self._adapted = options, adapted
        self._temperature = 0.0 if options.greedy else options.temperature
        self._selector = TokenSelector(tokenizer, options)
        self._pattern = None if options.match is None else Pattern(options.match, tokenizer)
        self._given = decode(tokenizer, request.prompt_state.ids[1:]) if request.text is None else request.text
        self._shown = self._given if request.text is None else without_trailing_space(tokenizer, request.text)
        self._random = np.random.default_rng(request.seed)
        self._turns: list[_Place] = []
        """What was there before each turn."""
        self._go_to(_Place(request.prompt_state, "", [], [], _Spelled(self._shown, 0)))

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
        self._end_turn(lambda: self._add(id, is_given=True))

    def insert(self, text: str) -> None:
        """Continue with a text by the user, tokenized together with the text so far. Raises UnknownTokenError."""
        place, ids = self._continuation(text)

        def add_all() -> None:
            if place.prompt_state is not self._prompt.state or place.ids != self._stream.sample.ids:
                self._go_to(place)
            for id in ids:
                if self.ended is None:
                    self._add(id, is_given=True)
            self._spelled = _Spelled(before + text, len(self._stream.sample.ids))

        before = self._text_before()
        self._end_turn(add_all)

    def _continuation(self, text: str) -> "tuple[_Place, list[int]]":
        """Return from where to go on when a text is added, the part that stays as it is, and the tokens after it."""
        place = self._place()
        before = self._text_before()
        tokenized = without_trailing_space(self._tokenizer, before) if self._is_untouched else before
        if self._known_ids(tokenized) != place.all_ids:
            return place, self._encode(text)  # other tokens spell the same text, and stay
        ids = self._encode(before + text, offset=-len(before))
        num_same, num_prompt = _num_common(place.all_ids, ids), len(place.prompt_state.ids) - 1
        if num_same >= num_prompt:
            return place._replace(ids=place.ids[: num_same - num_prompt]), ids[num_same:]
        num_prompt, tail = self._end_of_prompt(before + text)
        new_ids = np.array(ids[:num_prompt], dtype=np.int64)
        return _Place(prefill(self._first, self._tokenizer, new_ids), tail, [], [], self._spelled), ids[num_prompt:]

    @property
    def _is_untouched(self) -> bool:
        return self._prompt.state is self._request.prompt_state and not self._stream.sample.ids

    def _text_before(self) -> str:
        """Return the prompt and the text so far, unknown tokens as they are spelled."""
        if self._is_untouched:
            return self._given
        all_ids, num_own = self._place().all_ids, len(self._stream.sample.ids)
        num_spelled = len(all_ids) - num_own + self._spelled.num_ids
        length = len(decode(self._tokenizer, all_ids[:num_spelled]))
        return self._spelled.text + decode(self._tokenizer, all_ids)[length:]

    def _end_of_prompt(self, text: str) -> tuple[int, str]:
        """Return how many tokens of a text begin within the prompt, and what the last of them has after it."""
        tokens = [token for token in self._tokenizer.tokenize(text) if not self._is_skipped(token.id)]
        of_prompt = [token for token in tokens if token.start < len(self._shown)]
        end = of_prompt[-1].start + len(of_prompt[-1].text) if of_prompt else 0
        return len(of_prompt), text[len(self._shown) : end]

    def _known_ids(self, text: str) -> list[int]:
        return [id for id in self._tokenizer.encode(text).tolist() if not self._is_skipped(id)]

    def _is_skipped(self, id: int) -> bool:
        return self._options.on_unknown == "skip" and id == self._tokenizer.vocabulary.unknown_id

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
        before = self._place()
        try:
            act()
        finally:  # also where the user interrupts
            self._turns.append(before)

    def undo(self, num_turns: int = 1) -> int:
        """Undo the last turns; return how many tokens they added."""
        undone, self._turns = self._turns[-num_turns:], self._turns[:-num_turns]
        if not undone:
            return 0
        all_ids = self._place().all_ids
        self._go_to(undone[0])
        return len(all_ids) - _num_common(all_ids, undone[0].all_ids)

    def again(self) -> bool:
        """Undo the last turn and draw as many tokens again; tell whether there was one."""
        if not self._turns:
            return False
        self.run(max(1, self.undo()))
        return True

    def _place(self) -> "_Place":
        ids = list(self._stream.sample.ids)
        return _Place(self._prompt.state, self._prompt.tail, ids, self._is_given[: len(ids)], self._spelled)

    def _go_to(self, place: "_Place") -> None:
        self._prompt = PreparedPrompt(
            place.prompt_state, self._tokenizer, self._options, self._pattern, tail=place.tail
        )
        adaptive = None if self._adapted is None else self._adapted.reader(place.prompt_state)
        self._stream = Stream(0, self._prompt, self._request.seed, adaptive=adaptive)
        self._spelled = place.spelled
        self._stepper = self._first.fork(place.prompt_state.state)
        self._logits = place.prompt_state.logits
        self._is_given: list[bool] = []
        for id, is_given in zip(place.ids, place.is_given, strict=False):
            self._add(id, is_given=is_given)

    def _add(self, id: int, *, is_given: bool = False) -> None:
        self._stream.take(id, float(self._log_probs()[0, id]), is_given=is_given)
        self._is_given.append(is_given)
        self._logits = self._stepper.step(np.array([id]))

    def _context(self) -> TokenContext:
        return TokenContext(self._stream.context, self._stream.rules)

    def _allowed(self) -> LogProbs:
        return self._selector.allowed(self._log_probs(), [self._context()])

    def _log_probs(self) -> LogProbs:
        return adapted_log_probs(mixed_log_softmax(self._logits, [self._stream.context], self._mixture), [self._stream])


class _Spelled(NamedTuple):
    """The prompt and the text up to some token, with unknown tokens as they are spelled.

    Args:
        num_ids: that many tokens after those of the prompt.
    """

    text: str
    num_ids: int


class _Place(NamedTuple):
    """A text and how it is divided.

    Args:
        prompt_state: the model's state after the prompt, or after the token that begins in it and ends in the text.
        tail: the part of that token that is the text's.
        ids: the tokens after it.
        is_given: whether each is the user's, not drawn.
        spelled: how its beginning is spelled.
    """

    prompt_state: PromptState
    tail: str
    ids: list[int]
    is_given: list[bool]
    spelled: _Spelled

    @property
    def all_ids(self) -> list[int]:
        """The tokens of the prompt and the text."""
        return [*self.prompt_state.ids[1:], *self.ids]


def _num_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the length of the longest common beginning."""
    pairs = zip(first, second, strict=False)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
