"""Sampling options: token selection, constraints, beam search, stopping, prompts, output."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.config.adaptation import WrittenAdaptationOptions
from charnn.config.labels import WrittenLabelOptions
from charnn.config.output import OutputOptions
from charnn.errors import OptionError
from charnn.options import Checked, Option, refuse_all, refuse_both, refuse_unused

OnUnknown = Literal["error", "skip", "unk"]
WeightFormat = Literal["fp32", "bf16", "int8"]
Device = Literal["cpu", "cuda"]
Until = Literal["sentence", "line", "unit"]
MixNgram = Annotated[bool, Option("Interpolate with the n-gram model.", flags=("--mix-ngram",), common=True)]
PromptOnUnknown = Annotated[OnUnknown, Option("How to handle unknown tokens in a prompt.", flags=("--on-unknown",))]

LENGTH, LENGTH_UNTIL = 500, 5000
MAX_TEMPERATURE = 10_000.0
ENDLESS = -1

SPEED, SELECTION, SEARCH, CONSTRAINTS, STOPPING, PROMPT = (
    "Speed",
    "Token selection",
    "Beam search",
    "Penalties and constraints",
    "Stopping",
    "The prompt",
)


@dataclass(frozen=True, kw_only=True)
class TokenSelectionOptions(Checked):
    """Token selection."""

    temperature: Annotated[
        float,
        Option(
            "Softmax temperature; 0 is equivalent to --greedy.",
            flags=("-t", "--temperature"),
            at_least=0,
            at_most=MAX_TEMPERATURE,
            panel=SELECTION,
            common=True,
        ),
    ] = 1.0
    final_temperature: Annotated[
        float | None,
        Option(
            "Change the temperature linearly to this value over the length of the sample.",
            at_least=0,
            at_most=MAX_TEMPERATURE,
            automatic="--temperature throughout",
            panel=SELECTION,
        ),
    ] = None
    greedy: Annotated[bool, Option("Always select the most probable token.", panel=SELECTION)] = False
    top_k: Annotated[
        int | None,
        Option("Sample from the k most probable tokens.", at_least=1, automatic="all", panel=SELECTION, common=True),
    ] = None
    typical_p: Annotated[
        float | None,
        Option(
            "Locally typical sampling: the tokens with a surprisal closest to the entropy, until their probabilities sum to p.",
            above=0,
            at_most=1,
            automatic="all",
            panel=SELECTION,
        ),
    ] = None
    top_p: Annotated[
        float | None,
        Option(
            "Nucleus sampling: the most probable tokens, until their probabilities sum to p.",
            above=0,
            at_most=1,
            automatic="all",
            panel=SELECTION,
            common=True,
        ),
    ] = None
    min_p: Annotated[
        float | None,
        Option(
            "Sample from the tokens whose probability is at least this fraction of the highest.",
            above=0,
            at_most=1,
            automatic="all",
            panel=SELECTION,
        ),
    ] = None
    seed: Annotated[
        int | None,
        Option(
            "Random seed; the same seed reproduces a sample.",
            at_least=0,
            below=2**31,
            automatic="random, reported",
            panel=SELECTION,
            common=True,
        ),
    ] = None
    mix_ngram: MixNgram = False


@dataclass(frozen=True, kw_only=True)
class ConstraintOptions(Checked):
    """Penalties, and constraints on the generated text."""

    repetition_penalty: Annotated[
        float,
        Option(
            "Multiply the log probability of recent tokens by this; 1 for no penalty.", at_least=1, panel=CONSTRAINTS
        ),
    ] = 1.0
    presence_penalty: Annotated[
        float, Option("Subtract this many nats from the log probability of recent tokens.", panel=CONSTRAINTS)
    ] = 0.0
    frequency_penalty: Annotated[
        float,
        Option("Subtract this many nats from a token's log probability for each recent occurrence.", panel=CONSTRAINTS),
    ] = 0.0
    penalty_window: Annotated[
        int,
        Option("Number of recent tokens, including the prompt, that are penalized.", at_least=1, panel=CONSTRAINTS),
    ] = 64
    no_repeat_ngram: Annotated[
        int,
        Option("Never repeat an n-gram of this many tokens; 0 disables this.", at_least=0, panel=CONSTRAINTS),
    ] = 0
    logit_bias: Annotated[
        tuple[str, ...],
        Option(
            "Add this many nats to the log probability of a token, as in ' river=2.5'; may be repeated.",
            panel=CONSTRAINTS,
            metavar="TOKEN=NATS",
        ),
    ] = ()
    allow: Annotated[
        str | None,
        Option(
            "Generate only tokens made of these characters.", automatic="all", panel=CONSTRAINTS, metavar="CHARACTERS"
        ),
    ] = None
    ban: Annotated[
        str | None,
        Option(
            "Generate no token that contains one of these characters.",
            automatic="none",
            panel=CONSTRAINTS,
            metavar="CHARACTERS",
        ),
    ] = None
    allow_token: Annotated[
        tuple[str, ...],
        Option(
            "Allow this token, in addition to --allow; without --allow, only these tokens. May be repeated.",
            panel=CONSTRAINTS,
            metavar="TOKEN",
        ),
    ] = ()
    ban_token: Annotated[
        tuple[str, ...], Option("Never generate this token; may be repeated.", panel=CONSTRAINTS, metavar="TOKEN")
    ] = ()
    match: Annotated[
        str | None,
        Option(
            "Generate only text (prompt excluded) that can be extended to a full match of this regular expression.",
            automatic="anything",
            panel=CONSTRAINTS,
            metavar="REGEX",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class SearchOptions(Checked):
    """Beam search, which is deterministic."""

    beam: Annotated[
        int | None,
        Option(
            "Beam search of this width; returns the best --num-samples hypotheses, best first.",
            at_least=1,
            automatic="sampling",
            panel=SEARCH,
        ),
    ] = None
    length_penalty: Annotated[
        float,
        Option(
            "Divide the log probability of a hypothesis by its length raised to this power; larger values favor longer texts.",
            at_least=0,
            at_most=10,
            panel=SEARCH,
        ),
    ] = 0.0
    beam_groups: Annotated[
        int,
        Option(
            "Diverse beam search: number of groups, each penalized for tokens of earlier groups.",
            at_least=1,
            panel=SEARCH,
        ),
    ] = 1
    diversity: Annotated[
        float,
        Option(
            "Penalty in nats for each earlier group that has the same token at the same position.",
            at_least=0,
            panel=SEARCH,
        ),
    ] = 0.5


@dataclass(frozen=True, kw_only=True)
class StoppingOptions(Checked):
    """Stopping criteria."""

    length: Annotated[
        int | None,
        Option(
            "Maximum number of tokens, not counting the prompt; -1 for no limit (until interrupted).",
            flags=("-n", "--length"),
            at_least=ENDLESS,
            automatic=f"{LENGTH}; with --until, {LENGTH_UNTIL}",
            panel=STOPPING,
            common=True,
        ),
    ] = None
    stop: Annotated[
        tuple[str, ...],
        Option("End a sample before this text (\\n is a newline); may be repeated.", panel=STOPPING, common=True),
    ] = ()
    until: Annotated[
        Until | None,
        Option(
            "End a sample at the end of a sentence, line, or unit (as in training).",
            automatic="at --length",
            panel=STOPPING,
            common=True,
        ),
    ] = None

    @property
    def max_tokens(self) -> int | None:
        """Maximum number of tokens of a sample, None for no limit."""
        if self.length is None:
            return LENGTH if self.until is None else LENGTH_UNTIL
        return None if self.length == ENDLESS else self.length


@dataclass(frozen=True, kw_only=True)
class PromptOptions(Checked):
    """Reading and echoing of prompts."""

    encoding: Annotated[str, Option("The encoding of prompt files.", panel=PROMPT, metavar="NAME")] = "utf-8"
    echo: Annotated[bool, Option("Print the prompt before the generated text.", panel=PROMPT)] = True
    on_unknown: PromptOnUnknown = "error"


@dataclass(frozen=True, kw_only=True)
class SpeedOptions(Checked):
    """Device and precision of inference."""

    weights: Annotated[
        WeightFormat,
        Option(
            "Quantize the weights (needs torch): bf16 for many streams, int8 for few streams of a large model.",
            panel=SPEED,
        ),
    ] = "fp32"
    device: Annotated[Device, Option("Device; cuda needs torch and a GPU.", panel=SPEED)] = "cpu"


@dataclass(frozen=True, kw_only=True)
class SampleOptions(
    SpeedOptions,
    OutputOptions,
    WrittenLabelOptions,
    WrittenAdaptationOptions,
    PromptOptions,
    StoppingOptions,
    SearchOptions,
    ConstraintOptions,
    TokenSelectionOptions,
):
    """All sampling options.

    Example:
        >>> from charnn.config import SampleOptions
        >>> SampleOptions(top_p=0.9).max_tokens
        500
    """

    def __post_init__(self) -> None:
        """Check bounds, and refuse options that have no effect given the others."""
        super().__post_init__()
        self._check_forecast()
        self._check_texts()
        refuse_both("--weights int8", self.weights == "int8" and self.device == "cuda", "--device cuda, which has bf16")
        self._check_selection()
        self._check_search()
        self._check_label_strength()
        others = {"--mix-ngram": self.mix_ngram, "--label-strength": self.label_strength > 0}
        others |= {"--beam": self.beam is not None, "--forecast": self.forecast}
        refuse_all(others if self.adapt else {}, "--adapt")

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn at random."""
        return not self.greedy and self.beam is None and (self.temperature > 0 or bool(self.final_temperature))

    def _check_forecast(self) -> None:
        refuse_unused("--format tsv", self.format == "tsv" and not self.forecast, "--forecast")
        others = {
            "--beam": self.beam is not None,
            "--greedy": self.greedy,
            "--temperature 0": not self.draws,
            "--length -1": self.length == ENDLESS,
        }
        shown = {
            "--no-echo": not self.echo,
            "--show-alternatives": self.show_alternatives > 0,
            "--novelty": self.novelty,
        }
        refuse_all(others | shown if self.forecast else {}, "--forecast")

    def _check_texts(self) -> None:
        for text in self.stop:
            if not text:
                raise OptionError("--stop: found an empty text, but it must have at least one character; leave it out")
        for flag, value in {"--allow": self.allow, "--ban": self.ban, "--match": self.match}.items():
            if value == "":
                raise OptionError(f"{flag}: found an empty text, but it must have at least one character; leave it out")

    def _check_selection(self) -> None:
        filters = {
            "--top-k": self.top_k,
            "--typical-p": self.typical_p,
            "--top-p": self.top_p,
            "--min-p": self.min_p,
        }
        flags = " and ".join(flag for flag, value in filters.items() if value is not None)
        refuse_both(flags, bool(flags) and self.beam is not None, "--beam, which draws nothing")
        refuse_both(flags, bool(flags) and self.greedy, "--greedy, which draws nothing")
        refuse_unused(flags, bool(flags) and not self.draws, "a --temperature above 0")
        changes = self.final_temperature is not None
        refuse_unused("--final-temperature", changes and self.max_tokens is None, "a limit (-n)")
        refuse_both("--greedy", self.greedy and changes, "--final-temperature")
        refuse_both("--greedy", self.greedy and self.temperature != 1, "--temperature")
        refuse_unused(
            "--seed", self.seed is not None and self.beam is None and not self.draws, "sampling by temperature"
        )
        are_identical = self.num_samples > 1 and self.beam is None and not self.draws
        refuse_unused("--num-samples", are_identical, "sampling by temperature")
        penalized = self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty
        refuse_unused("--penalty-window", self.penalty_window != 64 and not penalized, "a repetition penalty")

    def _check_search(self) -> None:
        if self.beam is None:
            unused = {
                "--length-penalty": self.length_penalty != 0,
                "--beam-groups": self.beam_groups != 1,
                "--diversity": self.diversity != 0.5,
            }
            for flag, is_set in unused.items():
                refuse_unused(flag, is_set, "--beam")
            return
        excluded = {
            "--greedy": self.greedy,
            "--temperature": self.temperature != 1,
            "--final-temperature": self.final_temperature is not None,
            "--seed": self.seed is not None,
            "--length -1": self.length == ENDLESS,
        }
        for flag, is_set in excluded.items():
            refuse_both(flag, is_set, "--beam")
        refuse_unused("--diversity", self.diversity != 0.5 and self.beam_groups == 1, "--beam-groups 2 or more")
        if self.beam % self.beam_groups:
            raise OptionError(
                f"--beam-groups: found {self.beam_groups} for {self.beam} hypotheses, but all groups must be of "
                "equal size; choose a divisor"
            )
        if self.beam_groups > self.num_samples:
            raise OptionError(
                f"--beam-groups: found {self.beam_groups} for --num-samples {self.num_samples}, so that some would return "
                "nothing; request at least as many samples"
            )
        if self.num_samples > self.beam:
            raise OptionError(
                f"--num-samples: found {self.num_samples}, but --beam {self.beam} has fewer hypotheses; increase --beam"
            )
