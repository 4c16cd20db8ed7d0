"""The corpus: text streamed into `train.bin` and `valid.bin`, never held in memory as a whole.

The first pass over the text measures it, the last one encodes it; for characters, bytes and subwords a pass between them counts
tokens. A unit (a line or a document) is written with its closing boundary; the opening one of the first unit is implicit.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.config import TextOptions
from charnn.errors import CharnnError, TextError
from charnn.notices import notice_logger
from charnn.text.affordable import (
    affordable_fraction,
    can_be_hashed,
    like_fractions,
    needs_no_measuring,
    reading_seconds,
)
from charnn.text.cached_corpus import fetch_encoded, store_encoded
from charnn.text.columns import Column
from charnn.text.disk_space import check_disk_space
from charnn.text.doubts import report_overlap, report_training_doubts
from charnn.text.encoding import Encoded
from charnn.text.facts import LabelFacts, SplitSize, TextFile
from charnn.text.fasta_sources import as_fasta
from charnn.text.kept_tokenizer import KeptTokenizer
from charnn.text.labels import append_reversed_labels
from charnn.text.overlap import measure_overlap
from charnn.text.passes import encode_text
from charnn.text.progress import Report
from charnn.text.selection import Selection
from charnn.text.sources import (
    SPOOL_SUFFIX,
    Source,
    check_unchanged,
    display_name,
    empty_text_error,
    find_sources,
    readable_again,
)
from charnn.text.stored_ids import open_stored, read_stored, replace_shards, shard_writers, stored_bytes
from charnn.text.strands import append_reverse_complement
from charnn.text.tokenizers import Tokenizer

logger = notice_logger(__name__)

REVERSED_BLOCK_TOKENS = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """An encoded corpus on disk.

    Args:
        directory: directory of `train.bin` and `valid.bin`.
        tokenizer: built from the training split only.
        train, valid: sizes of the two splits.
        files: name, size and sha256 of each text.
        rare_words: see `TrainedWordTokenizer`.
        cache_key: key of the encoded text in the cache; empty where it is not cached.
        labels: of units, if they have any (see `labels`).
    """

    directory: Path
    tokenizer: Tokenizer
    train: SplitSize
    valid: SplitSize
    files: list[TextFile]
    spelling_examples: Sequence[str] = ()
    cache_key: str = ""
    labels: Sequence[LabelFacts] = ()

    def ids(self, split: str) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Return the ids (N,) of "train" or "valid", memory-mapped."""
        return open_ids(self.directory / f"{split}.bin", self.tokenizer)


