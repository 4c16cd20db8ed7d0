"""Completions: the options of a request, the samples that answer it, and the reply in OpenAI's shape."""

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
import numpy.typing as npt

import charnn.api
from charnn.config import OnUnknown, SampleOptions
from charnn.config.sampling import Until
from charnn.errors import CharnnError, in_terms_of_arguments
from charnn.files import JsonObject
from charnn.serving.bodies import Body, RequestError
from charnn.serving.models import ServedModel

MAX_PROMPTS, MAX_SAMPLES, MAX_STOPS = 256, 128, 16
MAX_TOKENS, MAX_PROMPT_TOKENS = 100_000, 1_000_000
MAX_LOG_PROBS = 4_000_000
DEFAULT_TOKENS = 16
SEEDS = 2**31
FINISH = {"length": "length", "interrupted": "length"}
"""Why a sample ended, in OpenAI's words; everything else is "stop"."""


@dataclass(frozen=True)
class CompletionRequest:
    """A checked request.

    Args:
        prompts: ids of each prompt.
        max_tokens: of each sample; 0 returns the prompt alone.
        num_samples: samples for each prompt.
        echo: whether the text begins with the prompt.
        logprobs: number of alternatives for each token; None for no log probabilities.
    """

    prompts: Sequence[npt.NDArray[np.int64]]
    options: SampleOptions
    max_tokens: int
    num_samples: int
    seed: int
    echo: bool
    logprobs: int | None
    stream: bool

    @classmethod
    def read(cls, body: Body, model: ServedModel) -> "CompletionRequest":
        """Check a request for a model. Raises RequestError."""
        vocab_size = len(model.tokenizer.vocabulary)
        max_tokens = body.integer("max_tokens", DEFAULT_TOKENS, at_least=0, at_most=MAX_TOKENS)
        num_samples = body.integer("n", 1, at_least=1, at_most=MAX_SAMPLES)
        logprobs = body.integer("logprobs", None, at_least=0, at_most=vocab_size)
        echo = body.flag("echo")
        scores = echo and logprobs is not None
        on_unknown = body.choice("on_unknown", "unk" if scores else "error", get_args(OnUnknown))
        given = body.prompts("prompt", below=vocab_size, at_most=MAX_PROMPTS)
        if len(given) * num_samples > MAX_PROMPTS:
            raise RequestError(
                f"n: found {num_samples} for {len(given)} prompts, but a request may ask for {MAX_PROMPTS} samples in all; lower n or send fewer prompts",
                param="n",
            )
        num_log_probs = len(given) * num_samples * max_tokens * ((logprobs or 0) + 1)
        if logprobs is not None and num_log_probs > MAX_LOG_PROBS:
            raise RequestError(
                f"logprobs: found {num_log_probs:,} log probabilities to return, but a reply has at most {MAX_LOG_PROBS:,}; "
                "ask for fewer samples, tokens or alternatives",
                param="logprobs",
            )
        try:
            prompts = [
                np.array(each, dtype=np.int64)
                if isinstance(each, list)
                else charnn.api.encode_prompt(
                    model.tokenizer,
                    each if scores else charnn.api.without_trailing_space(model.tokenizer, each),
                    on_unknown=on_unknown,
                    remedy=', or send "on_unknown": "skip" or "unk"',
                )
                for each in given
            ]
            options = _options(body, model, max_tokens=max_tokens, num_alternatives=logprobs or 0)
        except CharnnError as error:
            raise RequestError(in_terms_of_arguments(str(error)), param=getattr(error, "param", None)) from error
        for ids in prompts:
            if len(ids) > MAX_PROMPT_TOKENS:
                raise RequestError(
                    f"prompt: found {len(ids):,} tokens, but it may have {MAX_PROMPT_TOKENS:,}", param="prompt"
                )
        seed = body.integer("seed", None, at_least=0, at_most=SEEDS - 1)
        seed = secrets.randbelow(SEEDS) if seed is None else seed
        return cls(prompts, options, max_tokens, num_samples, seed, echo, logprobs, body.flag("stream"))


