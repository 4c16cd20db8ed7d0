"""Pictures of training: losses, learning rate and gradient norm over steps and seconds."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from charnn.analysis.curves import Curves, thinned
from charnn.analysis.overview import RunOverview
from charnn.analysis.tables import Table
from charnn.report.charts import HEIGHT, SERIES, Chart, chart, legend_label
from charnn.report.sections import Figures, Picture

MAX_POINTS = 400
WIDTH = 4.8

Axis = Callable[[Curves], npt.NDArray[np.float64]]


def curve_figures(runs: Sequence[RunOverview]) -> list[str | Markup | Picture | Figures | Table]:
    """Return the curves of runs, in the same axes; nothing if no run has any."""
    runs = [run for run in runs if len(run.curves.step) or run.curves.evaluations]
    if not runs:
        return []
    pictures = [
        _losses(runs, "step", lambda curves: curves.step),
        _losses(runs, "seconds", lambda curves: curves.seconds),
        _curve(runs, "learning_rate", "learning rate", lambda curves: curves.learning_rate, _RATE),
        _curve(runs, "gradient_norm", "gradient norm before clipping", lambda curves: curves.gradient_norm, _NORM),
    ]
    parts: list[str | Markup | Picture | Figures | Table] = [Figures(pictures)]
    for run in runs:
        if run.curves.num_rollbacks:
            parts.append(
                f"{run.name}: the loss was not finite {run.curves.num_rollbacks} times; training went back to an earlier step "
                "with half the peak learning rate."
            )
    return parts


_RATE = "The size of each update, relative to its gradient: it follows the schedule, and is low at the end."
_NORM = "Long gradients are clipped. A norm that grows during training, or jumps, means that training is unstable."


def _losses(runs: Sequence[RunOverview], unit: str, axis: Axis) -> Picture:
    """Return training and validation losses."""
    rows: list[tuple[str, str, float, float]] = []
    with chart(f"Training and validation loss by {unit}", width=WIDTH, height=_height(runs)) as drawn:
        for number, run in enumerate(runs):
            _draw_losses(drawn, run, number, unit, axis, rows, several=len(runs) > 1)
        drawn.ax.set_xlabel("step" if unit == "step" else "time (s)")
        drawn.ax.set_ylabel("loss (nats per token)")
        _limit(drawn, runs)
        _add_legend(drawn, runs)
    return Picture(
        drawn.svg,
        f"Loss by {'step' if unit == 'step' else 'time'}: training (thin), validation (thick), and its best point, whose "
        "weights are kept. Where validation rises while training falls, the network overfits." + _tokens_differ(runs),
        Table("curves", f"Losses in nats per token by {unit}", ("run", "curve", unit, "loss_nats"), rows),
    )


def _draw_losses(
    drawn: Chart,
    run: RunOverview,
    number: int,
    unit: str,
    axis: Axis,
    rows: list[tuple[str, str, float, float]],
    *,
    several: bool,
) -> None:
    curves, color = run.curves, SERIES[number % len(SERIES)]
    valid_color = color if several else SERIES[1]
    name = legend_label(run.name)
    xs, losses = thinned(axis(curves), MAX_POINTS), thinned(curves.loss_nats, MAX_POINTS)
    drawn.ax.plot(
        xs,
        losses,
        color=color,
        linewidth=0.8,
        alpha=0.7,
        label=None if several and curves.best else name if several else "training",
    )
    rows += [(run.name, "training", float(x), float(loss)) for x, loss in zip(xs, losses, strict=True)]
    points = [(each.step if unit == "step" else each.seconds, each.loss_nats) for each in curves.evaluations]
    measured = [(float(x), loss) for x, loss in points if loss is not None]
    best = curves.best
    if best is not None and best.loss_nats is not None:
        drawn.ax.plot(
            *zip(*measured, strict=True), color=valid_color, linewidth=1.8, label=name if several else "validation"
        )
        x = best.step if unit == "step" else best.seconds
        drawn.ax.plot([x], [best.loss_nats], "o", color=valid_color, markersize=5)
        drawn.ax.annotate(f"{best.loss_nats:.3f}", (x, best.loss_nats), (0, 6), textcoords="offset points", ha="right")
    rows += [(run.name, "validation", *point) for point in measured]
    if (ngram := run.model.config.results.ngram_loss_nats) is not None and not several:
        drawn.ax.axhline(ngram, color=SERIES[2], linestyle="--", linewidth=1.0, label="n-gram model")


def _tokens_differ(runs: Sequence[RunOverview]) -> str:
    """Return what to say if a token is not the same in all runs."""
    if len({run.model.tokenizer_sha256 for run in runs}) == 1:
        return ""
    return " These runs have different vocabularies, so only their bits per character are comparable."


def _height(runs: Sequence[RunOverview]) -> float:
    return HEIGHT + 0.2 * (len(runs) if len(runs) > 1 else 0)


def _add_legend(drawn: Chart, runs: Sequence[RunOverview]) -> None:
    """Add a legend; that of several runs below the axes."""
    if len(runs) > 1:
        drawn.figure.legend(loc="outside lower center")
    else:
        drawn.ax.legend(loc="upper right")


def _limit(drawn: Chart, runs: Sequence[RunOverview]) -> None:
    """Leave out the first, high losses, so that the later ones can be told apart."""
    losses = np.concatenate([run.curves.loss_nats for run in runs])
    losses = losses[np.isfinite(losses)]
    if len(losses) >= 20:
        low, high = drawn.ax.get_ylim()
        start = float(np.percentile(losses, 95))
        drawn.ax.set_ylim(low, min(high, start + 0.3 * (start - float(losses.min()))))


def _curve(runs: Sequence[RunOverview], column: str, label: str, values: Axis, caption: str) -> Picture:
    """Return a curve by step."""
    rows: list[tuple[str, float, float]] = []
    with chart(f"{label} by step", width=WIDTH, height=_height(runs)) as drawn:
        for number, run in enumerate(runs):
            xs, ys = thinned(run.curves.step, MAX_POINTS), thinned(values(run.curves), MAX_POINTS)
            drawn.ax.plot(xs, ys, color=SERIES[number % len(SERIES)], linewidth=1.2, label=legend_label(run.name))
            rows += [(run.name, float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
        drawn.ax.set_ylim(bottom=0)
        drawn.ax.set_xlabel("step")
        drawn.ax.set_ylabel(label)
        if len(runs) > 1:
            _add_legend(drawn, runs)
    name = label[0].upper() + label[1:]
    return Picture(drawn.svg, f"{name}. {caption}", Table(column, f"{name} by step", ("run", "step", column), rows))
