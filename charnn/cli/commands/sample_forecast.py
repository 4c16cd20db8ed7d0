"""`charnn sample --forecast`: quantiles of the next values of a series, as a table, a chart, records or a picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console
from charnn.cli.output.fan import fan_chart, shown
from charnn.cli.output.fan_svg import fan_svg
from charnn.cli.output.lines import Lines
from charnn.config import SampleOptions
from charnn.interrupts import terminated_like_interrupted

if TYPE_CHECKING:
    from charnn.inference.stepper import Stepper
    from charnn.sampling.build import Prompts
    from charnn.sampling.forecast import Forecast
    from charnn.storage.model_directory import Model

CHART_HEIGHT = 16


def write_forecast(
    model: "Model",
    stepper: "Stepper",
    prompts: "Prompts | None",
    options: SampleOptions,
    svg: str | None,
    file: str | None,
) -> None:
    """Write the forecast after a prompt, or after the series that the model was trained on.

    Args:
        svg: name of a file for the picture.
        file: for the records or the table, instead of standard output.
    """
    history = None
    with terminated_like_interrupted():
        if prompts is None:
            ids = charnn.api.end_of_series(model)
            console.notice(f"continuing the series that {model.path} was trained on, after its last value")
            state = charnn.api.prefill(stepper, model.tokenizer, ids)
        else:
            state = next(prompts.states())
            history = None if prompts.whole_text is None else charnn.api.values_of(prompts.whole_text)
        forecast = charnn.api.forecast_after(model, stepper, state, options, history=history)
    if options.seed is None:
        console.notice(f"seed {forecast.seed}")
    with Lines(file) as lines:
        for line in _lines(forecast, options, is_table=not lines.is_file):
            lines.write(line)
    if svg is not None:
        _write_svg(forecast, svg)


def _lines(forecast: "Forecast", options: SampleOptions, *, is_table: bool) -> Iterator[str]:
    rows = forecast.rows()
    if options.format == "jsonl":
        yield from map(charnn.api.to_json, rows)
        return
    if options.format == "tsv":
        yield charnn.api.tab_separated(*rows[0])
        yield from (charnn.api.tab_separated(*row.values()) for row in rows)
        return
    if is_table:
        width = console.terminal_width()
        quantiles = forecast.quantiles.tolist()
        yield from fan_chart(
            forecast.history.tolist(), quantiles, decimals=forecast.decimals, width=width, height=CHART_HEIGHT
        )
        yield ""
    digits = forecast.decimals + 1
    yield f"{'step':>6}" + "".join(f"{f'{100 * level:g} %':>12}" for level in forecast.levels)
    for row in rows:
        step, *values = row.values()
        yield f"{step:>6}" + "".join(f"{shown(value, digits, 11):>12}" for value in values)


def _write_svg(forecast: "Forecast", file: str) -> None:
    picture = fan_svg(forecast.history.tolist(), forecast.quantiles.tolist(), decimals=forecast.decimals)
    charnn.api.write_output(Path(file), picture.encode("utf-8"))
    console.notice(f"wrote {file}")
