"""`charnn sample`: generate text."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

import charnn
from charnn.cli.commands.loading import load_model
from charnn.cli.commands.sample_forecast import write_forecast
from charnn.cli.commands.sample_interactive import write_interactively
from charnn.cli.options import COMMON, ModelArgument, Overrides, with_options
from charnn.cli.output import console
from charnn.cli.output.midi_output import MidiOutput
from charnn.cli.output.sample_output import SampleOutput
from charnn.cli.targets import check_targets
from charnn.config import SampleOptions
from charnn.config.forecast import FORECAST_SAMPLES, FORECAST_STEPS
from charnn.errors import OptionError
from charnn.interrupts import terminated_like_interrupted
from charnn.options import pick, refuse_all, refuse_both, refuse_unused

if TYPE_CHECKING:
    from charnn.inference.stepper import Stepper
    from charnn.sampling.build import Prompts
    from charnn.storage.model_directory import Model

PROMPT_PANEL, OUTPUT_PANEL = "The prompt", "Output"


class PromptArguments(NamedTuple):
    """The sources of the prompt and of the hidden state, and the file for the state after it."""

    prompt: str | None
    prompt_file: str | None
    prompts: str | None
    load_state: str | None
    save_state: str | None

    def check(self, options: SampleOptions) -> None:
        """Refuse mutually exclusive sources. Raises OptionError."""
        refuse_both("--prompt-file", None not in (self.prompt, self.prompt_file), "a PROMPT")
        refuse_both("--prompts", self.prompts is not None and self.prompt is not None, "a PROMPT")
        refuse_both("--prompts", None not in (self.prompts, self.prompt_file), "--prompt-file")
        refuse_both("--save-state", None not in (self.save_state, self.prompts), "--prompts")
        if options.length == 0 and self.save_state is None:
            raise OptionError(
                "--length: found 0, but it must be at least 1, or -1 for no limit; 0 requires --save-state"
            )

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a prompt nor a state."""
        return all(
            value is None for value in (self.prompt, self.prompt_file, self.prompts, self.load_state, self.save_state)
        )

    def check_targets(self, output: str | None, midi: str | None, svg: str | None) -> None:
        """Refuse output files that are read or belong to a model; a state may be updated in place. Raises CharnnError."""
        texts = [name for name in (self.prompt_file, self.prompts, "-" if self.prompt == "-" else None) if name]
        written = {"--output": output, "--midi": midi, "--svg": svg}
        check_targets({"--save-state": self.save_state, **written}, sources=texts)
        check_targets(written, sources=[self.load_state])


