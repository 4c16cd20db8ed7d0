"""Text colored by surprisal, and pictures of where the loss is highest and lowest."""

import json
import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

import charnn
from charnn.analysis.overview import RunOverview
from charnn.analysis.surprisals import Surprisals, TokenLoss
from charnn.analysis.tables import Table
from charnn.notebook import SHADES, level_of
from charnn.report.charts import SERIES, chart, legend_label, short
from charnn.report.page import fragment
from charnn.report.sections import Figures, Picture

NUM_BARS = 15
NUM_ROWS = 12
CLOSING = "</s>"
"""The boundary of documents."""
FREQUENT = 10
"""Minimum count of the tokens with the highest and lowest mean surprisal."""


def passage_markup(run: RunOverview) -> Markup:
    """Return the passage of a model as HTML: tokens colored by surprisal, with what the model expected."""
    assert run.surprisals is not None
    return fragment(
        "passage.html",
        label=f"Tokens and their surprisal, {run.name}",
        tokens=[_token(before, token) for before, token in run.surprisals.passage],
        legend=_legend(),
    )


def _legend() -> list[str]:
    """Return the bounds of each shade in words."""
    bounds = [shade.below_bits for shade in SHADES]
    between = [f"{low:g} to {high:g}" for low, high in pairwise(bounds[:-1])]
    return [f"below {bounds[0]:g} bits", *between, f"{bounds[-2]:g} and more"]


def _token(before: str, token: "charnn.ScoredToken") -> dict[str, object]:
    """Return what the page needs of a token."""
    bits = token.surprisal_bits
    names = [[charnn.api.visible(name), _percent(nats)] for name, nats in token.alternatives]
    return {
        "before": before,
        "shown": "⏎\n" if token.token in ("\n", CLOSING) else token.token,
        "name": charnn.api.visible(token.token) + (", unknown, read as <unk>" if token.is_unknown else ""),
        "is_unknown": token.is_unknown,
        "level": None if bits is None else level_of(bits),
        "bits": "" if bits is None else f"{bits:.4f}",
        "rank": token.rank or "",
        "alternatives": json.dumps(names, ensure_ascii=False, separators=(",", ":")),
    }


def _percent(nats: float) -> float:
    return float(f"{100 * math.exp(nats):.3g}")


def loss_pictures(runs: Sequence[RunOverview]) -> list[str | Markup | Picture | Figures | Table]:
    """Return where the loss of models on a text is: by token, and by position in the line."""
    pictures = [_shares(run) for run in runs]
    if any(len(run.surprisals.position_bits) > 1 for run in runs if run.surprisals):
        pictures.append(_positions(runs))
    parts: list[str | Markup | Picture | Figures | Table] = [Figures(pictures)]
    for run in runs:
        parts += _extremes(run)
    return parts


def _shares(run: RunOverview) -> Picture:
    """Return the tokens with the largest shares of the loss as bars."""
    assert run.surprisals is not None
    tokens = run.surprisals.by_token[:NUM_BARS]
    with chart(f"Tokens with the largest share of the loss of {run.name}", width=4.8, height=3.6) as drawn:
        rows = range(len(tokens))
        drawn.ax.barh(rows, [100 * each.share for each in tokens], color=SERIES[0])
        drawn.ax.set_yticks(rows, [short(each.token) for each in tokens], parse_math=False)
        drawn.ax.invert_yaxis()
        drawn.ax.grid(visible=False, axis="y")
        drawn.ax.set_xlabel("share of the loss (%)")
    caption = (
        f"{run.name}: the tokens that have the largest share of the loss, since they are frequent, surprising, or both. "
        "The table says which."
    )
    return Picture(drawn.svg, caption, _token_table(run.surprisals, run.surprisals.by_token, "Loss by token"))


def _token_table(surprisals: Surprisals, tokens: Sequence[TokenLoss], caption: str) -> Table:
    rows = [(each.token, each.count, each.mean_bits, 100 * each.share) for each in tokens]
    caption += f", of {surprisals.num_tokens:,} tokens"
    return Table("by_token", caption, ("token", "count", "mean_surprisal_bits", "share_of_loss_percent"), rows)


def _positions(runs: Sequence[RunOverview]) -> Picture:
    """Return the mean surprisal by position in the line."""
    rows: list[tuple[str, int, float, int]] = []
    with chart("Mean surprisal by position in the line", width=4.8, height=3.6) as drawn:
        for number, run in enumerate(runs):
            assert run.surprisals is not None
            bits, counts = run.surprisals.position_bits, run.surprisals.position_counts
            label = legend_label(run.name)
            drawn.ax.plot(range(1, len(bits) + 1), bits, color=SERIES[number % len(SERIES)], label=label)
            rows += [
                (run.name, position, float(mean), int(count))
                for position, (mean, count) in enumerate(zip(bits, counts, strict=True), start=1)
                if not math.isnan(mean)
            ]
        drawn.ax.set_ylim(bottom=0)
        drawn.ax.set_xlabel("position in the line (tokens)")
        drawn.ax.set_ylabel("mean surprisal (bits)")
        if len(runs) > 1:
            drawn.ax.legend()
    caption = (
        "Mean surprisal by position in the line. The first tokens of a line are often the hardest to predict, since the line "
        "before says little about them."
    )
    columns = ("run", "position", "mean_surprisal_bits", "count")
    return Picture(drawn.svg, caption, Table("by_position", "Mean surprisal by position in the line", columns, rows))


def _extremes(run: RunOverview) -> list[Table]:
    """Return the tokens with the highest and the lowest mean surprisal, of those that are not rare."""
    assert run.surprisals is not None
    frequent = sorted(
        (each for each in run.surprisals.by_token if each.count >= FREQUENT), key=lambda each: -each.mean_bits
    )
    if len(frequent) < 2:
        return []
    num_rows = min(NUM_ROWS, len(frequent) // 2)
    of = f"of {run.name}, that occur at least {FREQUENT} times"
    return [
        _token_table(run.surprisals, frequent[:num_rows], f"Tokens with the highest mean surprisal {of}"),
        _token_table(run.surprisals, frequent[: -num_rows - 1 : -1], f"Tokens with the lowest mean surprisal {of}"),
    ]
