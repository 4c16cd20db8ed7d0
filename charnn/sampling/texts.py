"""Texts that continue a prompt, from a model and options alone."""

from collections.abc import Iterator

from charnn.config import SampleOptions
from charnn.inference.build import build_stepper
from charnn.inference.stepper import Stepper
from charnn.sampling.build import (
    Prompts,
    SampledText,
    build_sampler,
    check_can_write,
    check_length,
    drawn_seed,
    finished_samples,
    sample_requests,
    searches,
)
from charnn.storage.labels import with_label
from charnn.storage.model_directory import Model


def sampled_texts(model: Model, prompt: str, options: SampleOptions) -> list[SampledText]:
    """Return the samples that continue a prompt, or the hypotheses of a beam search. Raises CharnnError."""
    model, stepper, prompts = _ready(model, prompt, options)
    if options.beam is not None:
        samples = [each for search in searches(model, stepper, prompts, options) for each in search.run()]
    else:
        sampler = build_sampler(model, stepper, options)
        samples = finished_samples(sampler, sample_requests(prompts, options, drawn_seed(options)))
    return [SampledText.of(prompt, sample) for sample in samples]


def text_pieces(model: Model, prompt: str, options: SampleOptions) -> Iterator[str]:
    """Return an iterator over the pieces of a sample, as they are generated. Raises CharnnError."""
    model, stepper, prompts = _ready(model, prompt, options)
    sampler = build_sampler(model, stepper, options, keeps_history=False)
    requests = sample_requests(prompts, options, drawn_seed(options))
    return (piece.text for piece in sampler.generate(requests) if piece.text)


def _ready(model: Model, prompt: str, options: SampleOptions) -> tuple[Model, Stepper, Prompts]:
    model = with_label(model, options.label)
    check_can_write(model, options)
    check_length(options)
    stepper = build_stepper(model, weights=options.weights, device=options.device)
    return model, stepper, Prompts(model, stepper, [prompt], options)
