"""Text and tokenizer options."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.errors import OptionError
from charnn.options import Checked, Option, refuse_both, refuse_unused

TokenizerKind = Literal["char", "byte", "word", "subword", "bins"]
Unit = Literal["stream", "line", "document", "tune"]
LetterCase = Literal["upper", "keep"]
AmbiguousLetters = Literal["collapse", "keep", "skip"]
ScoredUnit = Literal["stream", "line", "document", "tune", "file"]
LABELS_BY_PATH = ("file", "directory")
"""The values of `--label-from` that are not a column."""

TEXT = "Text and tokens"


@dataclass(frozen=True, kw_only=True)
class TextOptions(Checked):
    """Tokenization, and the validation split.

    Example:
        >>> from charnn.config import TextOptions
        >>> TextOptions(tokenizer="word").unit
        'stream'
    """

    tokenizer: Annotated[TokenizerKind, Option("Type of tokenizer; bins is for numbers.", panel=TEXT, common=True)] = (
        "char"
    )
    vocab_size: Annotated[
        int | None,
        Option(
            "Maximum vocabulary size; less frequent tokens become <unk>.",
            at_least=3,
            automatic="all (char), 20000 (word), by corpus size (subword), 64 (bins)",
            panel=TEXT,
        ),
    ] = None
    min_count: Annotated[
        int | None,
        Option("Tokens with a lower count become <unk>.", at_least=1, automatic="1; 2 for words", panel=TEXT),
    ] = None
    pretokenized: Annotated[
        bool,
        Option("Split words at white space, and treat <unk> in the text as the unknown token.", panel=TEXT),
    ] = False
    subword_model: Annotated[
        Literal["unigram", "bpe"], Option("Type of SentencePiece model for subwords.", panel=TEXT)
    ] = "unigram"
    spell: Annotated[
        bool,
        Option("For word models: train a spelling model for out-of-vocabulary words, for score --spell.", panel=TEXT),
    ] = True
    unit: Annotated[
        Unit,
        Option(
            "Independent unit of text: the whole stream, each line, each document (between blank lines), or each tune (ABC).",
            panel=TEXT,
            common=True,
        ),
    ] = "stream"
    encoding: Annotated[str, Option("The encoding of the text files.", panel=TEXT, metavar="NAME")] = "utf-8"
    column: Annotated[
        str | None,
        Option(
            "Train on this column of CSV or TSV files, or this field of JSON lines.",
            automatic="all of the text",
            panel=TEXT,
            metavar="NAME",
        ),
    ] = None
    fasta_case: Annotated[
        LetterCase, Option("FASTA: make lower-case (soft-masked) letters upper case, or keep them.", panel=TEXT)
    ] = "upper"
    ambiguous: Annotated[
        AmbiguousLetters,
        Option("FASTA: make each run of N and other ambiguity codes one N, keep all, or leave them out.", panel=TEXT),
    ] = "collapse"
    reverse_complement: Annotated[bool, Option("FASTA: train on, and score, both strands of DNA.", panel=TEXT)] = False
    label_from: Annotated[
        str | None,
        Option(
            "Learn a label for each line or document: the name of its file or directory, or this other column.",
            automatic="no labels",
            panel=TEXT,
            metavar="file|directory|NAME",
        ),
    ] = None
    valid: Annotated[
        str | None,
        Option(
            "Validate on this file and train on all of TEXT.",
            automatic="the end of the text",
            panel=TEXT,
            common=True,
            metavar="FILE",
        ),
    ] = None
    valid_fraction: Annotated[
        float,
        Option(
            "Fraction held out: the end of a stream, or units drawn with the seed.",
            at_least=0,
            below=1,
            panel=TEXT,
        ),
    ] = 0.1

    def __post_init__(self) -> None:
        """Check bounds, and refuse options that have no effect for this tokenizer."""
        super().__post_init__()
        kind = self.tokenizer
        refuse_unused("--pretokenized", self.pretokenized and kind != "word", "--tokenizer word")
        refuse_unused("--subword-model", self.subword_model != "unigram" and kind != "subword", "--tokenizer subword")
        refuse_unused("--no-spell", not self.spell and kind != "word", "--tokenizer word")
        refuse_unused(
            "--vocab-size", self.vocab_size is not None and kind == "byte", "--tokenizer char, word, subword or bins"
        )
        refuse_unused(
            "--min-count",
            self.min_count is not None and kind in ("byte", "subword", "bins"),
            "--tokenizer char or word",
        )
        refuse_unused(
            "--valid-fraction", self.valid is not None and self.valid_fraction != 0.1, "the end of TEXT as validation"
        )
        refuse_unused("--column", self.column is not None and kind == "byte", "--tokenizer char, word, subword or bins")
        for flag, is_set in self.for_fasta().items():
            refuse_unused(flag, is_set and kind in ("byte", "word", "bins"), "--tokenizer char or subword")
        refuse_unused("--reverse-complement", self.reverse_complement and kind != "char", "--tokenizer char")
        refuse_both("--unit tune", self.unit == "tune" and kind == "bins", "--tokenizer bins")
        self._check_labels()
        refuse_unused(
            "--encoding", self.encoding != "utf-8" and kind == "byte", "--tokenizer char, word, subword or bins"
        )

    def for_fasta(self) -> dict[str, bool]:
        """Return the options that concern FASTA alone, and whether each is set."""
        return {
            "--fasta-case": self.fasta_case != "upper",
            "--ambiguous": self.ambiguous != "collapse",
            "--reverse-complement": self.reverse_complement,
        }

    def _check_labels(self) -> None:
        refuse_unused(
            "--label-from",
            self.label_from is not None and self.unit not in ("line", "document"),
            "--unit line or --unit document",
        )
        if self.label_from is None or self.label_from in LABELS_BY_PATH:
            return
        if self.column is None:
            raise OptionError(
                f"--label-from: found {self.label_from}, but a column of labels requires --column, the column of the text; "
                "or use file or directory"
            )
        refuse_both("--label-from", self.label_from == self.column, f"--column {self.column}, which is the text")

    @property
    def label_column(self) -> str | None:
        """The column of a table that holds the labels, if any."""
        return None if self.label_from in LABELS_BY_PATH else self.label_from
