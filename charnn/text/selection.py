"""The part of the files that is read, and its cache key."""

import contextlib
import hashlib
import importlib.metadata
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

from charnn.config import TextOptions
from charnn.errors import first_of
from charnn.options import as_json
from charnn.text.cache import MIN_TEXT_BYTES, MOST_BYTES, make_cache_key
from charnn.text.facts import TextFile
from charnn.text.fasta import Fasta
from charnn.text.kept_tokenizer import KeptTokenizer
from charnn.text.progress import Meter, Report
from charnn.text.sources import PACKED_SUFFIXES, Source, opened
from charnn.text.tokenizers import FORMAT_VERSION
from charnn.text.unit_kinds import separator_of

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Selection:
    """The text to encode.

    Args:
        sources, valid: training texts, and validation texts if they are separate.
        options: options of tokenization.
        seed: seed of the held-out units.
        fraction: fraction of the bytes of each file that is read, from its beginning.
        of_bytes: total size, if the fraction is below 1.
        kept: the tokenizer of an earlier model, which is used instead of a new one.
    """

    sources: Sequence[Source]
    valid: Sequence[Source]
    options: TextOptions
    seed: int
    fraction: float = 1.0
    of_bytes: int = 0
    kept: KeptTokenizer | None = None

    @property
    def fasta(self) -> Fasta | None:
        """How the sequences are read, if the texts are FASTA."""
        return self.sources[0].fasta

    @property
    def is_whole(self) -> bool:
        """Whether all files are read completely."""
        return self.fraction == 1

    @property
    def name(self) -> str:
        """The names of all sources."""
        return ", ".join(source.name for source in self.sources)

    @property
    def short_name(self) -> str:
        """The first name, and the number of others."""
        return first_of([source.name for source in self.sources])

    @property
    def description(self) -> str:
        """Description of what is read."""
        if self.is_whole:
            return self.short_name
        return f"the first {self.num_bytes / 1e6:.1f} of {self.of_bytes / 1e6:.1f} MB of {self.short_name}"

    @property
    def num_bytes(self) -> int:
        """Number of bytes that are read."""
        return sum(source.stored_bytes for source in (*self.sources, *self.valid))

    @property
    def is_worth_caching(self) -> bool:
        """Whether a cache would save time: characters and bytes of a long text are read again as fast.

        Texts with labels are not cached.
        """
        if self.options.label_from is not None:
            return False
        longest = MOST_BYTES // 2 if self.options.tokenizer in ("char", "byte") else None
        return self.num_bytes >= MIN_TEXT_BYTES and (longest is None or self.num_bytes <= longest)

    def beginning(self, fraction: float) -> "Selection":
        """Return the beginning of each file: this fraction of its bytes, up to the last line or document that ends in it."""
        separator = separator_of(self.options.unit)
        sources, valid = (
            [replace(each, num_bytes=max(1, int(each.stored_bytes * fraction)), separator=separator) for each in part]
            for part in (self.sources, self.valid)
        )
        return Selection(sources, valid, self.options, self.seed, fraction, self.num_bytes, self.kept)

    def facts(self, report: Report | None = None) -> list[TextFile]:
        """Read the selected text once, and return sizes and digests of its files."""
        meter = Meter(f"taking the digest of {self.short_name}", "bytes", self.num_bytes, report)
        return [_facts(source, meter.advance) for source in (*self.sources, *self.valid)]

    @contextlib.contextmanager
    def facts_meanwhile(self) -> Iterator[Callable[[], list[TextFile]]]:
        """Compute the facts in a thread while the text is encoded; yields a function that waits for them."""
        is_over = threading.Event()

        def go_on(_: int) -> None:
            if is_over.is_set():
                raise _AbandonedError

        with ThreadPoolExecutor(1, "charnn-digest") as thread:
            facts = thread.submit(lambda: [_facts(source, go_on) for source in (*self.sources, *self.valid)])
            try:
                yield facts.result
            finally:
                is_over.set()

    def cache_key(self, facts: Sequence[TextFile]) -> str:
        """Return the cache key of the encoded text: a digest of everything that it depends on.

        Args:
            facts: digests of the whole files, or of the selected text.
        """
        options = as_json(self.options)
        del options["spell"], options["valid"]
        if options["column"] is None:
            del options["column"]
        if self.fasta is None:
            del options["fasta_case"], options["ambiguous"], options["reverse_complement"]
        del options["label_from"]
        files = [
            (each.sha256, each.of_bytes is not None, source.name.endswith(PACKED_SUFFIXES))
            for each, source in zip(facts, (*self.sources, *self.valid), strict=True)
        ]
        is_subword = options["tokenizer"] == "subword"
        kept = {} if self.kept is None else {"kept": self.kept.key}
        fasta = {} if self.fasta is None else {"fasta": asdict(self.fasta)}
        return make_cache_key(
            **kept,
            **fasta,
            what="text",
            tokenizer_format_version=FORMAT_VERSION,
            sentencepiece=importlib.metadata.version("sentencepiece") if is_subword else None,
            regex=importlib.metadata.version("regex") if options["tokenizer"] == "word" else None,
            unicode=unicodedata.unidata_version,
            files=files,
            fraction=self.fraction,
            num_valid_files=len(self.valid),
            options=options,
            seed=self.seed if is_subword or options["unit"] != "stream" else None,
        )


class _AbandonedError(Exception):
    """Nobody waits for the facts any more."""


def _facts(source: Source, advance: Callable[[int], None]) -> TextFile:
    num_bytes, digest = sha256_of(source, advance)
    name = source.name.encode("utf-8", "replace").decode("utf-8")  # file names may not be UTF-8
    of_bytes = source.stamp.num_bytes if source.num_bytes is not None and source.stamp is not None else None
    return TextFile(name, num_bytes, digest, of_bytes)


def sha256_of(source: Source, advance: Callable[[int], None] | None = None) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of what is read of a source, as it is stored."""
    digest = hashlib.sha256()
    num_bytes = 0
    with opened(source, unpacks=False) as text:
        while chunk := text.stored.read(BLOCK_BYTES):
            digest.update(chunk)
            num_bytes += len(chunk)
            if advance is not None:
                advance(len(chunk))
    return num_bytes, digest.hexdigest()
