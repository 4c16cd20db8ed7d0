"""Texts as paths of hidden states: states over time, the distance between two texts, and principal components."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt

from charnn.analysis.embeddings import principal_components
from charnn.analysis.subjects import Subject
from charnn.analysis.tables import Table
from charnn.config import InspectOptions
from charnn.errors import OptionError
from charnn.inference.threads import limited_blas_threads
from charnn.text.tokenizers import decode

Floats = npt.NDArray[np.float64]

NUM_LINES, MAX_LINE = 3, 80
"""Lines of the held-out text that are shown by default, and the tokens of each at most."""


@dataclass(frozen=True)
class TextStates:
    """The states of a network after each token of a text.

    Args:
        run: the model.
        number: of the text, from 1.
        text: what is read; <unk> stands for unknown tokens.
        ids: the tokens, in reading order (T,).
        tokens: their texts.
        states: outputs of the top layer (T, H).
        points: the states on the first two principal components of all texts of the model (T, 2).
    """

    run: str
    number: int
    text: str
    ids: npt.NDArray[np.int64]
    tokens: Sequence[str]
    states: npt.NDArray[np.float32]
    points: Floats


@dataclass(frozen=True)
class Distance:
    """The distance between the states of two texts at the tokens that they share, from the first difference on.

    Args:
        run: the model.
        first, second: numbers of the texts.
        first_positions, second_positions: positions of the aligned tokens (A,).
        cosine: 1 - cosine similarity of the states (A,).
        euclidean: Euclidean distance (A,).
    """

    run: str
    first: int
    second: int
    first_positions: npt.NDArray[np.int64]
    second_positions: npt.NDArray[np.int64]
    tokens: Sequence[tuple[str, str]]
    cosine: Floats
    euclidean: Floats


@dataclass(frozen=True)
class States:
    """The states of models while they read texts.

    Args:
        texts: of each model.
        distances: of the first text and each other one.
        orders: of each model, the units in an order in which those that act alike are neighbors (H,).
        explained: of each model, the fraction of the variance along the two principal components.
    """

    texts: Sequence[TextStates]
    distances: Sequence[Distance]
    orders: dict[str, npt.NDArray[np.int64]]
    explained: dict[str, tuple[float, float]]

    def tables(self) -> Sequence[Table]:
        """Return the distances between texts, and the path of each."""
        distances = [
            (each.run, each.first, each.second, int(place), *tokens, float(cosine), float(euclidean))
            for each in self.distances
            for place, tokens, cosine, euclidean in zip(
                each.first_positions + 1, each.tokens, each.cosine, each.euclidean, strict=True
            )
        ]
        paths = [
            (text.run, text.number, place, token, float(np.linalg.norm(state)), float(point[0]), float(point[1]))
            for text in self.texts
            for place, (token, state, point) in enumerate(
                zip(text.tokens, text.states, text.points, strict=True), start=1
            )
        ]
        columns = ("run", "text", "other", "position", "token", "other_token", "cosine", "euclidean")
        caption = "Distance between the states of two texts after tokens that correspond, from the first difference on"
        tables = [Table("distances", caption, columns, distances)] if distances else []
        caption = "States of the top layer on their two principal components"
        names = ("run", "text", "position", "token", "norm", "first_component", "second_component")
        return [*tables, Table("paths", caption, names, paths)]


def inspect(subjects: Sequence[Subject], options: InspectOptions) -> States:
    """Return the states of each model after each token of some texts. Raises OptionError for an empty text."""
    texts: list[TextStates] = []
    distances: list[Distance] = []
    orders: dict[str, npt.NDArray[np.int64]] = {}
    explained: dict[str, tuple[float, float]] = {}
    for subject in subjects:
        encoded = encoded_texts(subject, options.text) if options.text else first_lines(subject)
        states = [states_of(subject, ids) for ids in encoded]
        joined = np.concatenate(states)
        points, explained[subject.name] = principal_components(joined)
        orders[subject.name] = seriated(joined)
        cuts = np.cumsum([len(each) for each in states])[:-1]
        own = [
            TextStates(subject.name, number, in_text_order(subject, ids), ids, subject.tokens(ids), each, path)
            for number, (ids, each, path) in enumerate(
                zip(encoded, states, np.split(points, cuts), strict=True), start=1
            )
        ]
        texts += own
        if options.text:
            distances += [distance(own[0], other) for other in own[1:]]
    return States(texts, distances, orders, explained)


def encoded_texts(subject: Subject, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """Return the tokens of texts in reading order. Raises OptionError for a text without a token."""
    encoded = [subject.model.tokenizer.encode(text).astype(np.int64) for text in texts]
    for text, ids in zip(texts, encoded, strict=True):
        if not len(ids):
            raise OptionError(f"--text: found {text!r}, which contains no token; write a text with some")
    return [ids[::-1] if subject.engine.is_backward else ids for ids in encoded]


def in_text_order(subject: Subject, ids: npt.NDArray[np.int64]) -> str:
    """Return the text of tokens that are given in reading order."""
    return decode(subject.model.tokenizer, ids[::-1] if subject.engine.is_backward else ids)


def first_lines(subject: Subject) -> list[npt.NDArray[np.int64]]:
    """Return the tokens of the first lines of a subject's text, each at most `MAX_LINE`.

    Held-out text of a stream begins within a line, which is left out if there are enough others.
    """
    vocabulary = subject.model.tokenizer.vocabulary
    closing = [vocabulary.boundary_id, vocabulary.ids.get("\n", vocabulary.boundary_id)]
    lines = np.split(subject.ids[:10_000], np.flatnonzero(np.isin(subject.ids[:10_000], closing)) + 1)
    found = [line[~np.isin(line, closing)][:MAX_LINE] for line in lines]
    with_text = [line for line in found if decode(subject.model.tokenizer, line).strip()]
    return with_text[len(with_text) > NUM_LINES :][:NUM_LINES] or [subject.ids[:MAX_LINE]]


def states_of(subject: Subject, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the outputs of the top layer (T, H) after each token (T,) that is read after the boundary."""
    engine = subject.engine
    inputs = np.concatenate(([subject.model.tokenizer.vocabulary.boundary_id], ids))[:, None]
    with limited_blas_threads(1):
        outputs = engine.forward(inputs, engine.initial_state())[0]
    return np.asarray(outputs[1:, 0])


