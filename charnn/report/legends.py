"""Legends of charts with several models."""

from charnn.report.charts import LINE_STYLES, SERIES, Chart


def series_style(number: int) -> tuple[str, str]:
    """Return the color and the line style of a series, which differ for 32 of them."""
    return SERIES[number % len(SERIES)], LINE_STYLES[number // len(SERIES) % len(LINE_STYLES)]


def legend_below(drawn: Chart, *, columns: int) -> None:
    """Add a legend of the first axes below a chart, its labels literal: names of models may contain `$`.

    A label must not begin with an underscore, which would hide it.
    """
    handles, labels = drawn.ax.get_legend_handles_labels()
    legend = drawn.figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)
