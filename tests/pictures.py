"""Make the README's pictures from a model: SVG in the colors of a light page.

python -m tests.pictures [RUN] [--minutes 1]
"""

import argparse
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import charnn
from charnn.analysis.gradients import inspect
from charnn.analysis.overview import read_overview
from charnn.analysis.subjects import read_subjects
from charnn.config import InspectOptions, ReportOptions
from charnn.notebook import SHADES, level_of
from charnn.report import gradients
from charnn.report.charts import standalone
from charnn.report.curves import curve_figures
from charnn.report.sections import Figures, Picture

TARGET = Path(__file__).parent / "screenshots"
MAX_BYTES = 150_000
"""Of all pictures together."""
COLUMNS, LINES, SKIPPED_LINES = 72, 9, 5
CHARACTER_WIDTH, LINE_HEIGHT, MARGIN = 8.4, 22, 12


def main() -> None:
    """Train a model unless one is named, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--minutes", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(
            arguments.run
            or charnn.train("corpora/fables.txt", minutes=arguments.minutes, output=f"{folder}/fables").path
        )
        pictures = {"curves": curves(path), "passage": passage(path), "inside": inside(path)}
    num_bytes = sum(len(picture.encode()) for picture in pictures.values())
    if num_bytes > MAX_BYTES:
        raise SystemExit(f"the pictures have {num_bytes:,} bytes, more than {MAX_BYTES:,}")
    for name, picture in pictures.items():
        (TARGET / f"{name}.svg").write_text(picture, encoding="utf-8")


def curves(path: Path) -> str:
    """Return training and validation loss."""
    figures = curve_figures(read_overview([path], ReportOptions()).runs)[0]
    assert isinstance(figures, Figures)
    return standalone(figures.pictures[0].svg)


def inside(path: Path) -> str:
    """Return how much context the model uses."""
    sections = gradients.sections(inspect(read_subjects([path], options := InspectOptions(tokens=20_000)), options))
    memory = next(section for section in sections if section.title == "Effective memory")
    return standalone(next(part for part in memory.parts if isinstance(part, Picture)).svg)


def passage(path: Path) -> str:
    """Return a passage colored by surprisal."""
    surprisals = read_overview([path], ReportOptions()).runs[0].surprisals
    assert surprisals is not None
    column, line, parts = 0, -SKIPPED_LINES, []
    for before, token in surprisals.passage:
        column += len(before)
        if token.token == "\n" or column >= COLUMNS:
            column, line = 0, line + 1
            if token.token == "\n":
                continue
        if 0 <= line < LINES and token.surprisal_bits is not None:
            x, y = MARGIN + CHARACTER_WIDTH * column, MARGIN + LINE_HEIGHT * line
            width = CHARACTER_WIDTH * len(token.token)
            color = SHADES[level_of(token.surprisal_bits)].light
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width + 0.2:.1f}" height="{LINE_HEIGHT}" fill="{color}"/>')
            parts.append(
                f'<text x="{x:.1f}" y="{y + 16}" textLength="{width:.1f}" xml:space="preserve">{escape(token.token)}</text>'
            )
        column += len(token.token)
    size = f"0 0 {2 * MARGIN + CHARACTER_WIDTH * COLUMNS:.0f} {2 * MARGIN + LINE_HEIGHT * LINES}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img" aria-label="A passage colored by surprisal" '
        f'font-family="ui-monospace, monospace" font-size="14" fill="#111">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


if __name__ == "__main__":
    main()
