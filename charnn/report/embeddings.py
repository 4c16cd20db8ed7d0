"""Pictures of embedding vectors."""

from charnn.analysis.embeddings import Embeddings, Vectors
from charnn.analysis.tables import Table
from charnn.report.charts import SERIES, chart
from charnn.report.sections import Picture, Section

MAX_LABELS = 150


def sections(inspection: Embeddings) -> list[Section]:
    """Return a section for each kind of vectors of each model."""
    return [Section(f"Embeddings: {each.kind} vectors of {each.run}", [_map(each)]) for each in inspection.vectors] + [
        Section("Nearest neighbors", list(inspection.tables()))
    ]


def _map(vectors: Vectors) -> Picture:
    """Return the tokens at their principal components."""
    with chart(f"{vectors.kind} vectors of {vectors.run} in two dimensions", height=5.2) as drawn:
        drawn.ax.scatter(vectors.points[:, 0], vectors.points[:, 1], s=4, color=SERIES[0])
        for token, (x, y) in list(zip(vectors.tokens, vectors.points, strict=True))[:MAX_LABELS]:
            drawn.ax.annotate(token, (x, y), fontsize=7, textcoords="offset points", xytext=(2, 2), parse_math=False)
        first, second = vectors.explained
        drawn.ax.set_xlabel(f"first principal component ({first:.0%} of the variance)")
        drawn.ax.set_ylabel(f"second ({second:.0%})")
    rows = [(token, float(x), float(y)) for token, (x, y) in zip(vectors.tokens, vectors.points, strict=True)]
    return Picture(
        drawn.svg,
        "Tokens that the network treats alike are near each other.",
        Table("points", "Coordinates on the first two principal components", ("token", "first", "second"), rows),
    )
