"""Encoded text in the cache."""

import contextlib
import tempfile
from dataclasses import asdict
from pathlib import Path

from charnn.notices import notice_logger
from charnn.text import cache
from charnn.text.encoding import SPLITS, Encoded
from charnn.text.facts import SplitSize
from charnn.text.selection import Selection
from charnn.text.stored_ids import replace_shards, shard_paths
from charnn.text.tokenizers import load_tokenizer

logger = notice_logger(__name__)


def store_encoded(root: Path, key: str, directory: Path, encoded: Encoded, text: Selection) -> None:
    """Store an encoded text, whose ids are in a directory, in the cache."""
    files = {path.name: path for split in SPLITS for path in shard_paths(directory / f"{split}.bin")}
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=directory) as folder:
        for name, content in encoded.tokenizer.files().items():
            files[name] = Path(folder, name)
            files[name].write_bytes(content)
        facts = {
            "what": f"{text.options.tokenizer} tokens of {text.description}",
            "sizes": {split: asdict(size) for split, size in encoded.sizes.items()},
            "rare_words": encoded.spelling_examples,
            "notes": encoded.notes,
        }
        cache.store(root, key, files, facts)


def fetch_encoded(root: Path, key: str, directory: Path, text: Selection) -> Encoded | None:
    """Copy the ids of a cached text into a directory and return the rest, or None if it is not cached."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        facts = cache.fetch(root, key, Path(folder))
        if facts is None:
            return None
        for split in SPLITS:
            replace_shards(Path(folder, f"{split}.bin"), directory / f"{split}.bin")
        files = {path.name: path for path in Path(folder).iterdir()}
        tokenizer = load_tokenizer(str(root / key), {name: path.read_bytes() for name, path in files.items()})
    for message in facts["notes"]:
        logger.info(message)
    logger.info(f"{text.description}: taken from the cache, encoded by an earlier run")
    sizes = {split: SplitSize(**facts["sizes"][split]) for split in SPLITS}
    return Encoded(tokenizer, sizes, facts["rare_words"])
