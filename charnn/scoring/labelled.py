"""Scores of texts that each have a label of their own."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from charnn.config import ScoreOptions
from charnn.config.text import LABELS_BY_PATH
from charnn.errors import TextError
from charnn.scoring.build import Scorer, build_scorer
from charnn.scoring.scores import Score
from charnn.storage.labels import with_label
from charnn.storage.model_directory import Model
from charnn.text.label_marks import as_label
from charnn.text.labels import label_of_path
from charnn.text.located import Origin, ScoredInput

WINDOW = 2048
"""Texts that are divided by label, so that those of one label are read together."""
MOST_SCORERS = 64
"""Scorers that are kept, each with its own table of embeddings."""


def label_of(origin: Origin, label_from: str) -> str:
    """Return the label of a text: the name of its file or directory, or a cell of its row.

    Args:
        label_from: see `--label-from`.

    Raises:
        TextError: for a row without a label.
    """
    if label_from in LABELS_BY_PATH:
        return label_of_path(origin.file or "", label_from)
    label = as_label(origin.cells[label_from])
    if not label:
        raise TextError(f"{origin.file}:{origin.line}: found no label in {label_from}; fill it in, or remove the row")
    return label


def check_label_column(source: ScoredInput, label_from: str) -> None:
    """Raise TextError if tables lack the column of labels."""
    if label_from not in (*LABELS_BY_PATH, *source.kept):
        kept = ", ".join(source.kept) or "(none)"
        raise TextError(
            f"{source.files[0]}:1: found no column {label_from} with --label-from beside the scored one; name one of: {kept}"
        )


class LabelledScorer:
    """Scores each text with its own label.

    Args:
        models: with labels.
        options: without a label.
    """

    def __init__(self, models: Sequence[Model], options: ScoreOptions) -> None:
        self._models, self._options = models, replace(options, label_from=None)
        self._flag = f"--label-from {options.label_from}"
        self._scorers: dict[str, Scorer] = {}

    def scores(self, located: Iterable[tuple[str, str]], *, with_tokens: bool) -> Iterator[Score]:
        """Yield the score of each text, in their order.

        Args:
            located: pairs of a text and its label.
            with_tokens: see `Scorer.scores`.

        Raises:
            OptionError: for a label that the model does not have.
        """
        first = 1
        pairs = iter(located)
        while window := list(itertools.islice(pairs, WINDOW)):
            found: dict[int, Score] = {}
            for label in dict.fromkeys(label for _, label in window):
                numbers = [number for number, (_, other) in enumerate(window) if other == label]
                texts = [window[number][0] for number in numbers]
                scores = self._scorer(label).scores(texts, self._options, with_tokens=with_tokens)
                found |= dict(zip(numbers, scores, strict=True))
            for number in range(len(window)):
                yield replace(found[number], number=first + number)
            first += len(window)

    def _scorer(self, label: str) -> Scorer:
        if label not in self._scorers:
            with_label(self._models[0], label, flag=self._flag)
            while len(self._scorers) >= MOST_SCORERS:
                del self._scorers[next(iter(self._scorers))]
            self._scorers[label] = build_scorer(self._models, replace(self._options, label=label))
        return self._scorers[label]
