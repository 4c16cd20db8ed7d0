"""`charnn sample`: write new text."""

import secrets
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from charnn.cli import console
from charnn.cli.loading import load_mixture, load_model, read_prompt
from charnn.cli.options import Given, ModelArgument, with_options
from charnn.config import SampleOptions
from charnn.errors import OptionError
from charnn.options import pick

if TYPE_CHECKING:
    from charnn.runtime.sampler import Sample


@with_options(SampleOptions)
def sample(
    prompt: Annotated[
        str | None, typer.Argument(help="Text to go on from.", show_default="the start of a text")
    ] = None,
    model: ModelArgument = None,
    prompt_file: Annotated[
        str | None,
        typer.Option("--prompt-file", metavar="FILE", help="Go on from a file's text, - for standard input."),
    ] = None,
    *,
    given: Given,
) -> None:
    """Write new text: charnn sample "Once upon" -n 300 -t 0.8."""
    options = pick(SampleOptions, given)
    loaded = load_model(model)
    if loaded.architecture.direction == "backward":
        raise OptionError(
            f"-m: found {loaded.path}, which reads from right to left, but text is written from left to right; "
            "name a forward model"
        )
    text = read_prompt(prompt, prompt_file, loaded.tokenizer, options.encoding)

    from charnn.runtime.context import encode_prompt
    from charnn.runtime.engine import Engine
    from charnn.runtime.sampler import generate

    ids = encode_prompt(loaded.tokenizer, text, on_unknown=options.on_unknown)
    mixture = load_mixture(loaded, options.mix_ngram)
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    if options.seed is None and not (options.greedy or options.temperature == 0):
        console.notice(f"seed {seed}")
    pieces = generate(Engine.of(loaded), loaded.tokenizer, ids, options, seed=seed, mixture=mixture)
    prompt_shown = text if options.echo else ""
    if options.num_samples == 1 and options.format == "text":
        console.write(prompt_shown)
        last = prompt_shown
        streaming = sys.stdout.isatty()
        for _, fresh, _ in pieces:
            console.write(fresh, at_once=streaming)
            last = fresh or last
        console.write("" if last.endswith("\n") else "\n")
        return
    finished: dict[int, Sample] = {}
    next_number = 0
    for number, _, drawn in pieces:
        if drawn.ended is not None:
            finished[number] = drawn
        while next_number in finished:
            ready = finished.pop(next_number)
            if options.format == "jsonl":
                _write_record(text, ready)
            else:
                _write_text(prompt_shown, ready, next_number, heading=loaded.tokenizer.unit != "line")
            next_number += 1


def _write_record(prompt: str, drawn: "Sample") -> None:
    console.write_json(
        {
            "prompt": prompt,
            "text": drawn.text,
            "seed": drawn.seed,
            "ids": drawn.ids,
            "log_prob": drawn.log_prob_nats,
            "log_base": "e",
            "ended": drawn.ended,
        }
    )


def _write_text(prompt: str, drawn: "Sample", number: int, *, heading: bool) -> None:
    if heading:
        console.write_line(f"=== sample {number + 1}, seed {drawn.seed} ===")
    whole = prompt + drawn.text
    console.write_line(whole.removesuffix("\n") if heading else whole)
