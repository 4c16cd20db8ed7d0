"""`charnn sample --interactive`: a user and a model take turns choosing tokens."""

import math
import signal
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console
from charnn.cli.output.alternatives import color_of
from charnn.config import SampleOptions
from charnn.errors import CharnnError
from charnn.interrupts import signal_of, terminated_like_interrupted

if TYPE_CHECKING:
    from charnn.inference.stepper import Stepper
    from charnn.sampling.build import Prompts
    from charnn.sampling.interactive import InteractiveWriter
    from charnn.storage.model_directory import Model

EXPECTED = {"r": "a number above 0, or nothing", "u": "a number above 0, or nothing", "t": "a number", "i": "a text"}
CHOICES, RUN_LENGTH = 10, 40
HELP = (
    "number: choose that token   Enter: sample one   r [N]: sample N tokens   u [N]: undo N turns   x: retry the last turn\n"
    "t T: temperature T   i TEXT: insert a text   p: print the whole text   ?: this help   q: quit"
)


def write_interactively(model: "Model", stepper: "Stepper", prompts: "Prompts", options: SampleOptions) -> None:
    """Take turns with the user until they quit or interrupt; the text is the result."""
    seed = charnn.api.drawn_seed(options)
    mixture = charnn.api.read_sampling_mixture(model, options)
    adapted = charnn.api.adapted_prompts(model, stepper, options)
    request = charnn.api.SampleRequest(next(prompts.states()), seed, prompts.whole_text)
    writer = charnn.api.InteractiveWriter(stepper, model.tokenizer, request, options, mixture=mixture, adapted=adapted)
    shown_prompt = prompts.texts[0] if options.echo else ""
    screen = _Screen(model, writer, shown_prompt)
    console.prepare_input()
    console.to_user(HELP)
    try:
        with terminated_like_interrupted():
            _take_turns(screen)
    finally:
        writer.finish()
        console.write_line(shown_prompt + writer.text)


def _take_turns(screen: "_Screen") -> None:
    while True:
        screen.show()
        line = console.ask("> ")
        if line is None or line.strip() == "q":
            return
        try:
            screen.obey(line)
        except CharnnError as error:
            console.to_user(str(error))
        except KeyboardInterrupt as interrupt:
            if signal_of(interrupt) != signal.SIGINT:
                raise
            console.to_user("stopped; u undoes this turn, Ctrl-C again ends the session")


class _Screen:
    def __init__(self, model: "Model", writer: "InteractiveWriter", prompt: str) -> None:
        self._tokens, self._kind = model.tokenizer.vocabulary.tokens, model.tokenizer.kind
        self._writer, self._prompt = writer, prompt
        self._choices: list[int] = []

    def show(self) -> None:
        """Show the end of the text, and the most probable next tokens."""
        width = console.error_console().width
        tail = (self._prompt + self._writer.text)[-3 * width :]
        console.to_user(console.new_text("\n", tail, ("\u2588", "blink")))
        if self._writer.ended is not None:
            self._choices = []
            console.to_user(f"the text has ended ({self._writer.ended}); u undoes the last turn, q quits")
            return
        alternatives = self._writer.alternatives(CHOICES)
        self._choices = [id for id, _ in alternatives]
        rows = [console.new_text()]
        for number, (id, nats) in enumerate(alternatives, start=1):
            prob = math.exp(nats)
            choice = console.new_text(
                (f"{number} ", "dim"),
                (console.visible(charnn.api.as_text(self._tokens[id], self._kind)), f"bold {color_of(prob)}"),
                (f" {prob:.2f}".replace(" 0.", " ."), "dim"),
            )
            if rows[-1].cell_len + choice.cell_len > width:
                rows.append(console.new_text())
            rows[-1].append_text(choice).append("   ")
        for row in rows:
            row.rstrip()
            console.to_user(row)

    def obey(self, line: str) -> None:
        """Execute a line that the user typed."""
        command, _, rest = line.lstrip().partition(" ")
        if command == "i" and rest:
            self._writer.insert(rest)
        elif command == "t" and _number(rest) is not None:
            self._writer.set_temperature(float(rest))
            console.to_user(f"temperature {self._writer.temperature:g}; x retries the last turn with it")
        elif command == "p":
            console.to_user(self._prompt + self._writer.text)
        elif command == "x":
            if not self._writer.again():
                console.to_user("there is no turn to retry")
        elif command == "u" and _count(rest, 1) is not None:
            num_tokens = self._writer.undo(_count(rest, 1) or 1)
            taken = f"removed {console.counted(num_tokens, 'token')}"
            console.to_user(taken if num_tokens else "there is nothing to undo")
        elif command == "" or (command == "r" and _count(rest, RUN_LENGTH) is not None):
            self._writer.run(_count(rest, RUN_LENGTH) or RUN_LENGTH if command else 1)
        elif command.isdecimal() and not rest and 1 <= int(command) <= len(self._choices):
            self._writer.take(self._choices[int(command) - 1])
        elif command.isdecimal():
            wanted = (
                f"choose 1 to {len(self._choices)}" if self._choices else "the text has ended; u undoes the last turn"
            )
            console.to_user(f"found {line!r}: {wanted}")
        elif command in EXPECTED:
            console.to_user(f"found {line!r}, but {command} takes {EXPECTED[command]}")
        else:
            console.to_user(f"found {line!r}, which is not a command\n{HELP}" if command != "?" else HELP)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _count(text: str, default: int) -> int | None:
    """Return a count above 0, the default for an empty text, None for anything else."""
    text = text.strip()
    if not text:
        return default
    return int(text) if text.isdecimal() and int(text) > 0 else None
