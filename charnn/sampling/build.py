"""Samplers from a model, prompts and options."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from charnn.config import SampleOptions
from charnn.errors import ModelError, OptionError
from charnn.inference.engine import Engine
from charnn.inference.prompt import (
    PromptState,
    encode_prompt,
    prefill,
    stable_beginning,
    without_trailing_space,
)
from charnn.inference.prompt_state import load_prompt_state, save_prompt_state
from charnn.inference.stepper import Stepper
from charnn.options import checked_text
from charnn.sampling.adapting import adapted_prompts
from charnn.sampling.beam import BeamSearch
from charnn.sampling.sampler import Sampler, generate_sample
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import Sample, SampleRequest
from charnn.storage.mixture import read_sampling_mixture
from charnn.storage.model_directory import Model
from charnn.text.bins import KIND

SHORT_LENGTH = 160
"""Tokens of a sample during training."""


def check_can_write(model: Model, options: SampleOptions) -> None:
    """Refuse a model that cannot generate text as the options require. Raises OptionError.

    Example:
        >>> charnn.api.check_can_write(model.models[0], SampleOptions())
    """
    if model.architecture.direction == "backward":
        raise OptionError(
            f"{model.path}: reads from right to left, but text is written from left to right; use a forward model"
        )
    if model.tokenizer.kind == KIND:
        _refuse_characters(model, options)
    elif options.forecast:
        raise ModelError(f"{model.path}: is a model of text, but --forecast needs one of numbers (--tokenizer bins)")
    elif options.column is not None:
        raise OptionError(f"--column: found {model.path}, a model of text; leave it out, and name a file of text")
    if options.until == "unit" and model.tokenizer.unit == "stream":
        raise OptionError(
            f"--until unit: found {model.path}, a model of one running text, which has no units; "
            "leave it out, or train with --unit line, document or tune"
        )


def check_length(options: SampleOptions) -> None:
    """Refuse samples without a token, which would never end. Raises OptionError."""
    if options.length == 0:
        raise OptionError("--length: found 0, but it must be at least 1, or -1 for no limit")


def _refuse_characters(model: Model, options: SampleOptions) -> None:
    """Refuse options about the characters of a text for a model of numbers. Raises OptionError."""
    of_characters = {
        "--allow": options.allow is not None,
        "--ban": options.ban is not None,
        "--match": options.match is not None,
        "--stop": bool(options.stop),
        f"--until {options.until}": options.until in ("sentence", "line"),
    }
    for flag, is_set in of_characters.items():
        if is_set:
            raise OptionError(
                f"{flag}: found {model.path}, a model of numbers, which have no characters; leave it out, or name bins with "
                "--ban-token"
            )


class Prompts:
    """Prompts, all encoded first, so that an error in one is raised before anything is generated; read one by one.

    Args:
        names: the source of each, for messages.
        after: a file that holds the state which they continue from (see `charnn.inference.prompt_state`).

    Example:
        >>> prompts = charnn.api.Prompts(model.models[0], stepper, ["The fox"], SampleOptions())
    """

    def __init__(
        self,
        model: Model,
        stepper: Stepper,
        texts: Sequence[str],
        options: SampleOptions,
        *,
        names: Sequence[str] = ("prompt",),
        after: Path | None = None,
    ) -> None:
        self._model, self._tokenizer, self._stepper = model, model.tokenizer, stepper
        self._on_unknown = options.on_unknown
        self._known: PromptState | None = None
        self._first: PromptState | None = None
        self._before = ""
        self._earlier: npt.NDArray[np.int64] | None = None
        if after is not None:
            saved = load_prompt_state(after, model, stepper.state())
            self._known = saved.state
            if saved.text is None:
                self._earlier = np.array(saved.state.ids[1:], dtype=np.int64)
            else:
                self._before = saved.text
        self._given = texts
        self.texts: list[str] = []
        self._ids: list[npt.NDArray[np.int64]] = []
        for name, text in zip(names, texts, strict=True):
            whole = without_trailing_space(self._tokenizer, self._before + checked_text(text, name))
            self.texts.append(whole[len(self._before) :])
            ids = self._encode(whole, name)
            self._ids.append(ids if self._earlier is None else np.concatenate((self._earlier, ids)))

    def _encode(self, text: str, name: str = "prompt") -> npt.NDArray[np.int64]:
        return encode_prompt(self._tokenizer, text, on_unknown=self._on_unknown, offset=-len(self._before), name=name)

    @property
    def whole_text(self) -> str | None:
        """The first prompt as it was given, after the text of the file that it continues, if that is known."""
        return None if self._earlier is not None else self._before + self._given[0]

    def states(self) -> Iterator[PromptState]:
        """Yield the model's state after each prompt."""
        for index, ids in enumerate(self._ids):
            state = self._first if index == 0 else None
            if state is None:
                state = prefill(self._stepper, self._tokenizer, ids, known=self._known)
            if index == 0:
                self._first = state
            yield state

    def save(self, path: Path) -> int:
        """Save the state after the first prompt, from which others can continue; return its number of tokens.

        Raises:
            StorageError: if the file cannot be written.
        """
        text = self._before + self._given[0]
        beginning = self._encode(stable_beginning(self._tokenizer, text))
        state = prefill(self._stepper, self._tokenizer, beginning, known=self._known)
        save_prompt_state(path, self._model, state, text=text)
        return len(self._encode(text))


