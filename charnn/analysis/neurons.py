"""Units that track something in the text, such as quotes: the best one of each feature, and a linear probe from all units.

The unit is selected, and the probe fitted, on the first half of the text; what is reported is measured on the second half.
Both are repeated for labels that are shifted against the text, which say how much chance and slow changes alone give.
Source: Karpathy, Johnson and Fei-Fei (2015), Visualizing and understanding recurrent networks; Hewitt and Liang (2019),
Designing and interpreting probes with control tasks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.analysis.activations import WARM_UP, Stream, Unit, read_activations, streams_of, units_of
from charnn.analysis.features import Feature, features_of
from charnn.analysis.subjects import Subject
from charnn.analysis.tables import Table, Value
from charnn.config import InspectOptions
from charnn.errors import TextError
from charnn.notices import notice_logger

logger = notice_logger(__name__)

Floats = npt.NDArray[np.float64]
Chunk = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]

NUM_SHIFTS = 19
"""Shifted copies of each feature: a unit that beats all of them tracks it with p <= 0.05."""
MIN_OCCURRENCES = 10
"""Tokens in each half of the text at which a feature must differ from its most frequent value."""
MAX_PROBE_SIZE = 1024
"""Inputs of a linear probe; more units are projected at random to that many."""
PASSAGE = 600
"""Tokens of a passage that shows a unit."""
CONTEXT = 24
"""Tokens before one where a unit is most active, as tables show them."""


@dataclass(frozen=True)
class TrackedFeature:
    """How a network tracks a feature of the text.

    Args:
        run: the model.
        feature: its name.
        is_binary: whether it is true or false; otherwise a number.
        mean: of the feature: if binary, the fraction of tokens where it is true.
        unit: the unit with the largest |r| on the first half of the text.
        r: its correlation with the feature on the second half.
        shuffled_r: the same for shifted copies of the feature, a unit selected for each; the largest |r|.
        probe: a linear probe from all outputs and memory cells, on the second half: balanced accuracy, or r² of a number.
        shuffled_probe: its mean for shifted copies.
        correlations: of every unit, on the second half (D,), in the order of `Neurons.units`.
        start: first token of the passage.
        tokens: of the passage (P,).
        values: of the unit after each token (P,).
        feature_values: of the feature (P,).
        separator: what stands between tokens: a space between words.
    """

    run: str
    feature: str
    is_binary: bool
    mean: float
    unit: Unit
    r: float
    shuffled_r: float
    probe: float
    shuffled_probe: float
    correlations: Floats
    start: int
    tokens: Sequence[str]
    values: npt.NDArray[np.float32]
    feature_values: npt.NDArray[np.float32]
    separator: str = ""


@dataclass(frozen=True)
class Neurons:
    """The units of models that track features of the text.

    Args:
        units: of each model, in the order in which `correlations` has them.
        left_out: model, feature and reason of what was not searched for.
    """

    tracked: Sequence[TrackedFeature]
    units: dict[str, Sequence[Unit]]
    left_out: Sequence[tuple[str, str, str]]

    def tables(self) -> Sequence[Table]:
        """Return the best unit of each feature, the probes, and where the units are most active."""
        units = [
            (each.run, each.feature, each.unit.layer, each.unit.part, each.unit.number, each.r, each.shuffled_r)
            for each in self.tracked
        ]
        probes = [
            (
                each.run,
                each.feature,
                each.mean,
                "balanced accuracy" if each.is_binary else "r2",
                each.probe,
                each.shuffled_probe,
            )
            for each in self.tracked
        ]
        columns = ("run", "feature", "layer", "part", "unit", "r", "shuffled_r")
        tables = [
            Table(
                "units",
                "Units that track a feature best: correlation, beside the best for shifted text",
                columns,
                units,
            ),
            Table(
                "probes",
                "A linear probe from all units, beside its mean for shifted text",
                ("run", "feature", "mean", "measure", "probe", "shuffled_probe"),
                probes,
            ),
            Table(
                "contexts",
                "Where the units are highest and lowest in a passage: after the last token",
                ("run", "feature", "extreme", "value", "context"),
                [row for each in self.tracked for row in _contexts(each)],
            ),
        ]
        if self.left_out:
            tables.append(Table("left_out", "Features left out", ("run", "feature", "reason"), self.left_out))
        return tables


def _contexts(tracked: TrackedFeature) -> Iterable[Sequence[Value]]:
    for name, place in (("highest", int(tracked.values.argmax())), ("lowest", int(tracked.values.argmin()))):
        context = tracked.separator.join(tracked.tokens[max(0, place + 1 - CONTEXT) : place + 1])
        yield tracked.run, tracked.feature, name, float(tracked.values[place]), context


def inspect(subjects: Sequence[Subject], options: InspectOptions) -> Neurons:
    """Search each model for units that track features of the text. Raises TextError if the text has none of them."""
    tracked: list[TrackedFeature] = []
    left_out: list[tuple[str, str, str]] = []
    units: dict[str, Sequence[Unit]] = {}
    for subject in subjects:
        middle = len(subject.ids) // 2
        found = []
        for feature in features_of(subject, options.pattern):
            reason = _reason_to_leave_out(feature, middle)
            if reason:
                left_out.append((subject.name, feature.name, reason))
            else:
                found.append(feature)
        if not found:
            raise TextError(
                f"{subject.name}: the text ({subject.origin}, {len(subject.ids):,} tokens) is too short or too uniform: no "
                f"feature varies at {MIN_OCCURRENCES} tokens of each half; name another with --file"
            )
        units[subject.name] = units_of(subject)
        tracked += _tracked(subject, found, units[subject.name], options.seed)
    if left_out:
        names = ", ".join(dict.fromkeys(f"{feature} ({reason})" for _, feature, reason in left_out))
        logger.info(f"left out: {names}")
    return Neurons(tracked, units, left_out)


def _reason_to_leave_out(feature: Feature, middle: int) -> str:
    """Return why a feature cannot be searched for; "" if it can."""
    values, counts = np.unique(feature.values, return_counts=True)
    if len(values) < 2:
        return "is the same at every token" if values.any() else "does not occur"
    usual = values[counts.argmax()]
    numbers = [int((half != usual).sum()) for half in (feature.values[:middle], feature.values[middle:])]
    varies = all(len(np.unique(half)) > 1 for half in (feature.values[:middle], feature.values[middle:]))
    if min(numbers) < MIN_OCCURRENCES or not varies:
        return f"occurs at too few tokens: {numbers[0]:,} in the first half of the text, {numbers[1]:,} in the second"
    return ""


def _tracked(
    subject: Subject, features: Sequence[Feature], units: Sequence[Unit], seed: int
) -> Iterable[TrackedFeature]:
    """Search a model for the best unit of each feature."""
    middle, end = len(subject.ids) // 2, len(subject.ids)
    labels = shifted_labels(np.stack([feature.values for feature in features], axis=1), middle, seed)
    is_state = np.array([unit.part in ("output", "memory") for unit in units])
    search = Search(labels, [feature.is_binary for feature in features], is_state, middle)
    for positions, values in read_activations(subject, streams_of(subject, 0, middle)):
        search.select(positions, values)
    search.fit()
    for positions, values in read_activations(subject, streams_of(subject, middle, end)):
        search.test(positions, values)
    result = search.result()
    starts = [middle + passage_start(feature.values[middle:]) for feature in features]
    passages = [Stream(max(0, start - WARM_UP), start, min(start + PASSAGE, end)) for start in starts]
    for number, (feature, passage) in enumerate(zip(features, passages, strict=True)):
        column = int(result.best[number])
        span = slice(passage.kept, passage.end)
        yield TrackedFeature(
            subject.name,
            feature.name,
            feature.is_binary,
            float(feature.values[middle:].mean()),
            units[column],
            float(result.correlations[column, number]),
            result.shuffled_r(number, len(features)),
            float(result.probes[number]),
            float(result.probes[number + len(features) :: len(features)].mean()),
            result.correlations[:, number],
            passage.kept,
            subject.tokens(subject.ids[span]),
            _passage_values(subject, passage, column),
            feature.values[span],
            " " if subject.model.tokenizer.kind in ("word", "pretokenized") else "",
        )


def _passage_values(subject: Subject, passage: Stream, column: int) -> npt.NDArray[np.float32]:
    values = np.zeros(passage.end - passage.kept, dtype=np.float32)
    streams = [passage]
    if subject.model.tokenizer.unit != "stream":
        streams = streams_of(subject, passage.kept, passage.end)
    for positions, activations in read_activations(subject, streams):
        values[positions - passage.kept] = activations[:, column]
    return values


def passage_start(values: npt.NDArray[np.float32]) -> int:
    """Return the first token of the passage in which a feature changes most often."""
    changes = np.concatenate(([0], np.cumsum(values[1:] != values[:-1])))
    last = max(len(values) - PASSAGE, 0)
    return int((changes[min(PASSAGE, len(values)) - 1 :][: last + 1] - changes[: last + 1]).argmax())


def shifted_labels(values: npt.NDArray[np.float32], middle: int, seed: int) -> npt.NDArray[np.float32]:
    """Return features (N, F), followed by `NUM_SHIFTS` copies that are shifted circularly within each half of the text."""
    generator = np.random.default_rng(seed)
    copies = [values]
    for _ in range(NUM_SHIFTS):
        halves = [values[:middle], values[middle:]]
        shifts = [int(generator.uniform(0.1, 0.9) * len(half)) for half in halves]
        copies.append(
            np.concatenate([np.roll(half, shift, axis=0) for half, shift in zip(halves, shifts, strict=True)])
        )
    return np.concatenate(copies, axis=1)


@dataclass(frozen=True)
class SearchResult:
    """What a search found: for K labels, the features and then their shifted copies.

    Args:
        best: the unit with the largest |r| on the first half (K,).
        correlations: of each unit on the second half (D, K).
        probes: balanced accuracy or r² on the second half (K,).
    """

    best: npt.NDArray[np.int64]
    correlations: Floats
    probes: Floats

    def shuffled_r(self, number: int, num_features: int) -> float:
        """Return the largest |r| on the second half of the units that are selected for the shifted copies of a feature."""
        columns = np.arange(number + num_features, len(self.best), num_features)
        return float(np.abs(self.correlations[self.best[columns], columns]).max())


class _Moments:
    """Sums of which correlations are made, in one pass."""

    def __init__(self) -> None:
        self.count = 0
        self.reference: npt.NDArray[np.float32] | None = None
        self.sums: list[Floats] = []

    def add(self, values: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Add values of units (N, D) and labels (N, K); return the values less a constant, the reference."""
        if self.reference is None:
            self.reference = values.mean(axis=0)
        values = values - self.reference
        self.count += len(values)
        terms = [
            values.sum(axis=0, dtype=np.float64),
            np.einsum("nd,nd->d", values, values).astype(np.float64),
            labels.sum(axis=0, dtype=np.float64),
            np.square(labels, dtype=np.float64).sum(axis=0),
            (values.T @ labels).astype(np.float64),
        ]
        self.sums = [total + term for total, term in zip(self.sums, terms, strict=True)] if self.sums else terms
        return values

    def correlations(self) -> Floats:
        """Return the correlation of each unit with each label (D, K); 0 for a unit or label that does not vary."""
        x, xx, y, yy, xy = (total / self.count for total in self.sums)
        spread = np.sqrt(np.outer(np.maximum(xx - x * x, 0), np.maximum(yy - y * y, 0)))
        correlations: Floats = np.divide(xy - np.outer(x, y), spread, out=np.zeros_like(xy), where=spread > 1e-12)
        return correlations


