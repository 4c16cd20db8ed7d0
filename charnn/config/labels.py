"""Options of labels: which one a text is given, and which one it is found to have."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.config.text import LABELS_BY_PATH
from charnn.options import Checked, Option, refuse_both, refuse_unused

SCORED_TEXT, WRITTEN_LABEL = "Scored text", "The label"

Label = Annotated[
    str | None,
    Option("The label of the text, for a model trained with --label-from.", automatic="no label", metavar="NAME"),
]


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(Checked):
    """Classification of texts by a model with labels.

    Example:
        >>> from charnn.config import ClassifyOptions
        >>> ClassifyOptions().prior
        'counts'
    """

    prior: Annotated[
        Literal["counts", "uniform"],
        Option("P(label) before the text is read: as frequent as in training, or the same for all.", common=True),
    ] = "counts"
    top: Annotated[
        int | None,
        Option(
            "Show this many of the most probable labels; 0 shows all.",
            at_least=0,
            automatic="10 of one text, 1 of several",
            common=True,
        ),
    ] = None
    encoding: Annotated[str, Option("The encoding of the file.", metavar="NAME")] = "utf-8"
    format: Annotated[
        Literal["table", "tsv", "jsonl"],
        Option("A table, tab-separated values, or one JSON record per text and label.", common=True),
    ] = "table"


@dataclass(frozen=True, kw_only=True)
class WrittenLabelOptions(Checked):
    """The label of generated text."""

    label: Annotated[
        str | None,
        Option(
            "The label of the text, for a model trained with --label-from.",
            automatic="no label",
            panel=WRITTEN_LABEL,
            metavar="NAME",
        ),
    ] = None
    label_strength: Annotated[
        float,
        Option(
            "Multiply each probability by (P by the n-grams of the label / P by those of all units) to this power; 0.35 "
            "makes labels audible.",
            at_least=0,
            at_most=10,
            panel=WRITTEN_LABEL,
        ),
    ] = 0.0

    def _check_label_strength(self) -> None:
        """Refuse a strength without a label. Raises OptionError."""
        refuse_unused("--label-strength", self.label_strength > 0 and self.label is None, "--label")


@dataclass(frozen=True, kw_only=True)
class ScoredLabelOptions(Checked):
    """The labels of texts that are scored."""

    label: Annotated[
        str | None,
        Option(
            "The label of all texts, for a model trained with --label-from.",
            automatic="no label",
            panel=SCORED_TEXT,
            metavar="NAME",
        ),
    ] = None
    label_from: Annotated[
        str | None,
        Option(
            "The label of each text: the name of its file or directory, or this other column.",
            automatic="no labels",
            panel=SCORED_TEXT,
            metavar="file|directory|NAME",
        ),
    ] = None

    def _check_label_column(self, columns: tuple[str, ...]) -> None:
        """Refuse a column of labels without one of texts, or that is one. Raises OptionError."""
        name = self.label_from
        is_column = name is not None and name not in LABELS_BY_PATH
        refuse_unused(f"--label-from {name}", is_column and not columns, "--column, the column of the text")
        refuse_both("--label-from", name in columns, f"--column {name}, which is the text")
