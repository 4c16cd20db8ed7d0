"""Pictures of gradients through time, gates, clipping and effective memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from charnn.analysis.effective_memory import TOLERANCE_NATS, ContextLosses
from charnn.analysis.gradients import Decay, Gradients, RunGradients, shown_distances
from charnn.analysis.tables import Table, Value
from charnn.report.charts import LINE_STYLES, QUIET, SERIES, Chart, chart
from charnn.report.legends import legend_below, series_style
from charnn.report.sections import Picture, Section

LOWEST_NORM = 1e-20
"""Norms below this are left out of a picture."""
LEAST_EXCESS = 1e-5
"""Smaller differences of losses in single precision are rounding."""
MARKERS = "o^sDv"
PART_NAMES = {"hidden": "hidden state", "memory": "memory cell"}
STYLES = {"trained": "-", "untrained": "--"}


def sections(inspection: Gradients) -> list[Section]:
    """Return the sections of the page."""
    found = [_reach(inspection), _gates(inspection.runs), _memory(inspection)]
    if any(run.clipping for run in inspection.runs):
        found.append(_clipping(inspection.runs))
    return [*found, Section("Summary of gradients", [inspection.summary_table()])]


def _reach(inspection: Gradients) -> Section:
    """Return the norms against distance."""
    text = (
        "The loss at one token depends on the states before it. The norm of its gradient with respect to the state k tokens "
        "earlier says how strongly, and how much of a training signal reaches that far back. Where it falls along a straight "
        "line, it vanishes exponentially."
    )
    tops = [decay for run in inspection.runs for decay in _of_top_layer(run)]
    parts: list[str | Picture] = [text, _reach_picture("hidden", tops)]
    if any(decay.gradients.part == "memory" for decay in tops):
        parts.append(_reach_picture("memory", tops))
    parts += [_layers_picture(run) for run in inspection.runs if len(_layers(run)) > 1]
    return Section("How far back a loss reaches", parts)


def _layers(run: RunGradients) -> set[int]:
    return {decay.gradients.layer for decay in run.decays}


def _of_top_layer(run: RunGradients) -> list[Decay]:
    top = max(_layers(run))
    return [decay for decay in run.decays if decay.gradients.layer == top]


def _reach_picture(part: str, decays: Sequence[Decay]) -> Picture:
    """Return the curves of all models for one part of the state of the top layer."""
    name = PART_NAMES[part]
    colors = {
        run: SERIES[number % len(SERIES)] for number, run in enumerate(dict.fromkeys(each.run for each in decays))
    }
    shown = [decay for decay in decays if decay.gradients.part == part]
    with chart(f"Norm of the gradient with respect to the {name} against the distance in tokens", height=3.8) as drawn:
        for decay in shown:
            label = f"{decay.weights} {decay.run} ({decay.cell})"
            _draw_decay(drawn, decay, label, colors[decay.run], STYLES[decay.weights])
        _finish_decays(drawn, part)
    caption = (
        f"Norm of the gradient of a loss with respect to the {name} of the top layer, k tokens earlier: the median over "
        f"{len(shown[0].gradients.norms[0])} positions of the text, with the range from the lower to the upper quartile. "
        "Dashed: the same network before training."
    )
    return Picture(drawn.svg, caption, _decay_table(part, shown))


def _layers_picture(run: RunGradients) -> Picture:
    """Return the curves of all layers of a model after training."""
    shown = [each for each in run.decays if each.weights == "trained" and each.gradients.part == "hidden"]
    with chart(
        f"Norm of the gradient with respect to the hidden state of each layer of {run.run}", height=3.8
    ) as drawn:
        for number, decay in enumerate(shown):
            color, style = SERIES[number % len(SERIES)], LINE_STYLES[number % len(LINE_STYLES)]
            _draw_decay(drawn, decay, f"layer {decay.gradients.layer}", color, style)
        _finish_decays(drawn, "hidden")
    caption = (
        f"The layers of {run.run}, trained; layer 1 reads the tokens. The gradient is with respect to what a layer "
        "hands on to the next token, not to the layer above."
    )
    return Picture(drawn.svg, caption, _decay_table("hidden", shown))


def _draw_decay(drawn: Chart, decay: Decay, label: str, color: str, style: str) -> None:
    low, median, high = np.where(decay.quartiles >= LOWEST_NORM, decay.quartiles, np.nan)
    distances = np.arange(len(median))
    drawn.ax.plot(distances, median, style, label=label, color=color)
    drawn.ax.fill_between(distances, low, high, color=color, alpha=0.15, linewidth=0)


def _finish_decays(drawn: Chart, part: str) -> None:
    drawn.ax.set_yscale("log")
    drawn.ax.set_xlim(left=0)
    drawn.ax.set_xlabel("distance k (tokens)")
    drawn.ax.set_ylabel(f"norm of d loss(t) / d {PART_NAMES[part]}(t − k)")
    legend_below(drawn, columns=2)


def _decay_table(part: str, decays: Sequence[Decay]) -> Table:
    rows: list[Sequence[Value]] = []
    for decay in decays:
        for distance in shown_distances(len(decay.median)):
            low, median, high = decay.quartiles[:, distance].tolist()
            if np.isfinite(median):
                rows.append((decay.run, decay.weights, decay.gradients.layer, distance, median, low, high))
    columns = (
        "run",
        "weights",
        "layer",
        "distance_tokens",
        "median_norm",
        "lower_quartile_norm",
        "upper_quartile_norm",
    )
    return Table(f"{part}_norms", "Norm of the gradient by distance", columns, rows)


def _gates(runs: Sequence[RunGradients]) -> Section:
    """Return how saturated the gates of each model are."""
    parts: list[str | Picture] = [
        "A gate is a number from 0 (closed) to 1 (open). A unit whose forget gate is almost always open keeps what it has; one "
        "whose gates are never near 0 or 1 mixes. Each dot is one unit: to the right, its gate is often open; at the top, "
        "often closed; near the lower left corner, neither."
    ]
    for run in runs:
        if any(run.gates.values()):
            parts.append(_gate_picture(run))
        else:
            parts.append(f"{run.run}: the cell {run.cell} has no gates.")
    return Section("Gate saturation", parts)


def _gate_picture(run: RunGradients) -> Picture:
    label = f"Saturation of the gates of {run.run}, before and after training"
    with chart(label, columns=2, height=3.9, sharex=True, sharey=True) as drawn:
        for axes, (weights, gates) in zip(drawn.axes, run.gates.items(), strict=True):
            names = list(dict.fromkeys(gate.gate for gate in gates))
            axes.plot([0, 1], [1, 0], color=QUIET, linewidth=0.8)
            for gate in gates:
                several = f", layer {gate.layer}" if gate.layer > 1 or gates[-1].layer > 1 else ""
                marker = MARKERS[(gate.layer - 1) % len(MARKERS)]
                color = SERIES[names.index(gate.gate) % len(SERIES)]
                axes.scatter(
                    gate.open,
                    gate.closed,
                    s=16,
                    color=color,
                    marker=marker,
                    alpha=0.65,
                    linewidths=0,
                    clip_on=False,
                    zorder=3,
                    label=gate.gate + several,
                )
            axes.set_title(weights)
            axes.set_xlabel("fraction of tokens with gate > 0.9")
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1)
            axes.set_aspect("equal")
        drawn.ax.set_ylabel("fraction of tokens with gate < 0.1")
        legend_below(drawn, columns=4)
    rows = [
        (weights, gate.layer, gate.gate, float(gate.closed.mean()), float(gate.open.mean()))
        for weights, gates in run.gates.items()
        for gate in gates
    ]
    columns = ("weights", "layer", "gate", "closed_fraction", "open_fraction")
    table = Table("gates", f"Gates of {run.run}, the mean over their units", columns, rows)
    return Picture(drawn.svg, f"The gates of {run.run} ({run.cell}), one dot for each unit.", table)


def _memory(inspection: Gradients) -> Section:
    """Return the losses by length of context."""
    with chart("Loss against the number of tokens of context", height=3.8) as drawn:
        widest = max((len(run.contexts[0].lengths) for run in inspection.runs), default=1)
        for number, run in enumerate(inspection.runs):
            for each in run.contexts:
                _draw_contexts(drawn, each, run, SERIES[number % len(SERIES)], widest)
        lengths = max((run.contexts[0].lengths for run in inspection.runs), key=len)
        drawn.ax.set_xticks(range(widest), [f"{length:,}" if length else "all" for length in lengths])
        drawn.ax.set_xlabel("context (tokens)")
        drawn.ax.set_ylabel("loss (nats per token)")
        legend_below(drawn, columns=2)
    caption = "Loss if a model sees only so many tokens before each; where a curve is flat, more context is no help."
    if any(len(run.contexts) > 1 for run in inspection.runs):
        caption += " Dashed: the n-gram model of the run, which backs off to its shorter n-grams."
    found = [_effective_length(run) for run in inspection.runs]
    pictures = [Picture(drawn.svg, caption, inspection.context_table()), _excess_picture(inspection)]
    return Section("Effective memory", [*found, *pictures])


def _excess_picture(inspection: Gradients) -> Picture:
    """Return what is lost without the farther context, on a logarithmic scale."""
    with chart("Loss above that with all of the context, against the number of tokens of context", height=3.4) as drawn:
        for number, run in enumerate(inspection.runs):
            each = run.contexts[0]
            excess = each.losses_nats[:-1] - each.losses_nats[-1]
            shown = np.where(excess > np.maximum(each.margins_nats[:-1], LEAST_EXCESS), excess, np.nan)
            color, style = series_style(number)
            label = f"network {run.run} ({run.cell})"
            drawn.ax.plot(range(len(excess)), shown, style, marker="o", markersize=3.5, color=color, label=label)
        lengths = max((run.contexts[0].lengths for run in inspection.runs), key=len)[:-1]
        drawn.ax.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
        drawn.ax.axhline(TOLERANCE_NATS, color=QUIET, linestyle=":", label=f"{TOLERANCE_NATS} nats, 1 % of perplexity")
        drawn.ax.set_yscale("log")
        drawn.ax.set_xlabel("context (tokens)")
        drawn.ax.set_ylabel("excess loss (nats per token)")
        legend_below(drawn, columns=2)
    caption = (
        "What the networks lose without the context that is farther back. Points that are not above their 95 % confidence "
        "interval are left out: as far as the measurement can tell, nothing is lost there."
    )
    return Picture(drawn.svg, caption, inspection.context_table())


def _draw_contexts(drawn: Chart, each: ContextLosses, run: RunGradients, color: str, widest: int) -> None:
    """Draw the losses of a model; those at full context are at the right edge."""
    is_network = each.model == "network"
    label = f"network {run.run} ({run.cell})" if is_network else f"{each.model} model of {run.run}"
    places = [*range(len(each.lengths) - 1), widest - 1]
    style: Any = {"color": color, "linestyle": "-" if is_network else "--", "marker": "o" if is_network else "s"}
    margins = each.margins_nats if is_network else None
    drawn.ax.errorbar(places, each.losses_nats, margins, label=label, markersize=3.5, capsize=2, **style)


def _effective_length(run: RunGradients) -> str:
    length = run.contexts[0].effective_length
    loss = run.contexts[0].losses_nats[-1]
    if length is None:
        return f"{run.run}: no context that was tried is enough; with all of it, the loss is {loss:.4f} nats per token."
    return (
        f"{run.run}: with the last {length:,} tokens, the loss is within {TOLERANCE_NATS} nats of the {loss:.4f} nats per "
        "token that it is with all of the context: the network hardly uses what is farther back."
    )


def _clipping(runs: Sequence[RunGradients]) -> Section:
    """Return the gradient norms during training, and what was clipped."""
    parts: list[str | Picture] = []
    rows: list[Sequence[Value]] = []
    with chart("Norm of the gradient during training", height=3.6) as drawn:
        for number, run in enumerate(runs):
            if run.clipping is None:
                continue
            color, clip = SERIES[number % len(SERIES)], run.clipping
            drawn.ax.plot(clip.steps, clip.norms, color=color, label=f"gradient norm of {run.run} ({run.cell})")
            parts.append(_clipped_text(run.run, clip.clip_norm, clip.clipped_fraction))
            columns = (clip.steps.tolist(), clip.norms.tolist(), clip.fractions.tolist())
            rows += [(run.run, *row) for row in zip(*columns, strict=True)]
        for norm in sorted({run.clipping.clip_norm for run in runs if run.clipping and run.clipping.clip_norm}):
            drawn.ax.axhline(norm, color=QUIET, linestyle=":", label=f"clipped above {norm:g}")
        drawn.ax.set_yscale("log")
        drawn.ax.set_xlabel("training step")
        drawn.ax.set_ylabel("norm of the gradient")
        legend_below(drawn, columns=2)
    caption = "Mean norm of the gradient of the weights before clipping, between two records of the metrics."
    table = Table("clipping", caption[:-1], ("run", "step", "gradient_norm", "clipped_fraction"), rows)
    return Section("Gradient clipping", [*parts, Picture(drawn.svg, caption, table)])


def _clipped_text(run: str, clip_norm: float | None, fraction: float) -> str:
    if clip_norm is None:
        return f"{run}: gradients were not clipped."
    return f"{run}: the gradient was scaled down to a norm of {clip_norm:g} in {fraction:.1%} of the training steps."
