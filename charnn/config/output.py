"""Options of what sampling writes."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.config.forecast import ForecastOptions
from charnn.options import Option

OUTPUT = "Output"


@dataclass(frozen=True, kw_only=True)
class OutputOptions(ForecastOptions):
    """Number of samples, and output format."""

    num_samples: Annotated[
        int,
        Option("Samples per prompt; sample i uses the seed + i.", at_least=1, panel=OUTPUT, common=True),
    ] = 1
    format: Annotated[
        Literal["text", "jsonl", "tsv"],
        Option("Plain text, or one JSON record per sample; tsv is for --forecast.", panel=OUTPUT, common=True),
    ] = "text"
    show_alternatives: Annotated[
        int,
        Option("Show this many of the most probable tokens at each position; 0 for none.", at_least=0, panel=OUTPUT),
    ] = 0
    novelty: Annotated[
        bool, Option("Report how much of each sample is copied from the training text.", panel=OUTPUT)
    ] = False