@with_options(SampleOptions)
def sample(
    prompt: Annotated[
        str | None,
        typer.Argument(help="The text to continue, - for standard input.", show_default="the beginning of a text"),
    ] = None,
    model: ModelArgument = None,
    prompt_file: Annotated[
        str | None,
        typer.Option(
            "--prompt-file",
            metavar="FILE",
            help="Continue the text of a file, - for standard input.",
            rich_help_panel=PROMPT_PANEL,
        ),
        COMMON,
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help="Continue each line of a file, - for standard input.",
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None,
    save_state: Annotated[
        str | None,
        typer.Option(
            "--save-state",
            metavar="FILE",
            help="Save the hidden state after the prompt; with -n 0, generate nothing.",
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None,
    load_state: Annotated[
        str | None,
        typer.Option(
            "--load-state",
            metavar="FILE",
            help="Start from the hidden state saved by --save-state, then read the prompt.",
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the samples to a file when all are complete; after Ctrl-C, those generated so far.",
            rich_help_panel=OUTPUT_PANEL,
        ),
        COMMON,
    ] = None,
    midi: Annotated[
        str | None,
        typer.Option(
            "--midi",
            metavar="FILE",
            help="Also write the samples of a model of tunes as music, one after the other; needs music21.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    svg: Annotated[
        str | None,
        typer.Option(
            "--svg", metavar="FILE", help="Draw the forecast as an SVG picture, too.", rich_help_panel=OUTPUT_PANEL
        ),
    ] = None,
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive",
            help="Choose tokens from the most probable ones, or sample; turns can be undone and retried.",
            rich_help_panel=OUTPUT_PANEL,
        ),
        COMMON,
    ] = False,
    *,
    overrides: Overrides,
) -> None:
    """Generate text: charnn sample "Once upon" -n 300 -t 0.8.

    Penalties, constraints and filters apply in this order: penalties, --logit-bias, --allow and --ban, --no-repeat-ngram and
    --match, --temperature, --top-k, --typical-p, --top-p, --min-p.
    """
    if overrides.get("forecast"):
        overrides = {"num_samples": FORECAST_SAMPLES, "length": FORECAST_STEPS, **overrides}
    options = pick(SampleOptions, overrides)
    sources = PromptArguments(prompt, prompt_file, prompts, load_state, save_state)
    output = None if output in ("-", "/dev/stdout") else output
    sources.check(options)
    refuse_unused("--svg", svg is not None and not options.forecast, "--forecast")
    refuse_unused("--column", options.column is not None and prompt_file is None, "--prompt-file")
    if options.forecast:
        others = {"--prompts": prompts is not None, "--interactive": interactive, "--midi": midi is not None}
        refuse_all({**others, "--length 0": options.length == 0}, "--forecast")
    if interactive:
        _refuse_beside_interactive(sources, options, output, midi)
    if options.length == 0:
        _refuse_without_text(options, output, midi, interactive=interactive)
    refuse_both("--midi", None not in (midi, load_state), "--load-state, whose text is not known")
    loaded = charnn.api.with_label(load_model(model), options.label)
    sources.check_targets(output, midi, svg)
    if svg is not None and Path(svg).suffix.lower() not in ("", ".svg"):
        raise OptionError(f"--svg: found {svg}, but the picture is SVG; give the file a name that ends in .svg")
    charnn.api.check_can_write(loaded, options)
    stepper = charnn.api.build_stepper(loaded, weights=options.weights, device=options.device)
    if options.forecast and sources.is_empty:
        write_forecast(loaded, stepper, None, options, svg, output)
        return
    prompts_read = _read_prompts(loaded, stepper, sources, options)
    if save_state is not None:
        _save_state(prompts_read, save_state)
        if options.length == 0:
            return
    if options.forecast:
        write_forecast(loaded, stepper, prompts_read, options, svg, output)
        return
    if interactive:
        write_interactively(loaded, stepper, prompts_read, options)
        return
    heard = None if midi is None else MidiOutput(loaded, prompts_read.texts, options.num_samples, midi)
    _write(loaded, stepper, prompts_read, options, output, heard)
    if heard is not None:
        heard.write()


def _read_prompts(model: "Model", stepper: "Stepper", sources: PromptArguments, options: SampleOptions) -> "Prompts":
    encoding = options.encoding
    if sources.prompts is None:
        file = "-" if sources.prompt == "-" else sources.prompt_file
        texts = [sources.prompt or "" if file is None else _read_file(file, model, options)]
        names = ["prompt" if sources.prompt_file is None else charnn.api.display_name(sources.prompt_file)]
    else:
        texts = charnn.api.read_prompts(sources.prompts, model.tokenizer, encoding=encoding)
        name = charnn.api.display_name(sources.prompts)
        names = [f"{name}:{number}" for number in range(1, len(texts) + 1)]
    after = None if sources.load_state is None else Path(sources.load_state)
    return charnn.api.Prompts(model, stepper, texts, options, names=names, after=after)


def _read_file(file: str, model: "Model", options: SampleOptions) -> str:
    if model.tokenizer.kind != "bins":
        return charnn.api.read_prompt(file, model.tokenizer, encoding=options.encoding)
    trained_on = model.config.asked.text.column
    return charnn.api.read_series(
        file, model.tokenizer, column=options.column, trained_on=trained_on, encoding=options.encoding
    )


def _write(
    model: "Model",
    stepper: "Stepper",
    prompts: "Prompts",
    options: SampleOptions,
    file: str | None,
    heard: MidiOutput | None,
) -> None:
    """Write all samples; after an interrupt or error, those generated so far."""
    seed = charnn.api.drawn_seed(options)
    with SampleOutput(model, options, prompts.texts, file) as written:
        if options.beam is not None:
            for number, search in enumerate(charnn.api.searches(model, stepper, prompts, options)):
                with terminated_like_interrupted():
                    try:
                        found = search.run()
                        written.take_all(number, found)
                    except KeyboardInterrupt:
                        written.take_all(number, search.end("interrupted"))
                        raise
                for index, sample in enumerate(found):
                    if heard is not None:
                        heard.take(number * options.num_samples + index, sample)
            return
        sampler = charnn.api.build_sampler(
            model, stepper, options, keeps_history=not written.only_streams or heard is not None
        )
        if options.seed is None and options.draws:
            console.notice(f"seed {seed}")
        with terminated_like_interrupted():
            try:
                for piece in sampler.generate(charnn.api.sample_requests(prompts, options, seed)):
                    written.take(piece)
                    if heard is not None:
                        heard.take(piece.number, piece.sample)
            except BaseException:
                for piece in sampler.interrupt():
                    written.take(piece)
                raise


def _save_state(prompts: "Prompts", file: str) -> None:
    num_tokens = prompts.save(Path(file))
    console.notice(
        f"saved the hidden state after {console.counted(num_tokens, 'token')} in {file}; "
        f"continue from it with --load-state {shlex.quote(file)}"
    )


def _refuse_beside_interactive(
    sources: PromptArguments, options: SampleOptions, output: str | None, midi: str | None
) -> None:
    """Refuse options that have no effect in interactive mode. Raises OptionError."""
    others = {
        "--prompts": sources.prompts is not None,
        "a prompt from standard input": "-" in (sources.prompt, sources.prompt_file),
        "--length": options.length not in (None, 0),
        "--show-alternatives": options.show_alternatives > 0,
        "--final-temperature": options.final_temperature is not None,
        "--beam": options.beam is not None,
        "--num-samples": options.num_samples > 1,
        "--format jsonl": options.format != "text",
        "--novelty": options.novelty,
        "--output": output is not None,
        "--midi": midi is not None,
    }
    for flag, is_set in others.items():
        refuse_both(flag, is_set, "--interactive")


def _refuse_without_text(options: SampleOptions, output: str | None, midi: str | None, *, interactive: bool) -> None:
    """Refuse options that have no effect where no text is generated. Raises OptionError."""
    others = {
        "--interactive": interactive,
        "--beam": options.beam is not None,
        "--novelty": options.novelty,
        "--output": output is not None,
        "--midi": midi is not None,
    }
    for flag, is_set in others.items():
        refuse_both(flag, is_set, "--length 0")
