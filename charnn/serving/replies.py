"""Replies to requests for completions, in OpenAI's shape."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import charnn.api
from charnn.files import JsonObject
from charnn.serving.completions import SEEDS, CompletionRequest, Prompt
from charnn.serving.models import ServedModel


class _Spelling:
    """The log probabilities of tokens as clients see them, with the position of each in the text.

    Args:
        decoder: after the tokens so far.
        offset: characters of the text so far.
    """

    def __init__(self, model: ServedModel, decoder: "charnn.api.Decoder", offset: int = 0) -> None:
        self._model, self.decoder, self.offset = model, decoder, offset

    def copy(self) -> "_Spelling":
        """Return a copy that can be continued independently."""
        return _Spelling(self._model, self.decoder.copy(), self.offset)

    def text_of(self, ids: Sequence[int]) -> tuple[str, list[int]]:
        """Return the text of the next tokens, and where each begins."""
        texts, offsets = [], []
        for id in ids:
            offsets.append(self.offset)
            texts.append(self.decoder.push(id))
            self.offset += len(texts[-1])
        return "".join(texts), offsets

    def logprobs(
        self,
        ids: Sequence[int],
        offsets: Sequence[int],
        log_probs: Sequence[float | None],
        alternatives: Sequence["charnn.api.Alternatives | None"] | None,
    ) -> JsonObject:
        """Return the field `logprobs` of some tokens."""
        spelled = self._model.spelled
        top = None
        if alternatives is not None:
            top = [each and {spelled(id): log_prob for id, log_prob in each} for each in alternatives]
        return {
            "tokens": [spelled(id) for id in ids],
            "token_logprobs": list(log_probs),
            "top_logprobs": top,
            "text_offset": list(offsets),
        }


class Beginning:
    """What the choices of a prompt share: the echoed text, and the log probabilities of its tokens."""

    def __init__(self, model: ServedModel, request: CompletionRequest, prompt: Prompt) -> None:
        self.spelling = _Spelling(model, model.tokenizer.decoder())
        self.boundary_id = model.tokenizer.vocabulary.boundary_id
        text, offsets = self.spelling.text_of(prompt.ids.tolist())
        self.text, self.logprobs = "", None
        if not request.echo:
            self.spelling.offset = 0
            return
        self.text = text
        if request.logprobs is not None:
            found = model.prompt_tokens(
                prompt.text_ids, num_alternatives=request.logprobs, mix_ngram=request.options.mix_ngram
            )
            opening = [None] * prompt.num_opening
            self.logprobs = self.spelling.logprobs(
                prompt.ids.tolist(),
                offsets,
                [*opening, *(token.log_prob_nats for token in found)],
                [*opening, *(token.alternatives for token in found)] if request.logprobs else None,
            )


class Choice:
    """One sample of a reply."""

    def __init__(self, beginning: Beginning, request: CompletionRequest) -> None:
        self._spelling, self._request, self._boundary_id = beginning.spelling.copy(), request, beginning.boundary_id

    def logprobs(self, update: "charnn.api.Update") -> JsonObject | None:
        """Return the log probabilities of the tokens of an update, the boundary that ends a line or document included."""
        if self._request.logprobs is None:
            return None
        alternatives = update.alternatives if self._request.logprobs else None
        ids = [*update.ids, *[self._boundary_id] * (len(update.log_probs_nats) - len(update.ids))]
        _, offsets = self._spelling.text_of(ids)
        return self._spelling.logprobs(ids, offsets, update.log_probs_nats, alternatives)


def choice_content(index: int, text: str, logprobs: JsonObject | None, reason: str | None) -> JsonObject:
    """Return an element of `choices`."""
    finish = "stop" if reason not in (None, "length") else reason
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}


class WholeChoice:
    """A choice that is returned when it is complete."""

    def __init__(self, beginning: Beginning, choice: Choice) -> None:
        self._choice, self._texts = choice, [beginning.text]
        self._logprobs: dict[str, Any] | None = None
        self._reason: str | None = None
        self.num_tokens = 0
        self._extend(beginning.logprobs)

    def add(self, update: "charnn.api.Update") -> None:
        """Add what was generated since the last update."""
        self._texts.append(update.text)
        self._extend(self._choice.logprobs(update))
        self._reason, self.num_tokens = update.ended, update.num_tokens

    def _extend(self, logprobs: JsonObject | None) -> None:
        if logprobs is None:
            return
        if self._logprobs is None:
            self._logprobs = {name: values and list(values) for name, values in logprobs.items()}
            return
        for name, values in logprobs.items():
            if self._logprobs[name] is None:
                self._logprobs[name] = values
            elif values:
                self._logprobs[name] += values

    def content(self, index: int) -> JsonObject:
        """Return the element of `choices`."""
        return choice_content(index, "".join(self._texts), self._logprobs, self._reason)


@dataclass(frozen=True)
class Reply:
    """What all parts of a reply share."""

    model: ServedModel
    request: CompletionRequest
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def content(self, choices: Sequence[JsonObject], *, num_generated: int | None = None) -> JsonObject:
        """Return a reply, or a part of one that is streamed, which has no usage."""
        content: JsonObject = {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model.name,
            "choices": list(choices),
        }
        if num_generated is not None:
            num_prompt = sum(len(prompt.ids) for prompt in self.request.prompts)
            content["usage"] = {
                "prompt_tokens": num_prompt,
                "completion_tokens": num_generated,
                "total_tokens": num_prompt + num_generated,
            }
        return content

    def beginnings(self) -> list[Beginning]:
        """Return the beginning of each choice, `n` for each prompt in order; those of a prompt are one object."""
        made = [Beginning(self.model, self.request, prompt) for prompt in self.request.prompts]
        return [each for each in made for _ in range(self.request.num_samples)]

    def sample_requests(self) -> list["charnn.api.SampleRequest"]:
        """Read the prompts; return a request for each sample."""
        states = [self.model.prefill(prompt.text_ids) for prompt in self.request.prompts]
        numbers = range(len(states) * self.request.num_samples)
        return [
            charnn.api.SampleRequest(states[number // self.request.num_samples], (self.request.seed + number) % SEEDS)
            for number in numbers
        ]