def build_sampler(model: Model, stepper: Stepper, options: SampleOptions, *, keeps_history: bool = True) -> Sampler:
    """Return a sampler.

    Args:
        keeps_history: whether samples store their text and tokens, which one that is only streamed need not.

    Example:
        >>> sampler = charnn.api.build_sampler(model.models[0], stepper, options)
        >>> for update in sampler.generate(charnn.api.sample_requests(prompts, options, seed=7)):
        ...     print(update.text, end="")
    """
    stores_all = options.max_tokens is not None or keeps_history
    mixture = read_sampling_mixture(model, options)
    adapted = adapted_prompts(model, stepper, options)
    streams = StreamSampler(
        stepper, model.tokenizer, options, mixture=mixture, adapted=adapted, keeps_history=stores_all
    )
    return Sampler(streams)


def drawn_seed(options: SampleOptions) -> int:
    """Return the seed of the first sample: that of the options, or any.

    Example:
        >>> charnn.api.drawn_seed(SampleOptions(seed=7))
        7
    """
    return secrets.randbelow(2**31) if options.seed is None else options.seed


def sample_requests(prompts: Prompts, options: SampleOptions, seed: int) -> Iterator[SampleRequest]:
    """Yield the requests: sample number i follows prompt i // `num_samples`, and has the seed + i.

    Example:
        >>> next(charnn.api.sample_requests(prompts, SampleOptions(num_samples=3), seed=7)).seed
        7
    """
    for number, state in enumerate(prompts.states()):
        for index in range(options.num_samples):
            yield SampleRequest(state, seed + number * options.num_samples + index)


def searches(model: Model, stepper: Stepper, prompts: Prompts, options: SampleOptions) -> Iterator[BeamSearch]:
    """Yield a beam search for each prompt, which finds `num_samples` texts, or as many as there are.

    Example:
        >>> next(charnn.api.searches(model.models[0], stepper, prompts, SampleOptions(beam=4))).run()[0].text
    """
    mixture = read_sampling_mixture(model, options)
    for state in prompts.states():
        yield BeamSearch(stepper, model.tokenizer, state, options, mixture=mixture)


def short_sample(model: Model, *, length: int = SHORT_LENGTH) -> str:
    """Return a short sample from a model that may still be in training; nothing by one whose weights are not finite.

    Example:
        >>> charnn.api.short_sample(model.models[0], length=80)
    """
    if not all(np.isfinite(array).all() for array in model.weights.values()):
        return ""
    options = SampleOptions(length=length, temperature=0.8)
    with np.errstate(over="ignore", invalid="ignore"):  # overflows where training diverged
        sample = generate_sample(Engine.of(model), model.tokenizer, options, seed=model.config.seed)
    if model.architecture.direction == "forward":
        return sample.text
    decoder = model.tokenizer.decoder()
    return "".join(decoder.push(id) for id in reversed(sample.ids)) + decoder.flush()


def finished_samples(sampler: Sampler, requests: Iterable[SampleRequest]) -> list[Sample]:
    """Return all samples in the order of their requests, once they are complete."""
    done: dict[int, Sample] = {}
    for update in sampler.generate(requests):
        if update.sample.ended is not None:
            done[update.number] = update.sample
    return [done[number] for number in sorted(done)]


@dataclass(frozen=True)
class SampledText:
    """A text that a model generated.

    Args:
        prompt: what it continues.
        text: the generated text, without the prompt.
        ids: its tokens.
        log_prob_nats: log probability of all tokens drawn, before filters and temperature.
        perplexity: e to the mean loss of a token drawn; None where none was.
        seed: of its draws.
        ended: why it ended: "length", "stop", "unit" and so on.

    Example:
        >>> model.sample("The fox", length=200, seed=7).perplexity
    """

    prompt: str
    text: str
    ids: tuple[int, ...]
    log_prob_nats: float
    perplexity: float | None
    seed: int
    ended: str | None

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name."""
        return asdict(self)

    @classmethod
    def of(cls, prompt: str, sample: Sample) -> Self:
        """Return a sample as it is now."""
        return cls(
            prompt,
            sample.text,
            tuple(sample.ids),
            sample.log_prob_nats,
            sample.perplexity,
            sample.seed,
            sample.ended,
        )

    def __str__(self) -> str:
        return self.prompt + self.text
