"""Options of forecasts, by a model of numbers."""

from dataclasses import dataclass
from typing import Annotated

from charnn.options import Checked, Option

FORECAST_STEPS, FORECAST_SAMPLES = 30, 500


@dataclass(frozen=True, kw_only=True)
class ForecastOptions(Checked):
    """Forecasts of a series of numbers."""

    column: Annotated[
        str | None,
        Option(
            "Read this column of a --prompt-file, for a model of numbers.",
            automatic="that of training, if the file is a table",
            panel="The prompt",
            metavar="NAME",
        ),
    ] = None
    forecast: Annotated[
        bool,
        Option(
            "For a model of numbers: show quantiles of the next values, after the prompt or the series trained on, from "
            f"{FORECAST_SAMPLES} samples of {FORECAST_STEPS} values unless --num-samples and -n are given.",
            panel="Output",
        ),
    ] = False