def _options(body: Body, model: ServedModel, *, max_tokens: int, num_alternatives: int) -> SampleOptions:
    top_p = body.number("top_p", None, at_least=0, at_most=1)
    top_k = body.integer("top_k", None, at_least=-1)
    tokens = model.tokenizer.vocabulary.tokens
    biases = body.biases("logit_bias", below=len(tokens))
    options = SampleOptions(
        temperature=body.number("temperature", 1.0, at_least=0, at_most=100),
        top_p=None if top_p in (None, 1.0) else max(top_p, 1e-9),
        top_k=top_k if top_k and top_k > 0 else None,
        min_p=body.number("min_p", None, at_least=0, at_most=1) or None,
        typical_p=body.number("typical_p", None, at_least=0, at_most=1) or None,
        repetition_penalty=body.number("repetition_penalty", 1.0, at_least=1, at_most=100),
        presence_penalty=body.number("presence_penalty", 0.0, at_least=-100, at_most=100),
        frequency_penalty=body.number("frequency_penalty", 0.0, at_least=-100, at_most=100),
        no_repeat_ngram=body.integer("no_repeat_ngram", 0, at_least=0, at_most=1000),
        logit_bias=tuple(f"{_escaped(tokens[id])}={bias!r}" for id, bias in sorted(biases.items())),
        match=body.text("match", None),
        stop=tuple(_escaped(text) for text in body.texts("stop", at_most=MAX_STOPS)),
        until=body.choice("until", None, get_args(Until)),
        length=max(max_tokens, 1),
        mix_ngram=body.flag("mix_ngram"),
        show_alternatives=num_alternatives,
    )
    charnn.api.check_can_write(model.model, options)
    return options


def _escaped(text: str) -> str:
    r"""Return a text as it is written on a command line, where \n, \t and \\ are escapes."""
    return text.replace("\\", "\\\\")


@dataclass
class Choice:
    """One sample in its reply.

    Args:
        prompt_text: the prompt, if it is echoed.
        offset: characters of the text that were reported.
    """

    model: ServedModel
    request: CompletionRequest
    prompt_index: int
    offset: int = 0
    decoder: "charnn.api.Decoder" = field(init=False)

    def __post_init__(self) -> None:
        """Read the prompt."""
        self.decoder = self.model.tokenizer.decoder()
        self._prompt_pieces = [self.decoder.push(int(id)) for id in self.request.prompts[self.prompt_index]]

    def beginning(self) -> tuple[str, JsonObject | None]:
        """Return the echoed prompt and the log probabilities of its tokens."""
        if not self.request.echo:
            return "", None
        ids = self.request.prompts[self.prompt_index]
        text = "".join(self._prompt_pieces)
        if self.request.logprobs is None:
            self.offset = len(text)
            return text, None
        found = self.model.prompt_tokens(
            ids, num_alternatives=self.request.logprobs, mix_ngram=self.request.options.mix_ngram
        )
        content = self._logprobs(
            ids.tolist(),
            self._prompt_pieces,
            [token.log_prob_nats for token in found],
            [token.alternatives for token in found],
        )
        return text, content

    def logprobs(self, update: "charnn.api.Update") -> JsonObject | None:
        """Return the log probabilities of the tokens of an update."""
        if self.request.logprobs is None:
            return None
        pieces = [self.decoder.push(id) for id in update.ids]
        return self._logprobs(update.ids, pieces, update.log_probs_nats, update.alternatives)

    def _logprobs(
        self,
        ids: Sequence[int],
        pieces: Sequence[str],
        log_probs: Sequence[float],
        alternatives: Sequence["charnn.api.Alternatives"],
    ) -> JsonObject:
        offsets = []
        for piece in pieces:
            offsets.append(self.offset)
            self.offset += len(piece)
        spelled = self.model.spelled
        return {
            "tokens": [spelled(id) for id in ids],
            "token_logprobs": list(log_probs),
            "top_logprobs": [{spelled(id): log_prob for id, log_prob in each} for each in alternatives]
            if self.request.logprobs
            else None,
            "text_offset": offsets,
        }


def choice_content(index: int, text: str, logprobs: JsonObject | None, reason: str | None) -> JsonObject:
    """Return an element of `choices`."""
    finish = None if reason is None else FINISH.get(reason, "stop")
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}


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
            num_prompt = sum(len(ids) for ids in self.request.prompts)
            content["usage"] = {
                "prompt_tokens": num_prompt,
                "completion_tokens": num_generated,
                "total_tokens": num_prompt + num_generated,
            }
        return content

    def choices(self) -> Iterator[Choice]:
        """Return the choices, `n` for each prompt in order."""
        for prompt_index in range(len(self.request.prompts)):
            for _ in range(self.request.num_samples):
                yield Choice(self.model, self.request, prompt_index)

    def sample_requests(self) -> list["charnn.api.SampleRequest"]:
        """Read the prompts; return a request for each sample."""
        states = [self.model.prefill(ids) for ids in self.request.prompts]
        numbers = range(len(states) * self.request.num_samples)
        return [
            charnn.api.SampleRequest(states[number // self.request.num_samples], (self.request.seed + number) % SEEDS)
            for number in numbers
        ]
