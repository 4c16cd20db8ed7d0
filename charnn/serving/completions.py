"""Requests for completions: their fields, checked."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import numpy as np
import numpy.typing as npt

import charnn.api
from charnn.config import OnUnknown, SampleOptions
from charnn.config.sampling import Until
from charnn.serving.bodies import Body, RequestError
from charnn.serving.fields import COMPLETION_FIELDS, UNSUPPORTED
from charnn.serving.models import ServedModel

MAX_SAMPLES, MAX_N, MAX_STOPS = 256, 128, 16
"""Maximum samples of a request, samples for each prompt, and stop texts."""
LEAST_TOP_P = 1e-9
"""OpenAI's clients may send 0, for the most probable token alone."""
MAX_TOKENS, MAX_TOKENS_IN_ALL, MAX_PROMPT_TOKENS = 100_000, 2_000_000, 1_000_000
"""Maximum tokens of a sample, of all samples of a request, and of all its prompts."""
MAX_LOG_PROBS = 4_000_000
MAX_PATTERN = 10_000
"""Characters of an expression to match."""
DEFAULT_TOKENS = 16
MAX_OPTIONS = 256
"""Sets of options that need not be checked again."""
SEEDS = 2**31


@dataclass(frozen=True)
class Prompt:
    """A prompt to complete.

    Args:
        ids: its tokens (N,).
        num_opening: 1 if the first is a client's own boundary (`bos_token` of /tokenizer_info): it is then the context of the
            next token, as it is of every text, and has no log probability.
        spellings: of its tokens as the client wrote them, which join to the prompt, if some are unknown; None to decode them.
    """

    ids: npt.NDArray[np.int64]
    num_opening: int = 0
    spellings: Sequence[str] | None = None

    @property
    def text_ids(self) -> npt.NDArray[np.int64]:
        """The tokens after the boundary."""
        return self.ids[self.num_opening :]


@dataclass(frozen=True)
class CompletionRequest:
    """A checked request.

    Args:
        max_tokens: of each sample; 0 returns the prompt alone.
        num_samples: samples for each prompt.
        echo: whether the text begins with the prompt.
        logprobs: number of alternatives for each token; None for no log probabilities.
        includes_usage: whether the last event of a stream has the numbers of tokens.
    """

    prompts: Sequence[Prompt]
    options: SampleOptions
    max_tokens: int
    num_samples: int
    seed: int
    echo: bool
    logprobs: int | None
    stream: bool
    includes_usage: bool

    @classmethod
    def read(cls, body: Body, model: ServedModel) -> "CompletionRequest":
        """Check a request for a model. Raises RequestError."""
        vocab_size = len(model.tokenizer.vocabulary)
        max_tokens = body.integer("max_tokens", DEFAULT_TOKENS, at_least=0, at_most=MAX_TOKENS)
        num_samples = body.integer("n", 1, at_least=1, at_most=MAX_N)
        body.integer("best_of", None, at_least=0, at_most=num_samples)
        body.refuse_unknown(COMPLETION_FIELDS | {"best_of"}, UNSUPPORTED)
        logprobs = body.integer("logprobs", None, at_least=0, at_most=vocab_size)
        echo = body.flag("echo")
        given = body.prompts("prompt", below=vocab_size, at_most=MAX_SAMPLES)
        if len(given) * num_samples > MAX_SAMPLES:
            raise RequestError(
                f"n: found {num_samples} for {len(given)} prompts, but a request may ask for {MAX_SAMPLES} samples in all; "
                "lower n or send fewer prompts",
                param="n",
            )
        prompts = _encoded(body, given, model, scores=echo and logprobs is not None)
        options = _options(body, model, max_tokens=max_tokens, num_alternatives=logprobs or 0)
        seed = body.integer("seed", None, at_least=0, at_most=SEEDS - 1)
        seed = charnn.api.drawn_seed(options) if seed is None else seed
        stream = body.flag("stream")
        includes_usage = _includes_usage(body, stream=stream)
        asked = cls(prompts, options, max_tokens, num_samples, seed, echo, logprobs, stream, includes_usage)
        asked.check_size()
        return asked

    def check_size(self) -> None:
        """Refuse prompts that are too long, and more log probabilities than a reply can hold. Raises RequestError."""
        num_prompt = sum(len(prompt.ids) for prompt in self.prompts)
        if num_prompt > MAX_PROMPT_TOKENS:
            raise RequestError(
                f"prompt: found {num_prompt:,} tokens, but a request may have {MAX_PROMPT_TOKENS:,}; send less at a time",
                param="prompt",
            )
        num_generated = self.max_tokens * self.num_samples * len(self.prompts)
        if self.logprobs is None and num_generated > MAX_TOKENS_IN_ALL:
            raise RequestError(
                f"max_tokens: found {num_generated:,} tokens for all samples, but a request may ask for {MAX_TOKENS_IN_ALL:,}; "
                "ask for fewer tokens or samples",
                param="max_tokens",
            )
        if self.logprobs is None:
            return
        num_tokens = sum(self.max_tokens + len(prompt.ids) * self.echo for prompt in self.prompts) * self.num_samples
        num_log_probs = num_tokens * (self.logprobs + 1)
        if num_log_probs > MAX_LOG_PROBS:
            raise RequestError(
                f"logprobs: found {num_log_probs:,} log probabilities to return, but a reply has at most {MAX_LOG_PROBS:,}; "
                "ask for fewer samples, tokens or alternatives",
                param="logprobs",
            )