class Search:
    """A search for units that are correlated with labels, and a linear probe, in one pass through two halves of a text.

    The probe is a ridge regression. Of two classes its direction is that of Fisher's linear discriminant, and its threshold is
    in the middle of the two classes.

    Args:
        labels: (N, K), for the features and then for copies of them.
        is_binary: of each feature.
        is_input: the units that the probe takes in (D,).
        middle: number of tokens in the first half.
    """

    def __init__(
        self,
        labels: npt.NDArray[np.float32],
        is_binary: Sequence[bool],
        is_input: npt.NDArray[np.bool_],
        middle: int,
    ) -> None:
        self._mean, self._spread = labels[:middle].mean(axis=0), labels[:middle].std(axis=0)
        self._labels = (labels - self._mean) / np.where(self._spread > 0, self._spread, 1)
        self._is_binary = np.resize(np.array(is_binary), labels.shape[1])
        self._is_true = labels > 0.5
        self._inputs, self._projection = np.flatnonzero(is_input), None
        if len(self._inputs) > MAX_PROBE_SIZE:
            normal = np.random.default_rng(1).standard_normal((len(self._inputs), MAX_PROBE_SIZE), dtype=np.float32)
            self._projection = normal / np.float32(np.sqrt(len(self._inputs)))
        self._first, self._second = _Moments(), _Moments()
        self._gram: Floats | None = None
        self._hits = np.zeros((4, labels.shape[1]))
        self._errors = np.zeros((3, labels.shape[1]))

    def select(self, positions: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> None:
        """Take units' values (N, D) at positions of the first half."""
        centered = self._first.add(values, self._labels[positions])
        inputs = self._probe_inputs(centered)
        gram = (inputs.T @ inputs).astype(np.float64)
        self._gram = gram if self._gram is None else self._gram + gram

    def _probe_inputs(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        inputs = values[:, self._inputs]
        return inputs if self._projection is None else inputs @ self._projection

    def fit(self) -> None:
        """Select the units and fit the probes."""
        assert self._gram is not None
        moments, count = self._first, self._first.count
        self._best = np.abs(moments.correlations()).argmax(axis=0)
        x, _, y, _, xy = (total / count for total in moments.sums)
        projection = np.eye(len(self._inputs)) if self._projection is None else self._projection.astype(np.float64)
        center = x[self._inputs] @ projection
        covariance = self._gram / count - np.outer(center, center)
        with_labels = projection.T @ (xy - np.outer(x, y))[self._inputs]
        scale = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
        penalty = len(center) / count * np.eye(len(center))
        solved = np.linalg.solve(covariance / np.outer(scale, scale) + penalty, with_labels / scale[:, None])
        weights = solved / scale[:, None]
        self._weights, self._offset = weights.astype(np.float32), (-center @ weights).astype(np.float32)
        rate = np.clip(self._mean, 1e-6, 1 - 1e-6)
        toward = (1 - 2 * rate) / 2 / np.sqrt(rate * (1 - rate))
        self._threshold = np.einsum("dk,dk->k", weights, with_labels) * toward

    def test(self, positions: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> None:
        """Take units' values (N, D) at positions of the second half."""
        labels = self._labels[positions]
        self._second.add(values, labels)
        assert self._first.reference is not None
        predicted = self._probe_inputs(values - self._first.reference) @ self._weights + self._offset
        is_true, said = self._is_true[positions], predicted > self._threshold
        self._hits += [(is_true & said).sum(0), is_true.sum(0), (~is_true & ~said).sum(0), (~is_true).sum(0)]
        self._errors += [np.square(labels - predicted).sum(0), np.square(labels).sum(0), labels.sum(0)]

    def result(self) -> SearchResult:
        """Return what was found."""
        hits, true, rejections, false = self._hits
        accuracy = (hits / np.maximum(true, 1) + rejections / np.maximum(false, 1)) / 2
        squared, squares, total = self._errors
        explained = 1 - squared / np.maximum(squares - total * total / self._second.count, 1e-12)
        return SearchResult(self._best, self._second.correlations(), np.where(self._is_binary, accuracy, explained))
