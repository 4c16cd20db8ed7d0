"""Pictures of attention over the past: where it looks, on average and in a text."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.colors import LinearSegmentedColormap, PowerNorm

from charnn.analysis.attention import AttendedText, Attention, AttentionSummary
from charnn.analysis.tables import Table, Value
from charnn.report.charts import INK, REMS_PER_INCH, SERIES, chart
from charnn.report.legends import legend_below
from charnn.report.sections import Picture, Section

CELL, LABELS = 0.13, 0.6
"""Size in inches of a token of the map, and of what stands around it."""
MAX_LABEL = 12
COLORS = LinearSegmentedColormap.from_list("attention", ["#0072b200", "#0072b2", "#9b4f96", "#d55e00"])
"""From nothing over blue to orange, on paper of any color."""
SMALLEST = 2.4
"""Size of the map of a short text."""


def sections(inspection: Attention) -> list[Section]:
    """Return what attention is worth, the weight by distance, and a map of each text."""
    found = []
    if inspection.summaries:
        sentences = [_worth(each) for each in inspection.summaries]
        bars = _by_distance(inspection.summaries, inspection.distance_table())
        found = [
            Section("What attention adds", [*sentences, inspection.summary_table()]),
            Section("How far back attention looks", [bars]),
        ]
    tokens = inspection.token_table()
    for number, text in enumerate(inspection.texts, start=1):
        own = Table(
            tokens.name, tokens.caption, tokens.columns[2:], [row[2:] for row in tokens.rows if row[1] == number]
        )
        found.append(Section(f"Attention: {text.run} reads “{text.text}”", [_map(text, number), own]))
    return found


def _worth(each: AttentionSummary) -> str:
    difference = each.loss_without_nats - each.loss_nats
    return (
        f"Over {each.num_tokens:,} tokens, the loss of {each.run} is {each.loss_nats:.4f} nats per token, and "
        f"{each.loss_without_nats:.4f} if what attention adds is left out: {abs(difference):.4f} "
        f"{'more' if difference >= 0 else 'less'}. A network that was trained without attention would have learned to do "
        f"without it. What is added is {each.added_ratio:.0%} as long as the output of the top layer. The weights are as "
        f"concentrated as {2**each.entropy_bits:.1f} equal ones, of {2**each.even_entropy_bits:.1f} positions in sight."
    )


def _by_distance(summaries: Sequence[AttentionSummary], table: Table) -> Picture:
    """Return the mean weight by distance as bars, those of several models side by side."""
    longest = max(summaries, key=lambda each: each.window).bands()
    names = [str(first) if first == last else f"{first}–{last}" for first, last, _, _ in longest]
    width = 0.8 / len(summaries)
    with chart("Mean weight of attention by distance", height=3.4) as drawn:
        for index, each in enumerate(summaries):
            bands = each.bands()
            places = np.arange(len(bands)) + (index - (len(summaries) - 1) / 2) * width
            color = SERIES[index % len(SERIES)]
            drawn.ax.bar(places, [band[2] for band in bands], 0.9 * width, color=color, label=each.run)
            label = "if all positions were weighted equally" if not index else None
            even = [band[3] for band in bands]
            drawn.ax.plot(places, even, linestyle="", marker="D", markersize=4, color=INK, label=label)
        drawn.ax.set_xticks(range(len(names)), names)
        drawn.ax.grid(visible=False, axis="x")
        drawn.ax.set_xlabel("tokens back; 0 is the token read last")
        drawn.ax.set_ylabel("mean weight, all together 1")
        legend_below(drawn, columns=2)
    caption = (
        "The key of a position is the output before it, so a large weight says that the context there resembled the present "
        "one; the value is what followed. The ranges double, so a bar above its diamond is a distance that is preferred."
    )
    return Picture(drawn.svg, caption, table)


def _short(token: str) -> str:
    return token if len(token) <= MAX_LABEL else f"{token[: MAX_LABEL - 1]}…"


def _map(text: AttendedText, number: int) -> Picture:
    """Return the weights of each token over those before it."""
    tokens = [_short(step.token) for step in text.steps]
    size = len(tokens)
    longest = max(map(len, tokens))
    side = LABELS + 0.07 * longest + max(CELL * size, SMALLEST)
    most = float(text.weights.max())
    shown = np.where(np.tri(size, dtype=bool), text.weights, np.nan)
    with chart(f"Attention of {text.run} to the tokens of text {number}", width=side, height=side) as drawn:
        image = drawn.ax.imshow(shown, cmap=COLORS, norm=PowerNorm(0.5, vmin=0, vmax=most), interpolation="nearest")
        drawn.ax.set_xticks(range(size), tokens, fontsize=8, parse_math=False, rotation=90 if longest > 2 else 0)
        drawn.ax.set_yticks(range(size), tokens, fontsize=8, parse_math=False)
        drawn.ax.tick_params(length=0, pad=2)
        drawn.ax.grid(visible=False)
        drawn.ax.set_xlabel("token looked at")
        drawn.ax.set_ylabel("token read")
        # in the empty half of the map
        place = drawn.ax.inset_axes((0.55, 0.93, 0.4, 0.03))
        bar = drawn.figure.colorbar(image, cax=place, orientation="horizontal", ticks=[0, most / 4, most])
        bar.ax.set_xticklabels([f"{weight:.2g}" for weight in (0, most / 4, most)])
        bar.set_label("weight")
        bar.outline.set_visible(False)
    wide = Markup(
        '<div class="wide map" style="--size:{:g}rem" tabindex="0" role="group" aria-label="Map of attention">{}</div>'
    )
    rows: list[Sequence[Value]] = [
        (place, step.token, *(float(weight) for weight in text.weights[place - 1, max(0, place - 8) : place][::-1]))
        for place, step in enumerate(text.steps, start=1)
    ]
    num_columns = min(8, size)
    padded = [(*row, *[None] * (2 + num_columns - len(row))) for row in rows]
    return Picture(
        wide.format(REMS_PER_INCH * side, drawn.svg),
        "A row for each token that is read, from top to bottom; its weights over the tokens so far add up to 1. A large weight "
        "in the column of a token says that what was read before it resembles what is read now, so that it may follow.",
        Table(
            "weights",
            "Weights of the token itself and of those just before it",
            ("position", "token", *(f"{back}_back" for back in range(num_columns))),
            padded,
        ),
    )