def open_ids(path: Path, tokenizer: Tokenizer) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Memory-map encoded text (N,), possibly empty; of several shards, as `ShardedIds`."""
    return open_stored(path, tokenizer.vocabulary.dtype)


def reverse_encoded(source: Path, target: Path, tokenizer: Tokenizer) -> None:
    """Write encoded text in reverse; source and target may be the same file.

    Closing boundaries still close their units. Only a part of the text is in memory at a time.
    """
    dtype = np.dtype(tokenizer.vocabulary.dtype)
    num_tokens = stored_bytes(source) // dtype.itemsize
    num_text = num_tokens - min(num_tokens, int(tokenizer.unit != "stream"))
    reversed_file = target.with_name(target.name + ".reversed")
    with shard_writers([reversed_file]) as (writer,):
        for end in range(num_text, 0, -REVERSED_BLOCK_TOKENS):
            block = read_stored(source, dtype, max(0, end - REVERSED_BLOCK_TOKENS), end)
            writer.write(np.ascontiguousarray(block[::-1]).data)
        writer.write(read_stored(source, dtype, num_text, num_tokens).data)
    replace_shards(reversed_file, target)


def prepare_corpus(
    directory: Path,
    texts: Sequence[str],
    options: TextOptions,
    *,
    seed: int,
    report: Report | None = None,
    minutes: float | None = None,
    cache_root: Path | None = None,
    kept: KeptTokenizer | None = None,
) -> Corpus:
    """Read the texts, build a tokenizer and write the encoded corpus.

    Args:
        directory: receives `train.bin` and `valid.bin`.
        texts: names of files (see `find_sources`).
        options: tokenizer, unit, split.
        seed: draws the held-out units.
        report: called with the progress of reading.
        minutes: time budget; of a text that is too long for it, the beginning of each file is read.
        cache_root: directory of the cache (see `cache`); None for no caching.
        kept: the tokenizer of an earlier model, which is used instead of a new one.

    Raises:
        TextError: for texts that cannot be read or are empty.
    """
    try:
        text = replace(_select(directory, texts, options, seed), kept=kept)
        cache = _Cache(cache_root if text.is_worth_caching else None)
        if cache.root is not None and can_be_hashed(text.num_bytes, minutes):
            cache = cache._replace(whole=text.facts(report))
        cached = _find_cached(directory, text, [1.0], cache)
        if cached is None and minutes is not None and not needs_no_measuring(text.num_bytes, minutes):
            fraction, needed = _affordable(directory, text, minutes)
            if fraction < 1:
                cached = _find_cached(directory, text, like_fractions(fraction), cache)
                text = text.beginning(fraction)
            if fraction < 1 and cached is None:
                logger.info(_what_is_read(text, minutes, needed))
        corpus = cached or _encode_and_store(directory, text, cache, report)
        _report_doubts(corpus, text)
        return _with_other_strand(corpus) if options.reverse_complement else corpus
    finally:
        for copy in directory.glob(f"*{SPOOL_SUFFIX}"):
            with contextlib.suppress(PermissionError):  # an earlier error left it open
                copy.unlink()


def _with_other_strand(corpus: Corpus) -> Corpus:
    """Append the other strand to the training text; the held-out text stays as it is."""
    train, num_added = corpus.train, append_reverse_complement(corpus.directory / "train.bin", corpus.tokenizer)
    if corpus.labels:
        append_reversed_labels(corpus.directory)
    labels = [replace(label, num_train=2 * label.num_train) for label in corpus.labels]
    num_unknown, num_units = 2 * train.num_unknown, 2 * train.num_units
    num_chars, num_bytes = train.num_chars + num_added, train.num_bytes + num_added
    logger.info(f"training on both strands: {train.num_tokens + num_added:,} tokens; the held-out text is one strand")
    sizes = SplitSize(train.num_tokens + num_added, num_chars, num_bytes, num_unknown, num_units)
    return replace(corpus, train=sizes, labels=labels)


def _report_doubts(corpus: Corpus, text: Selection) -> None:
    """Log what will make the figures of this corpus doubtful."""
    num_training, tokenizer = len(text.sources), corpus.tokenizer
    overlap = measure_overlap(corpus.ids("train"), corpus.ids("valid"), tokenizer.vocabulary, unit=tokenizer.unit)
    report_overlap(corpus.files[:num_training], corpus.files[num_training:], overlap, corpus.tokenizer)
    report_training_doubts(
        corpus.train,
        corpus.valid,
        tokenizer=corpus.tokenizer,
        names=text.short_name,
        reads_all=bool(text.valid),
        is_kept=text.kept is not None,
    )


def _select(directory: Path, texts: Sequence[str], options: TextOptions, seed: int) -> Selection:
    """Find the texts, and copy those that can be read only once. Raises TextError if they are empty."""
    as_bytes = options.tokenizer == "byte"
    sources = find_sources(texts, as_bytes=as_bytes)
    valid = find_sources([options.valid], as_bytes=as_bytes) if options.valid else []
    sources = _without(valid, sources)
    readable = readable_again([*sources, *valid], directory)
    if options.column is not None:
        column = Column(options.column, options.unit, options.label_column, holds_numbers=options.tokenizer == "bins")
        readable = [replace(source, column=column) for source in readable]
    elif options.tokenizer == "bins":
        readable = [replace(source, holds_numbers=True) for source in readable]
    readable = as_fasta(readable, options)
    text = Selection(readable[: len(sources)], readable[len(sources) :], options, seed)
    if not any(source.stored_bytes for source in text.sources):
        raise empty_text_error([source.name for source in text.sources], "there is nothing to learn from")
    return text


class _Cache(NamedTuple):
    """The cache of encoded text, and what identifies the text.

    Args:
        root: directory of the cache; None for no caching.
        whole: digests of the whole files; None if there is no time to compute them.
    """

    root: Path | None
    whole: list[TextFile] | None = None


def _find_cached(directory: Path, text: Selection, fractions: Sequence[float], cache: _Cache) -> Corpus | None:
    """Return the first of these fractions of a text that is in the cache, if any."""
    if cache.root is None or cache.whole is None:
        return None
    for part in (text if fraction == 1 else text.beginning(fraction) for fraction in fractions):
        key = part.cache_key(cache.whole)
        encoded = fetch_encoded(cache.root, key, directory, part)
        if encoded is not None:
            return _corpus(directory, encoded, cache.whole if part.is_whole else part.facts(), key)
    return None


def _affordable(directory: Path, text: Selection, minutes: float) -> tuple[float, float]:
    """Return the fraction of a text that can be read, and the minutes that the whole text needs."""

    def read(fraction: float) -> None:
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            try:
                encode_text(Path(folder), text.beginning(fraction), None)
            except (CharnnError, RuntimeError):
                return  # raised again by the actual reading

    seconds = reading_seconds(minutes)
    fraction, needed = affordable_fraction(text.num_bytes, seconds, read)
    return fraction, minutes * needed / seconds


def _what_is_read(text: Selection, minutes: float, needed: float) -> str:
    of_each = " (a beginning of each file)" if len(text.sources) + len(text.valid) > 1 else ""
    return (
        f"reading {text.description}{of_each}, as much as {minutes:g} minutes allow; "
        f"{max(1, needed):.0f} minutes are enough for all of it"
    )


def _encode_and_store(
    directory: Path,
    text: Selection,
    cache: _Cache,
    report: Report | None,
) -> Corpus:
    check_disk_space(directory, text, is_cached=cache.root is not None and cache.whole is not None)
    known = cache.whole if text.is_whole else None
    try:
        with text.facts_meanwhile() if known is None else contextlib.nullcontext(lambda: known) as facts_of:
            encoded = encode_text(directory, text, report)
            facts = facts_of()
    except Exception:
        check_unchanged((*text.sources, *text.valid))  # a file that was rewritten meanwhile explains any error
        raise
    check_unchanged((*text.sources, *text.valid))
    for message in encoded.notes:
        logger.info(message)
    if text.valid and not encoded.sizes["valid"].num_tokens:
        raise TextError(
            f"{display_name(text.options.valid or '')}: contains no text to validate on; "
            "name another --valid file or leave it out"
        )
    key = ""
    if cache.root is not None and cache.whole is not None:
        key = text.cache_key(cache.whole)
        store_encoded(cache.root, key, directory, encoded, text)
    return _corpus(directory, encoded, facts, key)


def _corpus(directory: Path, encoded: Encoded, facts: list[TextFile], key: str) -> Corpus:
    sizes = encoded.sizes
    return Corpus(
        directory,
        encoded.tokenizer,
        sizes["train"],
        sizes["valid"],
        facts,
        encoded.spelling_examples,
        key,
        encoded.labels,
    )


def _without(held_out: Sequence[Source], sources: Sequence[Source]) -> list[Source]:
    """Exclude the validation files from the training text."""
    held_out_paths = {source.path.resolve() for source in held_out if source.path}
    training = [source for source in sources if source.path is None or source.path.resolve() not in held_out_paths]
    if len(training) < len(sources) and training:
        logger.info("the validation file is left out of the training text")
    return training or list(sources)
