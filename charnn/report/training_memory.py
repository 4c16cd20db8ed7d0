"""Pictures of what backpropagation through time keeps in memory."""

import numpy as np

from charnn.analysis.tables import Table
from charnn.analysis.training_memory import SavedBytes, TrainingMemory
from charnn.report.charts import SERIES, chart
from charnn.report.legends import legend_below, series_style
from charnn.report.sections import Picture, Section

MIB = 1 << 20


def sections(inspection: TrainingMemory) -> list[Section]:
    """Return a section for each model, and one with the figures of all."""
    found = [
        Section(f"Memory of training {run.run}", [_formula(run), _growth(run), _truncation(run)])
        for run in inspection.runs
    ]
    return [*found, Section("Memory of training in figures", [inspection.truncation_table(), inspection.part_table()])]


def _formula(run: SavedBytes) -> str:
    fit = run.fit
    error = run.largest_error
    agreement = f"are within {error:.1%} of it" if error >= 0.0005 else "agree with it"
    per_token, per_row, constant = map(_size, (fit.per_token, fit.per_row, fit.constant))
    return (
        "Backpropagation through time goes back over the activations of every time step, so the forward pass keeps them until "
        f"then. For this {run.cell}, it keeps {per_token} for each token of each batch row, {per_row} for each row and "
        f"{constant} for a step: memory = {per_token} × T × B + {per_row} × B + {constant}, with T tokens between truncations "
        f"and B rows. The measurements {agreement}. The weights, {_size(run.weight_bytes)}, are "
        "not counted."
    )


def _growth(run: SavedBytes) -> Picture:
    """Return the measured memory against T, for each B."""
    lengths = np.array(run.lengths)
    with chart(f"Memory that a training step of {run.run} keeps, against the length of a segment", height=3.8) as drawn:
        for number, batch_size in enumerate(run.batch_sizes):
            color, style = series_style(number)
            fitted = np.array([run.expected(length, batch_size) for length in run.lengths])
            drawn.ax.plot(lengths, fitted / MIB, style, color=color, linewidth=1)
            label = f"B = {batch_size} row{'s' if batch_size > 1 else ''}"
            drawn.ax.plot(lengths, run.num_bytes[:, number] / MIB, "o", color=color, markersize=4, label=label)
        drawn.ax.set_xscale("log", base=2)
        drawn.ax.set_yscale("log")
        drawn.ax.set_xticks(lengths, list(map(str, run.lengths)))
        drawn.ax.set_xlabel("T (tokens)")
        drawn.ax.set_ylabel("saved for the backward pass (MiB)")
        legend_below(drawn, columns=4)
    caption = (
        "Dots: measured; lines: the formula. Both axes are logarithmic: twice the length takes twice the memory, and so do "
        "twice as many rows."
    )
    return Picture(drawn.svg, caption, TrainingMemory([run]).measurement_table())


def _truncation(run: SavedBytes) -> Picture:
    """Return the memory of a step of the run beside that of its whole text."""
    step, whole = run.expected(run.bptt_length, run.batch_size), run.expected(run.num_train_tokens, 1)
    bars = {
        f"one step of the run:\n{run.batch_size} rows of {run.bptt_length} tokens": step,
        f"the whole text unrolled:\n{run.num_train_tokens:,} tokens": whole,
    }
    with chart(f"Memory of a step of {run.run}, and of its whole text unrolled", height=1.9) as drawn:
        drawn.ax.barh(list(bars), [each / MIB for each in bars.values()], color=SERIES[:2], height=0.6)
        for place, each in enumerate(bars.values()):
            drawn.ax.annotate(_size(each), (each / MIB, place), va="center", xytext=(4, 0), textcoords="offset points")
        drawn.ax.invert_yaxis()
        drawn.ax.set_axisbelow(True)
        drawn.ax.grid(visible=False, axis="y")
        drawn.ax.set_xlim(0, 1.2 * max(bars.values()) / MIB)
        drawn.ax.set_xlabel("saved for the backward pass (MiB)")
    caption = (
        f"Truncation after {run.bptt_length} tokens divides the memory by {whole / step:,.0f}: the state is carried on, but "
        "gradients end there. The bar of the whole text is extrapolated by the formula."
    )
    rows = [(name.replace("\n", " "), int(each)) for name, each in bars.items()]
    return Picture(
        drawn.svg, caption, Table("truncation", "Saved for the backward pass", ("what", "saved_bytes"), rows)
    )


def _size(num_bytes: float) -> str:
    """Return a size in words, with three significant digits."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(num_bytes) < 1024 or unit == "GiB":
            break
        num_bytes /= 1024
    return f"{num_bytes:.3g} {unit}" if abs(num_bytes) < 1000 else f"{num_bytes:,.0f} {unit}"
