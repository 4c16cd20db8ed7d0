"""`charnn train --find-lr`: an LR range test."""

import math
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console
from charnn.cli.output.plots import curve
from charnn.cli.output.progress_line import ProgressLine

if TYPE_CHECKING:
    from charnn.training.planning.lr_range_test import Trial
    from charnn.training.run.request import RunRequest

PLOT_HEIGHT, MAX_PLOT_WIDTH, MARGIN = 14, 90, 10


def find_learning_rate(request: "RunRequest", *, started: float) -> None:
    """Run an LR range test on a network that is not kept, and write its curve and a proposed learning rate.

    Raises:
        CharnnError: for options or texts that cannot be used.
    """
    with ProgressLine() as line:
        optimizer, trials = charnn.api.try_learning_rates(request, started=started, report=line.show)
    rate = charnn.api.proposal(trials, optimizer)
    for row in _plot(trials):
        console.write_line(row)
    best = min(trials, key=lambda trial: trial.smoothed_nats)
    console.write_line(
        f"{optimizer}: the loss is lowest ({best.smoothed_nats:.3f} nats per token) at a learning rate of {best.rate:.2g}"
        f"{'' if best is trials[-1] else ' and rises above it'}; try --learning-rate {rate:.2g}"
    )


def _plot(trials: list["Trial"]) -> list[str]:
    """Return a curve of smoothed losses over the logarithm of the rate, with its axes."""
    width = max(10, min(MAX_PLOT_WIDTH, console.output_console().width) - MARGIN)
    losses = [trial.smoothed_nats for trial in trials]
    lines = curve([math.log(trial.rate) for trial in trials], losses, width=width, height=PLOT_HEIGHT)
    labels = [f"{max(losses):.3f}", *[""] * (PLOT_HEIGHT - 2), f"{min(losses):.3f}"]
    middle = math.exp((math.log(trials[0].rate) + math.log(trials[-1].rate)) / 2)
    ticks = [f"{rate:.1e}" for rate in (trials[0].rate, middle, trials[-1].rate)]
    axis = f"{ticks[0]}{ticks[1]:^{max(0, width - len(ticks[0]) - len(ticks[2]))}}{ticks[2]}"
    return [
        "smoothed loss (nats per token) against learning rate",
        *(f"{label:>7} ┤{line}" for label, line in zip(labels, lines, strict=True)),
        f"{'':>7} └{'─' * width}",
        f"{'':>9}{axis}",
    ]
