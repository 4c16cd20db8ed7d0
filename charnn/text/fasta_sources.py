"""Which of the texts that a user names are FASTA, and how they are read: to train a model, and by it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from charnn.config import ScoredUnit, TextOptions
from charnn.errors import OptionError, TextError
from charnn.notices import notice_logger
from charnn.options import refuse_unused
from charnn.text.decoding import decoded
from charnn.text.fasta import Fasta, alphabet_of, is_fasta_name
from charnn.text.file_kinds import HEAD_BYTES
from charnn.text.sources import Source, opened
from charnn.text.unit_kinds import has_own_boundary

if TYPE_CHECKING:
    from charnn.text.tokenizers import Tokenizer

logger = notice_logger(__name__)

MOST_LOOKED_AT = 16
"""Files of plain text whose beginning is looked at."""
_FASTQ = re.compile(rb"@[^\n]*\n[A-Za-z.*-]+\r?\n\+")
_FASTA = re.compile(rb">\S[^\n]*\n(?:[A-Z*-]{4,}|[a-z*-]{4,})\r?(?:\n|$)")
"""What texts of sequences begin with: a line of quoted text has spaces."""


def as_fasta(sources: Sequence[Source], options: TextOptions) -> list[Source]:
    """Return the texts to train on; FASTA, if their names say so, with how it is read.

    Args:
        sources: that can be read several times, those of the held-out text too.

    Raises:
        TextError: for FASTA beside other texts, or a file that is not FASTA.
        OptionError: for options that do not go with FASTA, or concern nothing else.
    """
    fasta = [source for source in sources if is_fasta_name(source.name)]
    if not fasta or options.tokenizer == "byte":
        for flag, is_set in options.for_fasta().items():
            refuse_unused(flag, is_set, "FASTA (.fa, .fasta, .fna, .ffn, .frn, .faa)")
        if options.tokenizer != "byte" and options.column is None:
            _note_sequences(sources)
        return list(sources)
    other = next((source for source in sources if source not in fasta), None)
    if other is not None:
        raise TextError(f"{other.name}: is not FASTA by its name, but {fasta[0].name} is; train on files of one kind")
    units = f"has no {options.unit}s"
    for flag, is_set, reason, instead in (
        (
            f"--unit {options.unit}",
            has_own_boundary(options.unit),
            units,
            "--unit line, which makes each record a unit",
        ),
        (
            f"--tokenizer {options.tokenizer}",
            options.tokenizer in ("word", "bins"),
            "holds letters of sequences",
            "--tokenizer char or subword",
        ),
        ("--column", options.column is not None, "has no columns", "files without a header line >name"),
    ):
        if is_set:
            raise OptionError(f"{flag}: found FASTA, {fasta[0].name}, which {reason}; use {instead}")
    first = next((source for source in fasta if source.stored_bytes), None)
    if first is None:  # empty files are reported where they are read
        return list(sources)
    alphabet = alphabet_of(first.name, next(decoded(first, options.encoding), ""))
    if options.reverse_complement and alphabet == "protein":
        raise OptionError(
            f"--reverse-complement: found letters in {first.name} that are not bases, but only DNA and RNA have another "
            "strand; leave it out"
        )
    how = Fasta(alphabet, options.fasta_case, options.ambiguous)
    return [replace(source, fasta=how) for source in sources]


def sequences_of(sources: Sequence[Source], tokenizer: "Tokenizer | None", unit: ScoredUnit = "line") -> list[Source]:
    """Return the texts that a model reads; FASTA as in training, if the model was trained on FASTA.

    A text is FASTA if its name or its first character, >, says so.

    Raises:
        OptionError: for a unit that FASTA does not have.
    """
    fasta = None if tokenizer is None else tokenizer.fasta
    if fasta is None:
        return list(sources)
    read = [replace(source, fasta=fasta) if _is_fasta(source) else source for source in sources]
    _note_sequences([source for source in read if source.fasta is None])
    pipe = next((source for source in read if _is_named_pipe(source) and not source.fasta), None)
    if pipe is not None:
        logger.info(f"{pipe.name}: is a pipe, and is read as plain text; if it is FASTA, pipe it into - instead")
    if has_own_boundary(unit) and (first := next((source.name for source in read if source.fasta), None)):
        raise OptionError(
            f"--unit {unit}: found FASTA, {first}, which has none; use --unit line, which makes each record a unit"
        )
    return read


def _note_sequences(sources: Sequence[Source]) -> None:
    """Log the first text that holds sequences, but is read as plain text: FASTQ, or FASTA by its content, not by its name."""
    for source in sources[:MOST_LOOKED_AT]:
        if _is_named_pipe(source):
            continue
        with opened(source) as text:
            if source.path is not None:
                head = text.file.read(HEAD_BYTES)
            elif text.file is text.stored:
                head = text.file.peek(HEAD_BYTES)[:HEAD_BYTES]  # type: ignore[attr-defined]
            else:  # what is unpacked here cannot be read again
                continue
        if _FASTQ.match(head):
            logger.info(
                f"{source.name}: holds FASTQ, and is read as plain text, names and qualities included; to read its sequences, "
                "make it FASTA: awk 'NR%4==1{sub(/^@/,\">\");print}NR%4==2' READS.fastq > READS.fa"
            )
            return
        if _FASTA.match(head):
            logger.info(
                f"{source.name}: looks like FASTA, and is read as plain text, headers and line ends included; to read its "
                "records, write them to a file whose name ends in .fa"
            )
            return


def first_fasta(sources: Sequence[Source]) -> Source | None:
    """Return the first text that is FASTA by its name or its first character, None if there is none."""
    return next(filter(_is_fasta, sources), None)


def _is_fasta(source: Source) -> bool:
    if is_fasta_name(source.name):
        return True
    if _is_named_pipe(source):  # its beginning would be lost
        return False
    with opened(source) as text:
        if text.file is not text.stored and source.path is None:  # what is unpacked here cannot be read again
            return False
        return bool(text.file.peek(1)[:1] == b">")  # type: ignore[attr-defined]


def _is_named_pipe(source: Source) -> bool:
    return source.path is not None and source.stamp is None
