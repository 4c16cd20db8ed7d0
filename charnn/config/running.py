"""Options of the commands that run a model."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.config.model import Direction
from charnn.config.text import Unit
from charnn.errors import OptionError
from charnn.options import Checked, Option, refuse_both, refuse_idle

OnUnknown = Literal["error", "skip", "unk"]
MixNgram = Annotated[
    bool, Option("Mix the network with the n-gram model that stands beside it.", flags=("--mix-ngram",))
]


@dataclass(frozen=True, kw_only=True)
class SampleOptions(Checked):
    """How new text is drawn from a model."""

    length: Annotated[
        int, Option("Tokens to write, not counting the prompt.", flags=("-n", "--length"), at_least=1)
    ] = 500
    temperature: Annotated[
        float,
        Option(
            "Below 1 the likely becomes likelier, above 1 less so; 0 is --greedy.",
            flags=("-t", "--temperature"),
            at_least=0,
        ),
    ] = 1.0
    greedy: Annotated[bool, Option("Always take the likeliest token.")] = False
    top_k: Annotated[int | None, Option("Draw from the k likeliest tokens only.", at_least=1, automatic="all")] = None
    top_p: Annotated[
        float | None,
        Option(
            "Draw from the fewest tokens whose probabilities reach p together.",
            above=0,
            at_most=1,
            automatic="all",
        ),
    ] = None
    mix_ngram: MixNgram = False
    stop: Annotated[str | None, Option("End a sample before this text appears in it.", automatic="never")] = None
    num_samples: Annotated[int, Option("Samples to write; number i uses the seed + i.", at_least=1)] = 1
    seed: Annotated[
        int | None, Option("Repeat a sample exactly.", at_least=0, below=2**31, automatic="drawn, and said")
    ] = None
    encoding: Annotated[str, Option("The encoding of the prompt file.")] = "utf-8"
    echo: Annotated[bool, Option("Write the prompt before the text that follows it.")] = True
    on_unknown: Annotated[OnUnknown, Option("What to do about a prompt's tokens that the model does not know.")] = (
        "error"
    )
    format: Annotated[Literal["text", "jsonl"], Option("Plain text, or one JSON record a sample.")] = "text"

    def __post_init__(self) -> None:
        """Check bounds, and that nothing is asked of a draw that is none."""
        super().__post_init__()
        if self.stop == "":
            raise OptionError("--stop: found an empty text, but it must have at least one character; leave it out")
        filtered = self.top_k is not None or self.top_p is not None
        refuse_idle("--top-k or --top-p", filtered and (self.greedy or self.temperature == 0), "a draw by temperature")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Checked):
    """What is scored, and how the figures are given."""

    format: Annotated[Literal["table", "tsv", "jsonl"], Option("How to print the records.")] = "table"
    log_base: Annotated[Literal["e", "2", "10"], Option("Base of the logarithms.")] = "e"
    unit: Annotated[
        Unit,
        Option("What a record is: each line, each blank-line-separated document, or all of the text as one."),
    ] = "line"
    mix_ngram: MixNgram = False
    direction: Annotated[
        Direction | None,
        Option(
            "Which model of a pair scores; both give the mean of two log probabilities.",
            automatic="the model's own, of a pair forward",
        ),
    ] = None
    per_token: Annotated[bool, Option("Give every token's log probability.")] = False
    bos: Annotated[bool, Option("Score the first token, with the boundary as its context.")] = True
    eos: Annotated[bool, Option("Score the boundary that closes a unit.")] = True
    rollout: Annotated[
        int,
        Option(
            "Let the model write so many tokens on from many places of the text, and show its losses by distance; 0 does not.",
            at_least=0,
        ),
    ] = 0
    encoding: Annotated[str, Option("The encoding of the text files.")] = "utf-8"

    def __post_init__(self) -> None:
        """Check bounds, and that a stream, which no boundary closes, is not asked to leave one out."""
        super().__post_init__()
        both = self.direction == "both"
        refuse_both("--no-bos", both and not self.bos, "--direction both, each of which leaves another token out")
        refuse_both("--mix-ngram", both and self.mix_ngram, "--direction both")
        refuse_idle("--no-eos", not self.eos and self.unit == "stream", "--unit line or document")
        if self.rollout:
            refuse_idle("--rollout", self.unit != "stream", "--unit stream")
            refuse_both("--rollout", both, "--direction both")
            others = {"--mix-ngram": self.mix_ngram, "--per-token": self.per_token, "--no-bos": not self.bos}
            for flag, given in others.items():
                refuse_both(flag, given, "--rollout")


@dataclass(frozen=True, kw_only=True)
class PredictOptions(Checked):
    """How the next token's distribution is shown."""

    mix_ngram: MixNgram = False
    direction: Annotated[
        Direction | None,
        Option(
            "Which model of a pair predicts: forward what follows TEXT, backward what came before it.",
            automatic="the model's own, of a pair forward, for a blank all there are",
        ),
    ] = None
    blank: Annotated[
        str, Option("What stands for a missing token in TEXT, to be judged from both sides; empty for nothing.")
    ] = "____"
    top: Annotated[int, Option("Show this many of the likeliest tokens; 0 shows all.", at_least=0)] = 10
    on_unknown: Annotated[OnUnknown, Option("What to do about the text's tokens that the model does not know.")] = (
        "error"
    )
    format: Annotated[Literal["table", "jsonl"], Option("A table with bars, or one JSON record a token.")] = "table"
