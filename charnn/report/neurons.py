"""Pictures of units that track features of the text: correlations, and passages colored by a unit's value."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from charnn.analysis.neurons import Neurons, TrackedFeature
from charnn.analysis.tables import Table
from charnn.report.charts import SERIES, chart
from charnn.report.sections import Picture, Section

NUM_SHADES = 5
"""Shades of each sign; page.css has a class for each."""


def sections(inspection: Neurons) -> list[Section]:
    """Return a section that compares the features, and a passage for each of them."""
    units, probes, contexts, *left_out = inspection.tables()
    overview = Section(
        "Neurons: what single units track", [_correlations(inspection.tracked, units), probes, *left_out]
    )
    passages = [
        Section(f"Neurons: {each.feature}, {each.unit} of {each.run}", [passage(each)]) for each in inspection.tracked
    ]
    return [overview, *passages, Section("Neurons: where the units are highest and lowest", [contexts])]


def _correlations(tracked: Sequence[TrackedFeature], table: Table) -> Picture:
    """Return bars of |r| for each feature, one color for each model, with a mark for shifted text."""
    features = list(dict.fromkeys(each.feature for each in tracked))
    runs = list(dict.fromkeys(each.run for each in tracked))
    thickness = 0.8 / len(runs)
    with chart(
        "correlation of the best unit with each feature", height=0.9 + 0.32 * len(features) * max(1, len(runs) / 2)
    ) as drawn:
        for number, run in enumerate(runs):
            own = [each for each in tracked if each.run == run]
            heights = np.array([features.index(each.feature) for each in own]) + (number + 0.5) * thickness - 0.4
            color = SERIES[number % len(SERIES)]
            drawn.ax.barh(heights, [abs(each.r) for each in own], thickness * 0.85, color=color, label=run)
            marks = [each.shuffled_r for each in own]
            label = "shifted text" if number == 0 else None
            drawn.ax.scatter(marks, heights, marker="|", s=90, color="#010203", label=label, zorder=3)
        drawn.ax.set_yticks(range(len(features)), features, parse_math=False)
        drawn.ax.invert_yaxis()
        drawn.ax.set_xlim(0, 1)
        drawn.ax.set_xlabel("|r| of the best unit with the feature")
        drawn.ax.grid(axis="y", visible=False)
        drawn.figure.legend(loc="outside upper right", ncols=min(len(runs) + 1, 4))
    return Picture(
        drawn.svg,
        "A bar says how closely one unit follows a feature: 1 would be perfectly. The unit was selected on the first half of "
        "the text and measured on the second. The mark is the best result for text that is shifted against the network, which "
        "chance alone reaches; a bar that ends before its mark means nothing.",
        table,
    )


def passage(tracked: TrackedFeature) -> Picture:
    """Return a passage whose tokens are colored by a unit's value, in the manner of Karpathy, Johnson and Fei-Fei (2015)."""
    center, scale = scale_of(tracked)
    spans = []
    for token, value in zip(tracked.tokens, tracked.values.tolist(), strict=True):
        shade = round(NUM_SHADES * max(-1.0, min(1.0, (value - center) / scale)))
        name = f"u{'n' if shade < 0 else 'p'}{abs(shade)}" if shade else "u0"
        text = _as_shown(token)
        spans.append(Markup('<span class="{}" title="{}">{}</span>').format(name, f"{value:.2f}", text))
    label = f"Passage colored by {tracked.unit}; its values are in the table below"
    legend = "".join(
        Markup('<span class="{}">{}</span>').format(
            f"u{'n' if shade < 0 else 'p'}{abs(shade)}" if shade else "u0",
            f" {center + shade * scale / NUM_SHADES:.2f} ",
        )
        for shade in range(-NUM_SHADES, NUM_SHADES + 1)
    )
    html = Markup(
        '<p class="shades" aria-hidden="true">{}</p><div class="text units" role="group" aria-label="{}" lang="">{}</div>'
    ).format(Markup(legend), label, Markup(tracked.separator).join(spans))
    chance = "" if abs(tracked.r) > tracked.shuffled_r else ", which is no more than chance reaches"
    kind = "true at" if tracked.is_binary else "mean"
    about = f"{tracked.mean:.1%} of the tokens" if tracked.is_binary else f"{tracked.mean:.3g}"
    rows = [
        (place, token, float(value), float(feature))
        for place, (token, value, feature) in enumerate(
            zip(tracked.tokens, tracked.values, tracked.feature_values, strict=True), start=tracked.start + 1
        )
    ]
    return Picture(
        html,
        f"Each token has the color of the value that {tracked.unit} has after it: purple is high, orange is low. Its "
        f"correlation with “{tracked.feature}” ({kind} {about}) is r = {tracked.r:.2f}{chance}. Point at a token for its "
        "value.",
        Table(
            "passage",
            f"Values of {tracked.unit}, and of {tracked.feature}",
            ("position", "token", "value", "feature"),
            rows,
        ),
    )


def scale_of(tracked: TrackedFeature) -> tuple[float, float]:
    """Return the value without color, and the distance from it at which the color is fullest."""
    center = 0.5 if "gate" in tracked.unit.part else 0.0
    return center, max(float(np.abs(tracked.values - center).max()), 1e-6)


def _as_shown(token: str) -> str:
    """Return a token with its white space, line ends marked."""
    shown = token.replace("␣", " ")
    return "⏎\n" if shown == "⏎" else shown
