"""The passes over a text: one measures it, the last one encodes it, and those between them learn what the tokens are.

Characters and bytes of a stream are counted as it is measured, words and subwords as they are encoded.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from charnn.text.code_points import ChunkCounts
from charnn.text.decoding import RAW
from charnn.text.encoding import Encoded, encode_chunks, encode_words
from charnn.text.encoding_workers import choose_num_workers
from charnn.text.kept_tokenizer import adapt_tokenizer
from charnn.text.labels import LabelRecorder, read_marked, unmarked
from charnn.text.progress import Meter, Report
from charnn.text.reading import read_text
from charnn.text.selection import Selection
from charnn.text.sources import Source, display_name
from charnn.text.splitting import SplitChunk, Splitter, all_valid, stream_splitter, unit_splitter, with_held_out_text
from charnn.text.tokenizer_training import Values, train_tokenizer, values_of
from charnn.text.unit_kinds import separator_of

KEPT_BYTES = 4 << 20
"""Text on either side of the place where the held-out part is expected that is kept while counting, to not read it again."""


def encode_text(directory: Path, text: Selection, report: Report | None) -> Encoded:
    """Build the tokenizer of a text and write the ids of both splits into a directory.

    Raises:
        TextError: for a text that cannot be read.
    """
    notes: list[str] = []
    options = text.options
    encoding = RAW if options.tokenizer == "byte" else options.encoding
    read: Callable[..., Iterator[str]] = functools.partial(
        read_text, encoding=encoding, separator=separator_of(options.unit)
    )
    recorder = None
    if options.label_from is not None:
        read = functools.partial(read_marked, read=read, label_from=options.label_from, unit=options.unit)
        recorder = LabelRecorder(options.label_from, text.short_name)

    def meter(what: str, sources: Sequence[Source]) -> Callable[[int], None]:
        num_bytes = sum(source.stored_bytes for source in sources)
        return Meter(f"{what} {text.short_name}", "bytes", num_bytes, report).advance

    values = values_of(options) if text.kept is None else None
    counts: npt.NDArray[np.int64] | None = None
    fraction = 0.0 if text.valid else options.valid_fraction
    expected = _Expected(text.sources, fraction, meter("looking through", text.sources))
    first_pass = read(text.sources, notes=notes, advance=expected.advance)
    if options.unit != "stream":
        split: Splitter = unit_splitter(
            first_pass, options.unit, fraction, text.seed, text.name, notes, is_sequence=text.fasta is not None
        )
    elif values is None:
        stream = stream_splitter(first_pass, fraction, text.name, notes)
        split = replace(stream, keeps_words=options.tokenizer == "bins")
    else:
        chunk_counts = ChunkCounts(values, expected.is_near)
        split = stream = stream_splitter(chunk_counts.counted(first_pass), fraction, text.name, notes)
        counts = chunk_counts.of_beginning(stream.num_train, lambda: read(text.sources))

    def split_chunks() -> Iterator[SplitChunk]:
        advance = meter("reading", (*text.sources, *text.valid))
        valid = None if options.valid is None else display_name(options.valid)
        chunks: Iterator[SplitChunk] = itertools.chain(
            split(read(text.sources, advance=advance)),
            all_valid(read(text.valid, advance=advance), options.unit, valid, notes) if valid else (),
        )
        chunks = chunks if recorder is None else recorder.unmarked(chunks)
        return with_held_out_text(chunks, text.name, valid, notes)

    def training_texts() -> Iterator[str]:
        chunks = split(read(text.sources, advance=meter("counting the tokens of", text.sources)))
        for chunk in chunks if recorder is None else unmarked(chunks):
            if chunk.split == "train":
                yield chunk.text(options.unit)

    encoded = _encode(directory, text, split_chunks, training_texts, notes, counts)
    return encoded if recorder is None else encoded._replace(labels=recorder.write(directory, notes))


def _encode(
    directory: Path,
    text: Selection,
    split_chunks: Callable[[], Iterator[SplitChunk]],
    training_texts: Callable[[], Iterator[str]],
    notes: list[str],
    counts: npt.NDArray[np.int64] | None,
) -> Encoded:
    """Build the tokenizer, unless one is kept, and write the ids of both splits.

    Args:
        counts: of characters or bytes, where the first pass has counted them.
    """
    options = text.options
    num_workers = _num_workers(text, values_of(options))
    if text.kept is not None:
        adapted = adapt_tokenizer(text.kept, options, training_texts, text.short_name)
        adapted.tokenizer.fasta = text.fasta
        sizes = encode_chunks(directory, split_chunks(), adapted.tokenizer, num_workers=num_workers)
        return Encoded(adapted.tokenizer, sizes, adapted.spelling_examples, [*notes, *adapted.notes])
    if options.tokenizer == "word":
        return encode_words(directory, split_chunks(), options, num_workers=num_workers)._replace(notes=notes)
    tokenizer = train_tokenizer(options, training_texts, seed=text.seed, counts=counts, name=text.short_name)
    tokenizer.fasta = text.fasta
    sizes = encode_chunks(directory, split_chunks(), tokenizer, num_workers=num_workers)
    return Encoded(tokenizer, sizes, notes=notes)


def _num_workers(text: Selection, values: Values | None) -> int:
    """Return how many processes encode a text: one for characters, which are looked up faster than they are sent."""
    return choose_num_workers(text.num_bytes) if values is None else 1


class _Expected:
    """Where the held-out part of a stream is expected, by the bytes that were read.

    Args:
        sources: of the stream.
        fraction: that is held out.
        advance: called with the number of bytes read since the last call.
    """

    def __init__(self, sources: Sequence[Source], fraction: float, advance: Callable[[int], None]) -> None:
        self._left = (1 - fraction) * sum(source.stored_bytes for source in sources)
        self._advance = advance

    def advance(self, num_bytes: int) -> None:
        """Count bytes that were read."""
        self._left -= num_bytes
        self._advance(num_bytes)

    def is_near(self) -> bool:
        """Return whether the held-out part may begin in what is read now."""
        return abs(self._left) < KEPT_BYTES
