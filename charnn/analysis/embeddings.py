"""Embedding vectors: nearest neighbors and principal components, of tokens, n-grams and the output layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.analysis.subjects import Subject
from charnn.analysis.tables import Table
from charnn.cells.ngram_embedding import ngram_row, table_sizes
from charnn.cells.word_prefix import rows_of_words
from charnn.config import InspectOptions
from charnn.notices import notice_logger
from charnn.text.corpus import open_ids
from charnn.text.stored_ids import spread

logger = notice_logger(__name__)

NUM_NEIGHBORS = 8
MAX_TOKENS = 400
"""Tokens that are listed, the most frequent of the vocabulary."""
MAX_NGRAMS = 200
"""N-grams of each order that are listed, the most frequent of the text."""
MAX_COUNTED = 1_000_000
"""Tokens of the training text in which n-grams are counted."""


@dataclass(frozen=True)
class Vectors:
    """One vector for each of some tokens.

    Args:
        run: the model.
        kind: "input", "output", or "2-gram", "3-gram" ... and "word so far" for the vectors that these add to the input.
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
        tokens = subject.tokens(ids)
        if shape.inputs == "embedding":
            found.append(_vectors(subject, "input", weights["embedding.weight"][ids], tokens))
        found += _ngram_vectors(subject)
        if not shape.tie_weights:
            found.append(_vectors(subject, "output", weights["output.weight"][ids], tokens))
    return Embeddings(found)


def _ngram_vectors(subject: Subject) -> list[Vectors]:
    """Return the vectors of the most frequent n-grams of each order that is embedded."""
    model, shape = subject.model, subject.model.architecture
    if shape.embedding_order == 1:
        return []
    stored = model.path / "train.bin"
    text = spread(open_ids(stored, model.tokenizer), MAX_COUNTED).astype(np.int64) if stored.exists() else subject.ids
    if len(text) < shape.embedding_order:
        logger.info(f"{subject.name}: has no text in which to count n-grams, so their vectors are left out")
        return []
    found = []
    for order, size in enumerate(table_sizes(shape), start=2):
        ngrams = frequent_ngrams(text, order, MAX_NGRAMS)
        rows = ngram_row(list((ngrams + 1).T), shape.numbered_vocab_size, size)
        names = subject.tokens(np.unique(ngrams))
        texts = dict(zip(np.unique(ngrams).tolist(), names, strict=True))
        separator = "" if model.tokenizer.kind in ("char", "byte", "subword") else " "
        tokens = [separator.join(texts[id] for id in ngram) for ngram in ngrams.tolist()]
        found.append(_vectors(subject, f"{order}-gram", model.weights[f"embedding.{order}.weight"][rows], tokens))
    if shape.word_codes is not None:
        words, rows = frequent_words(text, shape.word_codes, shape.word_rows, MAX_NGRAMS)
        tokens = ["".join(subject.tokens(word)).lower() for word in words]  # the same in both cases
        if len(tokens):
            found.append(_vectors(subject, "word so far", model.weights["embedding.word.weight"][rows], tokens))
    return found


def frequent_words(
    text: npt.NDArray[np.int64], codes: Sequence[int], num_rows: int, most: int
) -> tuple[list[npt.NDArray[np.int64]], npt.NDArray[np.int64]]:
    """Return the words so far (token ids) that are most frequent in a text (N,), and the row of each (K,).

    Of words that share a row, the first in the text stands for all.

    Args:
        codes: of the tokens (V,), see `charnn.cells.word_prefix.codes_of`.
        num_rows: rows of the table.
    """
    codes_N = np.array(codes)[text]
    rows_N1, _ = rows_of_words(codes_N[:, None], np.zeros(1, dtype=np.int64), num_rows, np)
    (ends,) = np.nonzero(codes_N > 0)
    rows, first, counts = np.unique(rows_N1[ends, 0], return_index=True, return_counts=True)
    starts = np.maximum.accumulate(np.where(codes_N > 0, 0, np.arange(len(text)) + 1))
    selected = np.argsort(-counts, kind="stable")[:most]
    return [text[starts[end] : end + 1] for end in ends[first[selected]].tolist()], rows[selected]


def frequent_ngrams(text: npt.NDArray[np.int64], order: int, most: int) -> npt.NDArray[np.int64]:
    """Return the most frequent n-grams of a text (N,), as rows of token ids (K, order), the most frequent first.

    Of equally frequent ones, that with the smallest ids comes first.
    """
    num_ngrams, base = len(text) - order + 1, int(text.max()) + 1
    classes = text[:num_ngrams]
    for place in range(1, order):
        keys = classes * base + text[place:][:num_ngrams]
        _, first, classes, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    selected = np.argsort(-counts, kind="stable")[:most]
    ngrams: npt.NDArray[np.int64] = text[first[selected][:, None] + np.arange(order)]
    return ngrams


def _vectors(subject: Subject, kind: str, matrix: npt.NDArray[np.float32], tokens: Sequence[str]) -> Vectors:
    points, explained = principal_components(matrix)
    unit = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    similarity = (unit @ unit.T).astype(np.float64)
    np.fill_diagonal(similarity, -np.inf)
    neighbors = np.argsort(-similarity, axis=1, kind="stable")[:, : min(NUM_NEIGHBORS, len(tokens) - 1)]
    return Vectors(
        subject.name,
        kind,
        tokens,
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
