"""Embedding vectors: nearest neighbors and principal components, of tokens, n-grams and the output layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.analysis.subjects import Subject
from charnn.analysis.tables import Table
from charnn.config import InspectOptions

NUM_NEIGHBORS = 8
MAX_TOKENS = 400
"""Tokens that are listed, the most frequent of the vocabulary."""


@dataclass(frozen=True)
class Vectors:
    """One vector for each of some tokens.

    Args:
        run: the model.
        kind: "input" or "output".
        tokens: their texts (N).
        points: coordinates on the first two principal components (N, 2).
        explained: fraction of the variance along each of the two.
        neighbors: of each token, the indices of the tokens with the most similar vectors (N, K).
        similarities: their cosine similarities (N, K).
    """

    run: str
    kind: str
    tokens: Sequence[str]
    points: npt.NDArray[np.float64]
    explained: tuple[float, float]
    neighbors: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Embeddings:
    """The embedding and output vectors of models."""

    vectors: Sequence[Vectors]

    def tables(self) -> Sequence[Table]:
        """Return the nearest neighbors of each token."""
        rows = [
            (
                each.run,
                each.kind,
                token,
                "  ".join(
                    f"{each.tokens[other]} ({similarity:.2f})"
                    for other, similarity in zip(each.neighbors[index].tolist(), each.similarities[index], strict=True)
                ),
            )
            for each in self.vectors
            for index, token in enumerate(each.tokens)
        ]
        return [
            Table("neighbors", "Nearest neighbors by cosine similarity", ("run", "vectors", "token", "neighbors"), rows)
        ]


def inspect(subjects: Sequence[Subject], options: InspectOptions) -> Embeddings:  # noqa: ARG001
    """Return the vectors of each model."""
    found = []
    for subject in subjects:
        weights, shape = subject.model.weights, subject.model.architecture
        ids = np.arange(min(len(subject.model.tokenizer.vocabulary), MAX_TOKENS))
        if shape.inputs == "embedding":
            found.append(_vectors(subject, "input", weights["embedding.weight"][ids], ids))
        if not shape.tie_weights:
            found.append(_vectors(subject, "output", weights["output.weight"][ids], ids))
    return Embeddings(found)


def _vectors(subject: Subject, kind: str, matrix: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]) -> Vectors:
    points, explained = principal_components(matrix)
    unit = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    similarity = (unit @ unit.T).astype(np.float64)
    np.fill_diagonal(similarity, -np.inf)
    neighbors = np.argsort(-similarity, axis=1, kind="stable")[:, : min(NUM_NEIGHBORS, len(ids) - 1)]
    return Vectors(
        subject.name,
        kind,
        subject.tokens(ids),
        points,
        explained,
        neighbors,
        np.take_along_axis(similarity, neighbors, axis=1),
    )


def principal_components(matrix: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    """Return the coordinates of rows (N, D) on the first two principal components (N, 2), and the explained variances.

    The sign of each component makes its largest coordinate positive, so that it does not depend on the machine.
    """
    centered = matrix.astype(np.float64) - matrix.mean(axis=0, dtype=np.float64)
    left, singular, _ = np.linalg.svd(centered, full_matrices=False)
    points = np.zeros((len(matrix), 2))
    found = (left * singular)[:, :2]
    points[:, : found.shape[1]] = found * np.sign(found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])])
    shares = np.zeros(2)
    shares[: len(singular[:2])] = np.square(singular[:2]) / max(np.square(singular).sum(), 1e-300)
    return points, (float(shares[0]), float(shares[1]))