def _includes_usage(body: Body, *, stream: bool) -> bool:
    options = body.object("stream_options")
    if options is None:
        return False
    if not stream:
        raise RequestError(
            'stream_options: needs "stream": true; add that, or leave stream_options out', param="stream_options"
        )
    options.refuse_unknown({"include_usage"}, {"include_obfuscation": None, "continuous_usage_stats": False})
    return options.flag("include_usage")


def _encoded(body: Body, given: Sequence[str | list[int]], model: ServedModel, *, scores: bool) -> list[Prompt]:
    """Return the prompts.

    Args:
        scores: whether the prompt's tokens get log probabilities: all of them then count, unknown ones too.
    """
    on_unknown = body.choice("on_unknown", "unk" if scores else "error", get_args(OnUnknown))
    return [_prompt(each, model, on_unknown, scores=scores) for each in given]


def _prompt(given: str | list[int], model: ServedModel, on_unknown: OnUnknown, *, scores: bool) -> Prompt:
    vocabulary = model.tokenizer.vocabulary
    if isinstance(given, list):
        return Prompt(np.array(given, dtype=np.int64), num_opening=int(given[:1] == [vocabulary.boundary_id]))
    text = given if scores else charnn.api.without_trailing_space(model.tokenizer, given)
    ids = charnn.api.encode_prompt(
        model.tokenizer, text, on_unknown=on_unknown, remedy=', or send "on_unknown": "skip" or "unk"'
    )
    has_unknown = vocabulary.unknown_id is not None and bool(np.any(ids == vocabulary.unknown_id))
    return Prompt(ids, spellings=_spellings(model, text) if has_unknown else None)


def _spellings(model: ServedModel, text: str) -> list[str]:
    """Return the tokens of a text as they stand in it, each with the white space before it that belongs to no token."""
    tokens = model.tokenizer.tokenize(text)
    ends = [0, *(token.start + len(token.text) for token in tokens[:-1]), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def _options(body: Body, model: ServedModel, *, max_tokens: int, num_alternatives: int) -> SampleOptions:
    temperature = body.number("temperature", 1.0)
    filters = _filters(body) if temperature else {}
    tokens = model.tokenizer.vocabulary.tokens
    biases = body.biases("logit_bias", below=len(tokens))
    options = _checked_options(
        temperature=temperature,
        **filters,
        repetition_penalty=body.number("repetition_penalty", 1.0),
        presence_penalty=body.number("presence_penalty", 0.0),
        frequency_penalty=body.number("frequency_penalty", 0.0),
        no_repeat_ngram=body.integer("no_repeat_ngram", 0),
        logit_bias=tuple(f"{_escaped(tokens[id])}={bias!r}" for id, bias in sorted(biases.items())),
        match=_pattern(body),
        stop=tuple(_escaped(text) for text in body.texts("stop", at_most=MAX_STOPS)),
        until=body.choice("until", None, get_args(Until)),
        length=max(max_tokens, 1),
        mix_ngram=body.flag("mix_ngram"),
        show_alternatives=num_alternatives,
    )
    charnn.api.check_can_write(model.model, options)
    return options


def _filters(body: Body) -> dict[str, float | int | None]:
    """Return the filters; values that keep all tokens are those of clients that always send them.

    At temperature 0, OpenAI's servers ignore filters, and so does this one.
    """
    top_p = body.number("top_p", None)
    top_k = body.integer("top_k", None, at_least=-1)
    return {
        "top_p": LEAST_TOP_P if top_p == 0 else None if top_p == 1 else top_p,
        "top_k": top_k if top_k and top_k > 0 else None,
        "min_p": body.number("min_p", None) or None,
        "typical_p": body.number("typical_p", None) or None,
    }


def _pattern(body: Body) -> str | None:
    """Return the field `match`; a longer expression takes seconds to compile. Raises RequestError."""
    pattern = body.text("match", None)
    if pattern is not None and len(pattern) > MAX_PATTERN:
        raise RequestError(
            f"match: found {len(pattern):,} characters, but it may have {MAX_PATTERN:,}; shorten it", param="match"
        )
    return pattern


_checked_options = lru_cache(MAX_OPTIONS, typed=True)(SampleOptions)


def _escaped(text: str) -> str:
    r"""Return a text as it is written on a command line, where \n, \t and \\ are escapes."""
    return text.replace("\\", "\\\\")
