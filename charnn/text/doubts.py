"""What makes figures of a text doubtful: found in what reading counts anyway, and said once, before the figures.

Each threshold is far beyond what an ordinary text shows.
"""

from collections.abc import Sequence
from pathlib import Path

from charnn.notices import notice_logger
from charnn.text.bins import is_of_numbers
from charnn.text.facts import SplitSize, TextFile
from charnn.text.overlap import MIN_LOOKED_UP, SPAN_TOKENS, Overlap
from charnn.text.tokenizers import Tokenizer

logger = notice_logger(__name__)

HIGH_UNKNOWN_RATE = 0.2
"""Word models of a few hundred kilobytes have rates of 0.05 to 0.15 on held-out text."""
FEWEST_TRAINING_CHARS = 1000
"""Some 150 words, most of which occur once."""
FEWEST_HELD_OUT_TOKENS = 100
"""The surprisal of a token has a standard deviation of 2 to 3 nats, so the mean of 100 tokens one of 0.2 to 0.3."""
LONG_LINE_CHARS = 10_000
"""Five printed pages: no sentence, verse or message."""
LOOKED_AT_CHARS = 1000
REPEATED_LINES = 0.5
"""Short lines repeat: names do by 0.15, lines of a play by 0.22, those of a manual by up to 0.45."""
REPEATED_SPANS, REPEATED_SPANS_OF_CHARACTERS = 1 / 8, 0.6
"""32 words of running text do not occur twice; of manuals 0.05 do. Of spans of 32 characters, a phrase, 0.01 do in running
text, 0.25 in manuals, and 0.53 in sentences that were generated from patterns."""


def unknown_doubt(size: SplitSize, tokenizer: Tokenizer, of: str, *, is_kept: bool = False) -> str | None:
    """Return what is doubtful about the figures of a text with many unknown tokens, or None if there are few.

    Args:
        size: numbers of tokens and of unknown tokens.
        tokenizer: of the model. A larger vocabulary is advised only if tokens of the training text were left out of it.
        of: what the text is, for the message.
        is_kept: whether the tokenizer is that of an earlier model, which is trained further.
    """
    rate = size.num_unknown / size.num_tokens if size.num_tokens else 0.0
    if rate <= HIGH_UNKNOWN_RATE:
        return None
    if is_of_numbers(tokenizer):
        return f"{rate:.0%} of the values of {of} are missing, each a cheap token of its own: bits per value count them, too"
    if tokenizer.fasta is not None and not is_kept:
        letters, alphabet = f"{tokenizer.fasta.letter}s", tokenizer.fasta.alphabet
        return (
            f"{rate:.0%} of the letters of {of} are not {letters} that this model of {alphabet} knows: its scores say little "
            f"about such a text; score FASTA of {alphabet}, or choose the model of another text (-m RUN)"
        )
    better = "--tokenizer byte" if tokenizer.kind == "char" else "--tokenizer char"
    vocabulary = tokenizer.vocabulary
    if vocabulary.unknown_id is not None and vocabulary.counts[vocabulary.unknown_id]:
        better += " or a larger vocabulary (--vocab-size, --min-count)"
    if is_kept:
        better = "--extend-vocab, or from nothing"
    return (
        f"{rate:.0%} of the tokens of {of} are unknown: bits per character count each <unk> as one cheap token, whatever it "
        f"stands for; score with --spell, or train with {better}"
    )


def foreign_base_doubt(tokenizer: Tokenizer, name: str, sequence: str) -> str | None:
    """Return that a sequence is RNA, which a model of DNA does not know, or the other way round; or None.

    Args:
        name: of the text, for the message.
        sequence: a record; only its beginning is looked at.
    """
    fasta = tokenizer.fasta
    if fasta is None or not fasta.has_bases:
        return None
    found, known, kind = ("U", "T", "RNA") if fasta.alphabet == "DNA" else ("T", "U", "DNA")
    letters = set(sequence[:LOOKED_AT_CHARS].upper())
    if found not in letters or not letters <= {*"ACGRYSWKMBDHVNX-\n", found}:
        return None
    if any(found in token for token in tokenizer.vocabulary.tokens):
        return None
    return (
        f"{name}: is {kind}, but the model was trained on {fasta.alphabet}, without {found}; write {known} for {found}, as in "
        f"sed '/^>/!y/{found}{found.lower()}/{known}{known.lower()}/'"
    )


