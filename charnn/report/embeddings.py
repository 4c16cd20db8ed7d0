"""Pictures of embedding vectors."""

from charnn.analysis.embeddings import Embeddings, Vectors
from charnn.analysis.tables import Table
from charnn.report.charts import SERIES, chart
from charnn.report.labels import place_labels
from charnn.report.sections import Picture, Section


def sections(inspection: Embeddings) -> list[Section]:
    """Return a section for each kind of vectors of each model."""
    return [Section(f"Embeddings: {each.kind} vectors of {each.run}", [_map(each)]) for each in inspection.vectors] + [
        Section("Nearest neighbors", list(inspection.tables()))
    ]


def _map(vectors: Vectors) -> Picture:
    """Return the tokens at their principal components."""
    with chart(f"{vectors.kind} vectors of {vectors.run} in two dimensions", height=5.2) as drawn:
        drawn.ax.scatter(vectors.points[:, 0], vectors.points[:, 1], s=4, color=SERIES[0])
        first, second = vectors.explained
        drawn.ax.set_xlabel(f"first principal component ({first:.0%} of the variance)")
        drawn.ax.set_ylabel(f"second ({second:.0%})")
        drawn.ax.margins(0.06)
        labels = [(token, float(x), float(y)) for token, (x, y) in zip(vectors.tokens, vectors.points, strict=True)]
        num_left_out = place_labels(drawn, labels)
    left_out = f" {num_left_out} labels that would cover others are in the table only." if num_left_out else ""
    return Picture(
        drawn.svg,
        f"Tokens that the network treats alike are near each other, as far as two dimensions show it.{left_out}",
        Table("points", "Coordinates on the first two principal components", ("token", "first", "second"), labels),
    )
