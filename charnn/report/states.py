"""Pictures of texts as paths of hidden states."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from charnn.analysis.states import States, TextStates
from charnn.analysis.tables import Table, Value
from charnn.report.charts import LINE_STYLES, SERIES, chart
from charnn.report.labels import place_labels
from charnn.report.sections import Picture, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_TICKS = 80
"""Tokens that are written along an axis; of more, every second, third ... one."""
MAX_TABLE_COLUMNS = 12


def sections(inspection: States) -> list[Section]:
    """Return the heat map of each text, the distances between texts, and their paths."""
    found = []
    for run in inspection.orders:
        texts = [text for text in inspection.texts if text.run == run]
        parts = [_heat_map(text, inspection.orders[run]) for text in texts]
        found.append(Section(f"States of {run} over time", parts))
        found.append(Section(f"States of {run} as paths", [_paths(texts, inspection.explained[run])]))
    if inspection.distances:
        found.insert(0, Section("Distance between the states of two texts", _distance_pictures(inspection)))
    return found


def _distance_pictures(inspection: States) -> list[Picture]:
    """Return the distances, those of models with the same tokens in one picture."""
    by_tokens: dict[tuple[str, ...], list[str]] = {}
    for text in inspection.texts:
        if text.number == 1:
            by_tokens.setdefault(tuple(text.tokens), []).append(text.run)
    return [_distances(inspection, runs) for runs in by_tokens.values()]


def _shown(text: TextStates) -> str:
    return text.text if len(text.text) <= 60 else f"{text.text[:57]}..."


def _token_axis(ax: "Axes", tokens: Sequence[str]) -> None:
    """Write tokens along the horizontal axis."""
    step = -(-len(tokens) // MAX_TICKS)
    is_long = max(map(len, tokens)) > 2
    ax.set_xticks(
        range(0, len(tokens), step), tokens[::step], fontsize=7, parse_math=False, rotation=90 if is_long else 0
    )


def _heat_map(text: TextStates, order: "np.typing.NDArray[np.int64]") -> Picture:
    values = text.states[:, order].T
    limit = float(np.abs(values).max()) or 1.0
    with chart(f"states of {text.run} over time, text {text.number}", height=3.4) as drawn:
        image = drawn.ax.imshow(
            values, aspect="auto", cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest", rasterized=True
        )
        _token_axis(drawn.ax, text.tokens)
        drawn.ax.grid(visible=False)
        drawn.ax.set_ylabel("unit of the top layer, sorted")
        drawn.ax.set_xlabel("token that was read last")
        bar = drawn.figure.colorbar(image, ax=drawn.ax, pad=0.01)
        bar.set_label("output")
        bar.outline.set_visible(False)
    strongest = np.argsort(-text.states.std(axis=0), kind="stable")[:MAX_TABLE_COLUMNS].tolist()
    rows: list[Sequence[Value]] = [
        (token, *(float(state[unit]) for unit in strongest))
        for token, state in zip(text.tokens, text.states, strict=True)
    ]
    return Picture(
        drawn.svg,
        f"“{_shown(text)}”: a column for each token, a row for each unit. Units that act alike are side by side, in the "
        "same order for all texts; a horizontal streak is a unit that keeps its value from token to token.",
        Table(
            "states",
            f"Outputs of the {len(strongest)} units that vary most",
            ("token", *(f"unit_{unit}" for unit in strongest)),
            rows,
        ),
    )


def _distances(inspection: States, runs: Sequence[str]) -> Picture:
    distances = [each for each in inspection.distances if each.run in runs]
    with chart(
        f"distance between the states of two texts, {', '.join(runs)}", rows=2, height=4.6, sharex=True
    ) as drawn:
        for number, each in enumerate(distances):
            style = LINE_STYLES[runs.index(each.run) % len(LINE_STYLES)]
            color = SERIES[number % len(SERIES)]
            label = f"texts {each.first} and {each.second}" + (f", {each.run}" if len(inspection.orders) > 1 else "")
            for ax, values in zip(drawn.axes, (each.cosine, each.euclidean), strict=True):
                ax.plot(each.first_positions, values, style, marker="o", markersize=3, color=color, label=label)
        drawn.axes[0].set_ylabel("cosine distance")
        drawn.axes[1].set_ylabel("Euclidean distance")
        for ax in drawn.axes:
            ax.set_ylim(bottom=0)
        first = next(text for text in inspection.texts if text.number == 1 and text.run == runs[0])
        start = min((int(each.first_positions[0]) for each in distances if len(each.first_positions)), default=0)
        _token_axis(drawn.axes[1], first.tokens)
        drawn.axes[1].set_xlim(max(start - 3, 0) - 0.5, len(first.tokens) - 0.5)
        drawn.axes[1].set_xlabel("token of the first text")
        drawn.figure.legend(*drawn.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    names = "; ".join(f"text {text.number}: “{_shown(text)}”" for text in inspection.texts if text.run == runs[0])
    return Picture(
        drawn.svg,
        f"How far apart the states of two texts are after tokens that both have, from their first difference on ({names}). "
        "A line that falls to 0 means that the network has forgotten the difference; one that stays above it, until the verb "
        "say, that the difference is remembered.",
        inspection.tables()[0],
    )


def _paths(texts: Sequence[TextStates], explained: tuple[float, float]) -> Picture:
    with chart(f"paths of the states of {texts[0].run} on two principal components", height=5.2) as drawn:
        labels: list[tuple[str, float, float]] = []
        for number, text in enumerate(texts):
            color, style = SERIES[number % len(SERIES)], LINE_STYLES[number % len(LINE_STYLES)]
            name = f"{text.number}: {_shown(text)}"
            drawn.ax.plot(text.points[:, 0], text.points[:, 1], style, color=color, linewidth=0.8, alpha=0.7)
            drawn.ax.scatter(text.points[:, 0], text.points[:, 1], s=8, color=color, label=name)
            drawn.ax.scatter(text.points[:1, 0], text.points[:1, 1], s=50, facecolors="none", edgecolors=color)
            labels += [(token, float(x), float(y)) for token, (x, y) in zip(text.tokens, text.points, strict=True)]
        drawn.ax.set_xlabel(f"first principal component ({explained[0]:.0%} of the variance)")
        drawn.ax.set_ylabel(f"second ({explained[1]:.0%})")
        legend = drawn.figure.legend(loc="outside upper left", fontsize=8)
        for entry in legend.get_texts():
            entry.set_parse_math(False)
        num_left_out = place_labels(drawn, labels)
    left_out = f" {num_left_out} labels that would cover others are left out." if num_left_out else ""
    rows = [
        (text.number, place, token, float(point[0]), float(point[1]))
        for text in texts
        for place, (token, point) in enumerate(zip(text.tokens, text.points, strict=True), start=1)
    ]
    return Picture(
        drawn.svg,
        "Each text is a path through the states of the top layer, from the ring at its first token on; states that are near "
        f"each other are similar, as far as two dimensions show it.{left_out}",
        Table(
            "points", "Coordinates on the principal components", ("text", "position", "token", "first", "second"), rows
        ),
    )