def report_training_doubts(
    train: SplitSize, valid: SplitSize, *, tokenizer: Tokenizer, names: str, reads_all: bool, is_kept: bool
) -> None:
    """Log what is doubtful about the sizes of a training text and its held-out part.

    Args:
        names: of the training text.
        reads_all: whether all of the text is trained on, since the held-out text is separate.
        is_kept: whether the tokenizer is that of an earlier model.
    """
    of = f"the {'validation' if reads_all else 'held-out'} text" if valid.num_tokens else names
    if doubt := unknown_doubt(valid if valid.num_tokens else train, tokenizer, of, is_kept=is_kept):
        logger.info(doubt)
    num_chars = train.num_chars + (0 if reads_all else valid.num_chars)
    if num_chars < FEWEST_TRAINING_CHARS:
        logger.info(
            f"{names}: {num_chars:,} characters are too little to learn from{'' if reads_all else ' or to hold out'}; "
            "thousands are needed, and about 100,000 for readable sentences"
        )
    elif 0 < valid.num_tokens < FEWEST_HELD_OUT_TOKENS:
        logger.info(
            f"{of} has only {valid.num_tokens:,} tokens: the validation loss is uncertain by some tenths of a nat per token; "
            + ("name a longer --valid file" if reads_all else "raise --valid-fraction, or name a --valid file")
        )


def report_overlap(
    training: Sequence[TextFile], held_out: Sequence[TextFile], overlap: Overlap, tokenizer: Tokenizer
) -> None:
    """Log that validation text is training text.

    Args:
        training, held_out: the files of each; no file is held out if the end of the training text is.
        overlap: how much of the held-out text occurs in the training text.
    """
    trained_on = {file.sha256: file.name for file in training}
    same = next((file for file in held_out if file.sha256 in trained_on), None)
    if same is not None:
        source = trained_on[same.sha256]
        whose = "is also a training text" if source == same.name else f"has the content of {source}, a training text"
        logger.info(
            f"{same.name}: {whose}: the validation loss does not measure performance on unseen text; "
            "name another --valid file, or leave --valid out to hold out part of the training text"
        )
    elif overlap.num_looked_up >= MIN_LOOKED_UP and overlap.rate >= _tolerated(tokenizer):
        what = held_out[0].name if held_out else "the held-out text"
        parts = "lines" if tokenizer.unit == "line" else f"spans of {SPAN_TOKENS} tokens"
        logger.info(
            f"{what}: {overlap.rate:.0%} of its {parts} are in the training text, too (measured on "
            f"{overlap.num_looked_up:,}): the validation loss does not measure performance on unseen text; "
            "remove duplicates, or validate on a different file (--valid)"
        )


def _tolerated(tokenizer: Tokenizer) -> float:
    """Return the fraction of lines or spans that may stand in the training text."""
    if tokenizer.unit == "line":
        return REPEATED_LINES
    return REPEATED_SPANS_OF_CHARACTERS if tokenizer.kind in ("char", "byte") else REPEATED_SPANS


def training_files(files: Sequence[TextFile], valid: str | None) -> list[TextFile]:
    """Return the files of a corpus that are trained on.

    Args:
        valid: name of the separate validation text, a file, directory or glob; None if there is none.
    """
    if valid is None:
        return list(files)
    return [
        file
        for file in files
        if file.name != valid and Path(valid) not in Path(file.name).parents and not Path(file.name).match(valid)
    ]


def long_line_doubt(where: str, num_chars: int) -> str | None:
    """Return what is doubtful about a line that a model of lines reads, or None."""
    if num_chars <= LONG_LINE_CHARS:
        return None
    return (
        f"{where} has {num_chars:,} characters, which is too long for a sentence; split it, "
        "or use --unit document or stream for longer texts"
    )