def seriated(states: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return an order of units (H,) in which those that act alike are neighbors, from states (T, H).

    Units are sorted by the angle of their loadings on the first two principal components. Source: Friendly (2002),
    Corrgrams: exploratory displays for correlation matrices.
    """
    centered = states - states.mean(axis=0)
    scaled = centered / np.maximum(centered.std(axis=0), 1e-9)
    _, _, loadings = np.linalg.svd(scaled.astype(np.float64), full_matrices=False)
    if len(loadings) < 2:
        return np.argsort(loadings[0], kind="stable")
    angles = np.arctan2(loadings[1], loadings[0])
    ordered = np.argsort(angles, kind="stable")
    gaps = np.diff(angles[ordered], append=angles[ordered[0]] + 2 * np.pi)
    return np.roll(ordered, -(int(gaps.argmax()) + 1))


def aligned(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the positions of tokens of two texts that correspond, from the first difference on.

    They are equal tokens, and tokens that are replaced by as many others. All positions correspond if the texts are equal.

    Example:
        >>> import numpy as np
        >>> from charnn.analysis.states import aligned
        >>> aligned(np.array([5, 6, 7, 8]), np.array([5, 6, 9, 7, 8]))
        [(2, 3), (3, 4)]
    """
    matcher = SequenceMatcher(None, first.tolist(), second.tolist(), autojunk=False)
    found = []
    has_differed = first.tolist() == second.tolist()
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        has_differed = has_differed or tag != "equal"
        if has_differed and end - start == other_end - other_start:
            found += list(zip(range(start, end), range(other_start, other_end), strict=True))
    return found


def distance(first: TextStates, second: TextStates) -> Distance:
    """Return the distance between the states of two texts."""
    pairs = np.array(aligned(first.ids, second.ids), dtype=np.int64).reshape(-1, 2)
    one, other = first.states[pairs[:, 0]].astype(np.float64), second.states[pairs[:, 1]].astype(np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return Distance(
        first.run,
        first.number,
        second.number,
        pairs[:, 0],
        pairs[:, 1],
        [(first.tokens[place], second.tokens[match]) for place, match in pairs.tolist()],
        1 - np.einsum("th,th->t", one, other) / np.maximum(norms, 1e-300),
        np.linalg.norm(one - other, axis=1),
    )
