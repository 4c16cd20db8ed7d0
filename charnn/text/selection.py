"""Which bytes of which files are read, and how one knows them again."""

import importlib.metadata
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from charnn.config import TextOptions
from charnn.options import as_json
from charnn.text.cache import make_cache_key
from charnn.text.facts import TextFile
from charnn.text.progress import Meter, Report
from charnn.text.reading import Source, sha256_of
from charnn.text.tokenizers import FORMAT_VERSION

Stamp = tuple[int, int]
"""Size of a file and time of its last change; a file that has both as before is taken to hold what it did."""


@dataclass(frozen=True)
class Selection:
    """What is to be encoded.

    Args:
        sources, valid: the texts, and those to validate on where they were named.
        options: how they become tokens.
        seed: draws held-out units.
        fraction: of the bytes of each file that is read, from its beginning on.
        of_bytes: how large all of it is, where that is less than 1.
    """

    sources: Sequence[Source]
    valid: Sequence[Source]
    options: TextOptions
    seed: int
    fraction: float = 1.0
    of_bytes: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether all of it is read."""
        return self.fraction == 1

    @property
    def name(self) -> str:
        """All names."""
        return ", ".join(source.name for source in self.sources)

    @property
    def short_name(self) -> str:
        """The first name, and how many others there are."""
        others = len(self.sources) - 1
        return self.sources[0].name + (f" and {others} other{'s' if others > 1 else ''}" if others else "")

    @property
    def description(self) -> str:
        """What is read, in words."""
        if self.is_whole:
            return self.short_name
        return f"the first {self.num_bytes / 1e6:.1f} of {self.of_bytes / 1e6:.1f} MB of {self.short_name}"

    @property
    def num_bytes(self) -> int:
        """How many bytes are read."""
        return sum(map(stored_size, (*self.sources, *self.valid)))

    def beginning(self, fraction: float) -> "Selection":
        """Return the beginning of each file: this fraction of its bytes, up to the last line or document that ends in it."""
        separator = "\n\n" if self.options.unit == "document" else "\n"
        sources, valid = (
            [replace(each, num_bytes=max(1, int(stored_size(each) * fraction)), separator=separator) for each in part]
            for part in (self.sources, self.valid)
        )
        return Selection(sources, valid, self.options, self.seed, fraction, self.num_bytes)

    def stamps(self) -> list[Stamp]:
        """Return those of the files; what was encoded is not kept under their digests if they changed meanwhile."""
        statuses = [source.path.stat() for source in (*self.sources, *self.valid) if source.path is not None]
        return [(status.st_size, status.st_mtime_ns) for status in statuses]

    def facts(self, report: Report | None = None) -> list[TextFile]:
        """Read what is selected once, and return what one knows it by."""
        meter = Meter(f"taking the digest of {self.short_name}", "bytes", self.num_bytes, report)
        return [_facts(source, meter) for source in (*self.sources, *self.valid)]

    def cache_key(self, facts: Sequence[TextFile]) -> str:
        """Return what names the encoded text in the cache: a digest of all that it depends on.

        Args:
            facts: of the whole files, or if these are too long to be read, of what is selected.
        """
        options = as_json(self.options)
        del options["spell"], options["valid"]
        files = [
            (each.sha256, each.of_bytes is not None, source.name.endswith(".gz"))
            for each, source in zip(facts, (*self.sources, *self.valid), strict=True)
        ]
        is_subword = options["tokenizer"] == "subword"
        return make_cache_key(
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


def stored_size(source: Source) -> int:
    """Return how many bytes of a source are read."""
    size = source.path.stat().st_size if source.path else 0
    return size if source.num_bytes is None else min(size, source.num_bytes)


def _facts(source: Source, meter: Meter) -> TextFile:
    num_bytes, digest = sha256_of(source, meter.advance)
    name = source.name.encode("utf-8", "replace").decode("utf-8")  # a file's name need not be UTF-8
    of_bytes = source.path.stat().st_size if source.num_bytes is not None and source.path is not None else None
    return TextFile(name, num_bytes, digest, of_bytes)
