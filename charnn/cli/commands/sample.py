"""`charnn sample`: write new text."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from charnn.cli.commands.loading import load_mixture, load_model, read_prompt, read_prompts, require_gpu
from charnn.cli.options import COMMON, Given, ModelArgument, with_options
from charnn.cli.output import console
from charnn.cli.output.interrupts import terminated_like_interrupted
from charnn.config import SampleOptions
from charnn.errors import OptionError
from charnn.files import refuse_unwritable
from charnn.options import pick, refuse_both

if TYPE_CHECKING:
    from charnn.inference.prompt import Start
    from charnn.inference.stepper import Stepper
    from charnn.storage.model_directory import Model

PROMPT_PANEL, OUTPUT_PANEL = "The prompt", "Output"


class Sources(NamedTuple):
    """Where the prompt comes from, and where its memory goes."""

    prompt: str | None
    prompt_file: str | None
    prompts: str | None
    load_state: str | None
    save_state: str | None

    def check(self, options: SampleOptions) -> None:
        """Refuse what excludes each other. Raises OptionError."""
        refuse_both("--prompt-file", None not in (self.prompt, self.prompt_file), "a PROMPT")
        refuse_both("--prompts", self.prompts is not None and self.prompt is not None, "a PROMPT")
        refuse_both("--prompts", None not in (self.prompts, self.prompt_file), "--prompt-file")
        refuse_both("--save-state", None not in (self.save_state, self.prompts), "--prompts")
        if options.length == 0 and self.save_state is None:
            raise OptionError(
                "--length: found 0, but it must be at least 1, or -1 for no end; 0 is for --save-state alone"
            )


@with_options(SampleOptions)
def sample(
    prompt: Annotated[
        str | None,
        typer.Argument(help="The text to continue, - for standard input.", show_default="the start of a text"),
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
            help="Save the hidden state after the prompt; with -n 0 only that.",
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None,
    load_state: Annotated[
        str | None,
        typer.Option(
            "--load-state",
            metavar="FILE",
            help="Start from a state saved by --save-state; the prompt continues from there.",
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write to a file, at the end and in one piece; after Ctrl-C what there is.",
            rich_help_panel=OUTPUT_PANEL,
        ),
        COMMON,
    ] = None,
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive",
            help="Pick from the most probable next tokens, or let it run; undo, and try again.",
            rich_help_panel=OUTPUT_PANEL,
        ),
        COMMON,
    ] = False,
    *,
    given: Given,
) -> None:
    """Write new text: charnn sample "Once upon" -n 300 -t 0.8.

    Rules and filters apply in this order: penalties, --logit-bias, --allow and --ban, --no-repeat-ngram and --match,
    --temperature, --top-k, --typical-p, --top-p, --min-p.
    """
    options = pick(SampleOptions, given)
    sources = Sources(prompt, prompt_file, prompts, load_state, save_state)
    output = None if output in ("-", "/dev/stdout") else output
    sources.check(options)
    if interactive:
        _refuse_beside_interactive(sources, options, output)
    if options.length == 0:
        _refuse_without_text(options, output, interactive=interactive)
    loaded = load_model(model)
    if loaded.architecture.direction == "backward":
        raise OptionError(
            f"-m: found {loaded.path}, which reads from right to left, but text is written from left to right; "
            "name a forward model"
        )
    if options.until == "unit" and loaded.tokenizer.unit == "stream":
        raise OptionError(
            f"--until unit: found {loaded.path}, a model of one running text, which has no units; "
            "leave it out, or train with --unit line or document"
        )

    stepper = _stepper(loaded, options)
    reader = _Reader(loaded, stepper, sources, options)
    if save_state is not None:
        _save_state(loaded, reader, save_state)
        if options.length == 0:
            return
    if interactive:
        from charnn.cli.commands.sample_interactive import write_by_hand

        write_by_hand(loaded, stepper, reader.texts[0], next(reader.starts()), options)
        return
    _write(loaded, stepper, reader, options, output)


def _stepper(model: "Model", options: SampleOptions) -> "Stepper":
    """Return what reads the model's tokens, on NumPy unless the user wants otherwise.

    Raises:
        OptionError: for a network that has no other way.
        CharnnError: where there is no such device.
    """
    from charnn.inference.engine import Engine
    from charnn.inference.numpy_steppers import is_fused
    from charnn.inference.stepper import stepper_for

    engine = Engine.of(model)
    state = engine.initial_state()
    if options.weights == "fp32" and options.device == "cpu":
        return stepper_for(engine, state)
    if not is_fused(model.architecture):
        raise OptionError(
            f"--weights and --device: are for lstm, gru and rnn without --skip and --residual, but {model.path} is another "
            f"network ({model.architecture.cell}); leave them out"
        )
    if options.device == "cuda":
        require_gpu()

        import torch

        from charnn.inference.torch_stepper import TorchStepper

        dtype = torch.bfloat16 if options.weights == "bf16" else torch.float32
        return TorchStepper(engine, state, device="cuda", dtype=dtype)
    from charnn.inference.quantization import in_bf16, in_int8

    return stepper_for(engine, state, keep_matrix=in_bf16 if options.weights == "bf16" else in_int8)


def _write(model: "Model", stepper: "Stepper", reader: "_Reader", options: SampleOptions, file: str | None) -> None:
    """Write all samples, and what there is of them where the user interrupts or something goes wrong."""
    from charnn.cli.output.sample_output import SampleOutput
    from charnn.sampling.sampler import Sampler
    from charnn.sampling.streams import Plan

    mixture = load_mixture(model, options.mix_ngram)
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    with SampleOutput(model, options, reader.texts, file) as written:
        if options.beam is not None:
            from charnn.sampling.beam import BeamSearch

            for number, start in enumerate(reader.starts()):
                search = BeamSearch(stepper, model.tokenizer, start, options, mixture=mixture)
                with terminated_like_interrupted():
                    try:
                        written.take_all(number, search.run())
                    except KeyboardInterrupt:
                        written.take_all(number, search.end("interrupted"))
                        raise
            return
        keeps = options.most_tokens is not None or not written.only_streams
        sampler = Sampler(
            stepper,
            model.tokenizer,
            options,
            mixture=mixture,
            keeps_history=keeps,
        )
        if options.seed is None and options.draws:
            console.notice(f"seed {seed}")
        plans = (
            Plan(start, seed + number * options.num_samples + place)
            for number, start in enumerate(reader.starts())
            for place in range(options.num_samples)
        )
        with terminated_like_interrupted():
            try:
                for piece in sampler.write(plans):
                    written.take(piece)
            except BaseException:
                for piece in sampler.interrupt():
                    written.take(piece)
                raise


class _Reader:
    """The prompts, encoded at once, so that what is wrong with one is said before anything is written; read one by one."""

    def __init__(self, model: "Model", stepper: "Stepper", sources: Sources, options: SampleOptions) -> None:
        from charnn.inference.prompt import encode_prompt, without_gap
        from charnn.inference.prompt_state import load_start

        self._tokenizer, self._stepper = model.tokenizer, stepper
        self._after = None
        if sources.load_state is not None:
            self._after = load_start(Path(sources.load_state), model, stepper.state())
        if sources.prompts is None:
            self.texts = [read_prompt(sources.prompt, sources.prompt_file, self._tokenizer, options.encoding)]
            names = ["prompt" if sources.prompt_file is None else sources.prompt_file]
        else:
            self.texts = read_prompts(sources.prompts, self._tokenizer, options.encoding)
            names = [f"{sources.prompts}:{number}" for number in range(1, len(self.texts) + 1)]
        self._first: Start | None = None
        encoded = self.texts if self._after is None else [without_gap(self._tokenizer, text) for text in self.texts]
        self._ids = [
            encode_prompt(self._tokenizer, text, on_unknown=options.on_unknown, name=name)
            for name, text in zip(names, encoded, strict=True)
        ]

    def starts(self) -> "Iterator[Start]":
        """Yield what the model knows after each prompt."""
        from charnn.inference.prompt import read_start

        for number, ids in enumerate(self._ids):
            if number or self._first is None:
                start = read_start(self._stepper, self._tokenizer, ids, after=self._after)
            else:
                start = self._first
            if number == 0:
                self._first = start
            yield start


def _save_state(model: "Model", reader: _Reader, file: str) -> None:
    from charnn.cli.output.console import counted
    from charnn.inference.prompt_state import save_start

    refuse_unwritable(Path(file))
    start = next(reader.starts())
    save_start(Path(file), model, start)
    console.notice(
        f"kept the memory of {counted(len(start.ids) - 1, 'token')} in {file}; go on from it with --load-state {file}"
    )


def _refuse_beside_interactive(sources: Sources, options: SampleOptions, output: str | None) -> None:
    """Refuse what a session by hand has no use for. Raises OptionError."""
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
    }
    for flag, given in others.items():
        refuse_both(flag, given, "--interactive")


def _refuse_without_text(options: SampleOptions, output: str | None, *, interactive: bool) -> None:
    """Refuse what has nothing to do where no text is written. Raises OptionError."""
    others = {
        "--interactive": interactive,
        "--beam": options.beam is not None,
        "--novelty": options.novelty,
        "--output": output is not None,
    }
    for flag, given in others.items():
        refuse_both(flag, given, "--length 0")
