"""Pictures of dropout masks over time."""

from matplotlib.colors import ListedColormap

from charnn.analysis.dropout_masks import DropoutMasks, RunMasks
from charnn.analysis.tables import Table
from charnn.report.charts import SERIES, chart
from charnn.report.sections import Picture, Section

KINDS = (
    "naive: a new mask at each time step. A unit is kept at one step and dropped at the next, which would make a network "
    "forget if it were done to recurrent connections; so these have no mask (Zaremba et al. 2014).",
    "locked: one mask for all time steps of a batch, so that a unit is dropped for as long as the gradient reaches back; "
    "recurrent connections have none (Merity et al. 2018).",
    "variational: locked, and the recurrent connections have a mask of their own, the same at each time step (Gal and "
    "Ghahramani 2016).",
)


def sections(inspection: DropoutMasks) -> list[Section]:
    """Return the pictures of each model, with an explanation."""
    text = (
        "Dropout sets random values to 0 in training and multiplies the others by 1 / (1 - rate), so that their mean stays the "
        "same. The kinds differ in what they do over time. In evaluation and generation, nothing is dropped."
    )
    pictures = [_picture(run) for run in inspection.runs]
    return [Section("Dropout masks over time", [text, *KINDS, *pictures])]


def _picture(run: RunMasks) -> Picture:
    """Return the masks of the three kinds side by side."""
    columns = list(dict.fromkeys(mask.kind for mask in run.masks))
    rows = list(dict.fromkeys(mask.connections for mask in run.masks))
    with chart(
        f"Dropout masks at the rate of {run.run}, {run.rate:g}",
        rows=2,
        columns=len(columns),
        height=5.4,
        sharex=True,
        sharey=True,
    ) as drawn:
        for mask in run.masks:
            column, row = columns.index(mask.kind), rows.index(mask.connections)
            axes = drawn.axes[row * len(columns) + column]
            axes.imshow(
                mask.mask.T > 0,
                cmap=ListedColormap(["#00000000", SERIES[0]]),
                vmin=0,
                vmax=1,
                aspect="auto",
                interpolation="nearest",
            )
            axes.grid(visible=False)
            title = f"{mask.kind}{' (this run)' if mask.kind == run.kind else ''}\n" if not row else ""
            axes.set_title(title + (f"{mask.kept_fraction:.0%} kept" if mask.rate else "no mask"))
            if row:
                axes.set_xlabel("time step")
            if not column:
                axes.set_ylabel(f"{mask.connections} connections\nunit" if row else "output of the layer\nunit")
    return Picture(drawn.svg, _caption(run), _table(run))


def _caption(run: RunMasks) -> str:
    rate = f"the rate of {run.run}, {run.rate:g}" if run.kind else f"a rate of {run.rate:g} ({run.run} has no dropout)"
    return (
        f"Colored: kept; blank: dropped, at {rate}. One row of the picture is one unit, and time goes to the right: where rows "
        "are uniform, a unit is kept or dropped throughout."
    )


def _table(run: RunMasks) -> Table:
    return DropoutMasks([run]).tables()[0]
