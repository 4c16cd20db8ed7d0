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
from charnn.serving.spelling import Spelling, visible
from charnn.serving.workers import Check

FINISH_REASONS = {None: None, "length": "length", "interrupted": "interrupted", "error": "error"}
"""What clients see; all other reasons are "stop"."""


class Beginning:
    """What the choices of a prompt share: the echoed text, and the log probabilities of its tokens."""

    def __init__(self, model: ServedModel, request: CompletionRequest, prompt: Prompt, check: Check) -> None:
        ids = prompt.ids.tolist()
        self.text, self.logprobs = "", None
        decoder = model.tokenizer.decoder()
        self.spelling = Spelling(model, decoder, has_top=bool(request.logprobs))
        if request.echo:
            echoing = decoder.copy()
            self.text = visible("".join(prompt.spellings or [*map(echoing.push, ids), echoing.flush()]))
        if not request.echo or request.logprobs is None:
            for id in ids:
                decoder.push(id)
        else:
            found = model.prompt_tokens(
                prompt.text_ids, check, num_alternatives=request.logprobs, mix_ngram=request.options.mix_ngram
            )
            self.spelling.open(ids[: prompt.num_opening])
            log_probs = [token.log_prob_nats for token in found]
            alternatives = [token.alternatives for token in found]
            self.spelling.add(prompt.text_ids.tolist(), log_probs, alternatives, prompt.spellings)
            self.logprobs = self.spelling.certain(self.text, "length")
        decoder.flush()  # a character that the prompt breaks off is not generated again


class Choice:
    """One sample of a reply."""

    def __init__(self, beginning: Beginning, request: CompletionRequest) -> None:
        self._spelling = None if request.logprobs is None else beginning.spelling.copy(len(beginning.text))
        self.num_tokens = 0
        self.is_complete = False

    def part(self, update: "charnn.api.Update") -> JsonObject:
        """Return the element of `choices` for what was generated since the last update."""
        self.num_tokens, self.is_complete = update.num_tokens, update.ended is not None
        text, logprobs = visible(update.text), None
        if self._spelling is not None:
            num_ids = len(update.ids)
            self._spelling.add(update.ids, update.log_probs_nats, update.alternatives)
            self._spelling.close(update.log_probs_nats[num_ids:], update.alternatives[num_ids:])
            logprobs = self._spelling.certain(text, update.ended)
        return choice_content(update.index, text, logprobs, update.ended)


def choice_content(index: int, text: str, logprobs: JsonObject | None, reason: str | None) -> JsonObject:
    """Return an element of `choices`."""
    return {
        "index": index,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": FINISH_REASONS.get(reason, "stop"),
    }


class WholeChoice:
    """A choice that is returned when it is complete."""

    def __init__(self, index: int, beginning: Beginning) -> None:
        self._whole: dict[str, Any] = choice_content(index, beginning.text, None, None)
        self._add_logprobs(beginning.logprobs)

    def add(self, part: JsonObject) -> None:
        """Add what was generated since the last part."""
        self._whole["text"] += part["text"]
        self._whole["finish_reason"] = part["finish_reason"]
        self._add_logprobs(part["logprobs"])

    def _add_logprobs(self, logprobs: JsonObject | None) -> None:
        if logprobs is None:
            return
        if self._whole["logprobs"] is None:
            self._whole["logprobs"] = {
                name: None if values is None else list(values) for name, values in logprobs.items()
            }
            return
        for name, values in logprobs.items():
            if values:
                self._whole["logprobs"][name] += values

    @property
    def content(self) -> JsonObject:
        """The element of `choices`."""
        return self._whole


@dataclass(frozen=True)
class Reply:
    """What all parts of a reply share."""

    model: ServedModel
    request: CompletionRequest
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def content(self, choices: Sequence[JsonObject], **further: object) -> JsonObject:
        """Return a reply, or a part of one that is streamed."""
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model.name,
            "choices": list(choices),
            **further,
        }

    def part(self, choices: Sequence[JsonObject]) -> JsonObject:
        """Return a part of a reply that is streamed; its usage, if that was asked for, comes last."""
        return self.content(choices, **({"usage": None} if self.request.includes_usage else {}))

    def usage(self, num_generated: int) -> JsonObject:
        """Return the numbers of tokens."""
        num_prompt = sum(len(prompt.ids) for prompt in self.request.prompts)
        return {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_generated,
            "total_tokens": num_prompt + num_generated,
        }

    def beginnings(self, check: Check) -> list[Beginning]:
        """Return the beginning of each choice, `n` for each prompt in order; those of a prompt are one object."""
        made = [Beginning(self.model, self.request, prompt, check) for prompt in self.request.prompts]
        return [each for each in made for _ in range(self.request.num_samples)]

    def sample_requests(self, check: Check) -> list["charnn.api.SampleRequest"]:
        """Read the prompts; return a request for each sample."""
        states = [self.model.prefill(prompt.text_ids, check) for prompt in self.request.prompts]
        numbers = range(len(states) * self.request.num_samples)
        return [
            charnn.api.SampleRequest(states[number // self.request.num_samples], (self.request.seed + number) % SEEDS)
            for number in numbers
        ]
