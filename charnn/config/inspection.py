"""Options of next-token prediction, infilling and model comparison."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.config.labels import Label
from charnn.config.model import Direction
from charnn.config.sampling import MixNgram, PromptOnUnknown
from charnn.config.text import Unit
from charnn.options import Checked, Option, refuse_both, refuse_unused


@dataclass(frozen=True, kw_only=True)
class PredictOptions(Checked):
    """Prediction of the next token, of a missing one, or of the word that is being written.

    Example:
        >>> from charnn.config import PredictOptions
        >>> PredictOptions().top
        10
    """

    mix_ngram: MixNgram = False
    direction: Annotated[
        Direction | None,
        Option(
            "Direction of a bidirectional model: forward predicts what follows TEXT, backward what precedes it.",
            automatic="the model's own, or forward; for a missing token, both directions if the model has them",
            common=True,
        ),
    ] = None
    blank: Annotated[
        str,
        Option("Placeholder for a missing token in TEXT, predicted from both sides; empty for none.", common=True),
    ] = "____"
    complete: Annotated[
        bool, Option("Complete the last word of TEXT; after a space, predict the next whole word.", common=True)
    ] = False
    top: Annotated[
        int, Option("Show this many of the most probable tokens or words; 0 shows all.", at_least=0, common=True)
    ] = 10
    label: Label = None
    on_unknown: PromptOnUnknown = "error"
    format: Annotated[
        Literal["table", "jsonl"], Option("A table with bars, or one JSON record per token or word.", common=True)
    ] = "table"

    def __post_init__(self) -> None:
        """Check combinations. Raises OptionError."""
        super().__post_init__()
        refuse_both(
            "--complete", self.complete and self.direction in ("backward", "both"), f"--direction {self.direction}"
        )


@dataclass(frozen=True, kw_only=True)
class FillOptions(Checked):
    """Infilling: candidates, search, output.

    Example:
        >>> from charnn.config import FillOptions
        >>> FillOptions(candidates=("was", "were")).beam
        100
    """

    candidates: Annotated[
        tuple[str, ...],
        Option("Comma-separated candidates to rank; may be repeated. If none are given, search for some.", common=True),
    ] = ()
    beam: Annotated[int, Option("Beam width of the search for candidates.", at_least=1, common=True)] = 100
    max_tokens: Annotated[
        int | None,
        Option(
            "Maximum length, in tokens, of candidates from the search.",
            at_least=1,
            automatic="12 (char, byte), 4 (subword), 2 (word)",
            common=True,
        ),
    ] = None
    mix_ngram: MixNgram = False
    direction: Annotated[
        Direction | None,
        Option(
            "Direction of a bidirectional model to score with.",
            automatic="the model's own, or both if it has them",
            common=True,
        ),
    ] = None
    blank: Annotated[str, Option("Placeholder for the gap in TEXT.")] = "____"
    top: Annotated[int, Option("Show this many of the best candidates; 0 shows all.", at_least=0, common=True)] = 10
    on_unknown: Annotated[
        Literal["error", "unk"],
        Option("How to handle unknown tokens.", flags=("--on-unknown",)),
    ] = "error"
    encoding: Annotated[str, Option("The encoding of the candidates file.", metavar="NAME")] = "utf-8"
    format: Annotated[Literal["table", "jsonl"], Option("A table, or one JSON record per candidate.", common=True)] = (
        "table"
    )

    def __post_init__(self) -> None:
        """Check bounds, and refuse options of the search if candidates are given."""
        super().__post_init__()
        for flag, given in {"--beam": self.beam != 100, "--max-tokens": self.max_tokens is not None}.items():
            refuse_both(flag, given and bool(self.candidates), "--candidates, which leave nothing to search for")


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions(Checked):
    """Comparison of two models.

    Example:
        >>> from charnn.config import ComparisonOptions
        >>> ComparisonOptions().tolerance
        1.0
    """

    unit: Annotated[
        Unit,
        Option(
            "What is compared: lines, blank-line-separated documents, tunes (ABC), or one running text.", common=True
        ),
    ] = "line"
    state: Annotated[
        Literal["reset", "carry"],
        Option(
            "Start each unit from the initial state (reset), or carry the hidden state over (carry).",
            common=True,
        ),
    ] = "reset"
    mix_ngram: MixNgram = False
    spell: Annotated[
        bool, Option("Multiply the probability of <unk> by the probability of the spelling.", common=True)
    ] = False
    top: Annotated[
        int,
        Option(
            "Show this many of the tokens on which the two models differ most, in each direction.",
            at_least=0,
            common=True,
        ),
    ] = 5
    tolerance: Annotated[
        float,
        Option(
            "Smallest relative difference, in percent, that is reported as a difference.",
            at_least=0,
            common=True,
        ),
    ] = 1.0
    resamples: Annotated[int, Option("Number of bootstrap resamples.", at_least=100)] = 2000
    seed: Annotated[int, Option("Seed of the bootstrap.", at_least=0)] = 1
    encoding: Annotated[str, Option("The encoding of the text files.", metavar="NAME")] = "utf-8"
    format: Annotated[Literal["table", "json"], Option("Tables, or one JSON record.", common=True)] = "table"

    def __post_init__(self) -> None:
        """Check bounds, and refuse options that have no effect."""
        super().__post_init__()
        refuse_unused("--state", self.state == "carry" and self.unit == "stream", "--unit line, document or tune")
