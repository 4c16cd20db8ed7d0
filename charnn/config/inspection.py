"""Options of predicting what comes next and of filling gaps."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.config.model import Direction
from charnn.config.sampling import MixNgram, PromptOnUnknown
from charnn.options import Checked, Option, refuse_both


@dataclass(frozen=True, kw_only=True)
class PredictOptions(Checked):
    """How the next token's distribution is shown."""

    mix_ngram: MixNgram = False
    direction: Annotated[
        Direction | None,
        Option(
            "Which of two bidirectional models predicts: forward what follows TEXT, backward what came before it.",
            automatic="the model's own, or forward; for a missing token all there are",
            common=True,
        ),
    ] = None
    blank: Annotated[
        str,
        Option("What stands for a missing token in TEXT, predicted from both sides; empty for none.", common=True),
    ] = "____"
    top: Annotated[int, Option("Show this many of the most probable tokens; 0 shows all.", at_least=0, common=True)] = (
        10
    )
    on_unknown: PromptOnUnknown = "error"
    format: Annotated[
        Literal["table", "jsonl"], Option("A table with bars, or one JSON record per token.", common=True)
    ] = "table"


@dataclass(frozen=True, kw_only=True)
class FillOptions(Checked):
    """What fills a gap, and how candidates are shown."""

    candidates: Annotated[
        tuple[str, ...],
        Option("Rank these texts, separated by commas; may be repeated. Without any, search.", common=True),
    ] = ()
    beam: Annotated[int, Option("Beam width of the search, at each length.", at_least=1, common=True)] = 100
    max_tokens: Annotated[
        int | None,
        Option(
            "Maximum number of tokens that a search puts in the gap.",
            at_least=1,
            automatic="12 (char, byte), 4 (subword), 2 (word)",
            common=True,
        ),
    ] = None
    mix_ngram: MixNgram = False
    direction: Annotated[
        Direction | None, Option("Which of two bidirectional models scores.", automatic="all there are", common=True)
    ] = None
    blank: Annotated[str, Option("What stands for the gap in TEXT.")] = "____"
    top: Annotated[int, Option("Show this many of the best candidates; 0 shows all.", at_least=0, common=True)] = 10
    on_unknown: Annotated[
        Literal["error", "unk"],
        Option("What to do about unknown tokens.", flags=("--on-unknown",)),
    ] = "error"
    encoding: Annotated[str, Option("The encoding of the candidates' file.", metavar="NAME")] = "utf-8"
    format: Annotated[Literal["table", "jsonl"], Option("A table, or one JSON record per candidate.", common=True)] = (
        "table"
    )

    def __post_init__(self) -> None:
        """Check bounds, and that a search is not told how to search for what is given."""
        super().__post_init__()
        for flag, given in {"--beam": self.beam != 100, "--max-tokens": self.max_tokens is not None}.items():
            refuse_both(flag, given and bool(self.candidates), "--candidates, which leave nothing to search for")


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions(Checked):
    """How two models are compared."""

    state: Annotated[
        Literal["reset", "carry"] | None,
        Option(
            "Read each line from the initial state, or carry the hidden state.",
            automatic="carry for models of running text",
            common=True,
        ),
    ] = None
    mix_ngram: MixNgram = False
    spell: Annotated[bool, Option("Give unknown tokens the probability of their spelling too.", common=True)] = False
    top: Annotated[
        int,
        Option(
            "Show this many of the tokens on which the two models differ most, either way.", at_least=0, common=True
        ),
    ] = 5
    tolerance: Annotated[
        float,
        Option(
            "Percent by which two seeds of one recipe may differ: models that differ by less are said not to.",
            at_least=0,
            common=True,
        ),
    ] = 1.0
    resamples: Annotated[int, Option("Resamples of the bootstrap.", at_least=100)] = 2000
    seed: Annotated[int, Option("Seed of the bootstrap.", at_least=0)] = 1
    encoding: Annotated[str, Option("The encoding of the text files.", metavar="NAME")] = "utf-8"
    format: Annotated[Literal["table", "json"], Option("Tables, or one JSON record.", common=True)] = "table"
