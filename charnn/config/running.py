"""Options of scoring and predicting."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.config.model import Direction
from charnn.config.sampling import MixNgram, PromptOnUnknown
from charnn.config.text import Unit
from charnn.options import Checked, Option, refuse_both, refuse_idle


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
    on_unknown: PromptOnUnknown = "error"
    format: Annotated[Literal["table", "jsonl"], Option("A table with bars, or one JSON record a token.")] = "table"


@dataclass(frozen=True, kw_only=True)
class FillOptions(Checked):
    """What fills a gap, and how candidates are shown."""

    candidates: Annotated[
        tuple[str, ...],
        Option("Rank these texts, separated by commas; may be given several times. Without any, search."),
    ] = ()
    beam: Annotated[int, Option("Runs of tokens that a search keeps at each length, and proposes.", at_least=1)] = 100
    max_tokens: Annotated[
        int | None,
        Option(
            "Tokens that a search fills the gap with, at most.",
            at_least=1,
            automatic="12 (char, byte), 4 (subword), 2 (word)",
        ),
    ] = None
    mix_ngram: MixNgram = False
    direction: Annotated[Direction | None, Option("Which model of a pair judges.", automatic="all there are")] = None
    blank: Annotated[str, Option("What stands for the gap in TEXT.")] = "____"
    top: Annotated[int, Option("Show this many of the best candidates; 0 shows all.", at_least=0)] = 10
    on_unknown: Annotated[
        Literal["error", "unk"],
        Option("What to do about tokens that the model does not know.", flags=("--on-unknown",)),
    ] = "error"
    encoding: Annotated[str, Option("The encoding of the candidates' file.")] = "utf-8"
    format: Annotated[Literal["table", "jsonl"], Option("A table, or one JSON record a candidate.")] = "table"

    def __post_init__(self) -> None:
        """Check bounds, and that a search is not told how to search for what is given."""
        super().__post_init__()
        for flag, given in {"--beam": self.beam != 100, "--max-tokens": self.max_tokens is not None}.items():
            refuse_both(flag, given and bool(self.candidates), "--candidates, which leave nothing to search for")
