"""Where the metrics of training are written, besides `metrics.jsonl`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.options import Checked, Option


@dataclass(frozen=True, kw_only=True)
class LogOptions(Checked):
    """Formats of metrics for other programs."""

    log: Annotated[
        Literal["tensorboard"] | None,
        Option(
            "Also write the metrics of training to event files in RUN (needs the extra tensorboard).",
            automatic="metrics.jsonl alone",
            panel="Training",
        ),
    ] = None
