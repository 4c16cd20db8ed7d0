"""Charts as SVG, drawn by matplotlib in one style, whose ink is that of the page: light, dark or printed."""

import hashlib
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from cycler import cycler
from markupsafe import Markup
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, QUIET, PAPER = "#010203", "#010204", "#010205"
"""Colors that stand for the variables of the page with these names."""
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7a00", "#7f7f7f")
"""Colors of series in this order, which people with any color vision tell apart. Source: Okabe and Ito (2008)."""
LINE_STYLES = ("-", "--", "-.", ":")
"""Line styles of series beyond the colors, and for those who see no color."""
WIDTH, HEIGHT = 6.4, 3.2
"""The size of a chart in inches, of 72 points; pages scale it."""
MAX_LABEL = 28
"""Characters of a label."""
REMS_PER_INCH = 7.5
"""The largest scale at which a page shows a chart."""
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "charnn",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": QUIET,
    "grid.alpha": 0.25,
    "axes.grid": True,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.prop_cycle": cycler(color=list(SERIES)),
}
_NUMBER = re.compile(r"\d+\.\d{3,}")
_VARIABLES = {INK: "ink", QUIET: "quiet", PAPER: "paper"}
_drawing = threading.Lock()


class Chart:
    """A chart while it is drawn; `svg` is set when it is complete.

    Args:
        figure: of matplotlib.
        axes: its axes, row by row.
    """

    def __init__(self, figure: Figure, axes: "list[Axes]") -> None:
        self.figure, self.axes = figure, axes
        self.svg = Markup()

    @property
    def ax(self) -> "Axes":
        """The only axes, or the first ones."""
        return self.axes[0]


@contextmanager
def chart(
    label: str, *, width: float = WIDTH, height: float = HEIGHT, rows: int = 1, columns: int = 1, **options: Any
) -> Iterator[Chart]:
    """Draw a chart.

    Args:
        label: what it shows, for screen readers.
        width, height: in inches.
        rows, columns: of axes.
        options: of `Figure.subplots`.

    Example:
        >>> from charnn.report.charts import chart
        >>> with chart("squares") as drawn:
        ...     _ = drawn.ax.plot([0, 1, 2], [0, 1, 4], label="x²")
        >>> drawn.svg.startswith("<svg")
        True
    """
    with _drawing, mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        made = figure.subplots(rows, columns, squeeze=False, **options)
        drawn = Chart(figure, list(made.flat))
        yield drawn
        drawn.svg = _svg(figure, label, width)


def _svg(figure: Figure, label: str, width: float) -> Markup:
    """Return a figure as an SVG element whose ink is that of the page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    own = hashlib.sha256((label + text).encode()).hexdigest()[:8]  # another chart of the page has the same ids
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{own}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(url\(|href=")#(?=[^")]+)', rf"\1#{own}-", text)
    text = re.sub(r"<[^>]*>", lambda tag: _NUMBER.sub(_rounded, tag[0]), text)  # in attributes, not in labels
    text = re.sub(r"<defs>\s*</defs>|\s*\n\s*", lambda found: "" if found[0].startswith("<") else "\n", text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var(--{variable})")
    size = re.search(r'viewBox="[^"]*"', text)
    assert size is not None
    opening = Markup(
        '<svg class="chart" role="img" aria-label="{}" style="max-width:{:g}rem" xmlns="http://www.w3.org/2000/svg" {}>'
    ).format(label, REMS_PER_INCH * width, Markup(size[0]))
    return opening + Markup(text[text.index(">") + 1 :].strip())


def _rounded(number: "re.Match[str]") -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def short(name: str) -> str:
    """Return a name as a label that leaves room for the chart: the end of a long one.

    Example:
        >>> from charnn.report.charts import short
        >>> short("/home/someone/experiments/of/november/runs/fables")
        '…nts/of/november/runs/fables'
    """
    return name if len(name) <= MAX_LABEL else "…" + name[1 - MAX_LABEL :]


def legend_label(name: str) -> str:
    """Return a name as a label of a legend, which shows it as it is."""
    return short(name).replace("$", r"\$").removeprefix("_")


def standalone(svg: Markup) -> str:
    """Return a chart as an SVG file in the colors of the light page."""
    text = str(svg)
    for variable, color in {"ink": "#1b1b18", "quiet": "#5a5a52", "paper": "#ffffff"}.items():
        text = text.replace(f"var(--{variable})", color)
    head, end, rest = text.partition(">")
    return f'{head}{end}<style>* {{ stroke-linejoin: round }}</style><rect width="100%" height="100%" fill="#fff"/>{rest}\n'
