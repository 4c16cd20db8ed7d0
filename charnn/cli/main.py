"""The entry point: registers the commands, and turns errors into one line and an exit status."""

import re
import sys
from typing import Annotated

import typer

import charnn
from charnn.cli.output import console
from charnn.cli.registry import LazyGroup, add_commands
from charnn.cli.usage_errors import usage_message
from charnn.errors import CharnnError, OptionError

app = typer.Typer(
    name="charnn",
    cls=LazyGroup,
    help="Train a recurrent language model on your own text, sample from it, and compute the probability of a sentence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
add_commands(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.write_line(f"charnn {charnn.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Train a recurrent language model on your own text, sample from it, and compute the probability of a sentence."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0, 1 for an error in the input, 2 for wrong usage, 128 + the signal when interrupted."""
    console.prepare_streams()
    arguments = [
        charnn.api.whole_characters(argument) for argument in (sys.argv[1:] if arguments is None else arguments)
    ]
    if arguments[:1] == ["train"] and charnn.api.is_follower():
        console.silence()  # the first rank says the same
    try:
        with console.library_notices():
            status = app(arguments or ["--help"], prog_name="charnn", standalone_mode=False)
        console.finish_streams()
    except Exception as error:
        console.discard_failures()
        if "--debug" in arguments and not isinstance(error, typer.TyperException):
            raise
        message, status = _explained(error, command=arguments[0] if arguments else "")
        console.notice(_one_line(message))
    sys.exit(status or 0)


def _explained(error: Exception, *, command: str) -> tuple[str, int]:
    """Return what to say about an error, and the exit status."""
    if isinstance(error, typer.TyperException):
        return f"error: {usage_message(error)}", OptionError.exit_status
    if isinstance(error, CharnnError):
        return f"error: {error}", error.exit_status
    if isinstance(error, OSError):
        if not charnn.api.has_working_directory():
            return f"error: {charnn.api.WORKING_DIRECTORY_IS_GONE}", 1
        where = f"{error.filename}: " if error.filename else ""
        return f"error: {where}{error.strerror or error}; correct this and run the command again", 1
    if memory := _exhausted_memory(error):
        return f"error: there is not enough {memory}; {_memory_remedy(memory, command)}", 1
    return (
        f"internal error: {type(error).__name__}: {error}; run the command again with --debug and report what it shows",
        1,
    )


def _memory_remedy(memory: str, command: str) -> str:
    if command == "train":
        return "use a smaller --hidden-size, --batch-size, --bptt or, for words and subwords, --vocab-size"
    return "close other programs, or " + ("leave out --device cuda" if "GPU" in memory else "use a machine with more")


def _exhausted_memory(error: Exception) -> str | None:
    """Return which memory there is too little of, if the error says that, in torch's words or Python's."""
    if "CUDA out of memory" in str(error):
        return "GPU memory"
    return "memory" if isinstance(error, MemoryError) or "can't allocate memory" in str(error) else None


def _one_line(message: str) -> str:
    """Return a message in one line; bytes that are not UTF-8, as Python spells them in quoted texts, are written plainly."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", " ".join(message.split("\n")))
