"""The files of a model directory and their purposes."""

import re
from dataclasses import dataclass
from pathlib import Path

from charnn.files import PART_SUFFIX, STAGED_SUFFIX, staging_names

BACKWARD = "backward"
"""The directory of the backward model in that of a bidirectional one."""
STAGED_BACKWARD = tuple(path.name for path in staging_names(Path(BACKWARD)))
_SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")
"""Files that a file manager leaves in any directory."""
NGRAM_FILE = "ngram.safetensors"
SPELLING_FILE = "spelling.safetensors"
LABEL_NGRAM_FILE = "labels.safetensors"
OLD_VALID_FILE = "old-valid.bin"
LABEL_FILES = ("train.labels.bin", "valid.labels.bin")
FILES = {
    "config.json": "options, the text's files, results",
    "tokenizer.json": "the vocabulary",
    "tokenizer.model": "the SentencePiece model of a subword tokenizer",
    "model.safetensors": "the weights; for sampling and scoring",
    NGRAM_FILE: "the n-gram model; for --mix-ngram and --resume",
    LABEL_NGRAM_FILE: "the n-gram models of labels; for classify and --resume",
    SPELLING_FILE: "the spelling model; for --spell",
    "training.json": "position of training; for --resume",
    "training.safetensors": "live weights, optimizer and hidden state; for --resume",
    "metrics.jsonl": "metrics and samples of training; for charnn report",
    "train.bin": "the encoded text; for --resume, --novelty, --adapt and --dynamic",
    "valid.bin": "the held-out text; for --resume and fitted parameters",
    "train.labels.bin": "the labels of the encoded units; for --resume",
    "valid.labels.bin": "the labels of the held-out units; for --resume",
    OLD_VALID_FILE: "the held-out text of the model that was trained further; for --resume",
}
"""The purpose of each file of a model directory; a long encoded text has further shards, `train.2.bin` and so on."""
EVENT_FILES, EVENT_FILE_PURPOSE = "events.out.tfevents.", "metrics of training, for TensorBoard"
"""Beginning of the names of event files, and their purpose."""


RESUMING = ("training.json", "training.safetensors", "train.bin", "valid.bin", *LABEL_FILES, OLD_VALID_FILE)
"""The files that sampling and scoring do without."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a model directory: its name, size and purpose (empty for files that charnn did not write)."""

    name: str
    num_bytes: int
    purpose: str


def unsharded_name(name: str) -> str:
    """Return the name of the first shard for that of any shard, and any other name as it is."""
    return re.sub(r"^(train|valid)\.(?:[2-9]|[1-9]\d+)\.bin\Z", r"\1.bin", name)


def purpose_of(name: str) -> str:
    """Return the purpose of a file of a model directory; empty for files that charnn did not write."""
    return EVENT_FILE_PURPOSE if name.startswith(EVENT_FILES) else FILES.get(unsharded_name(name), "")


def resuming_files(path: Path) -> list[Path]:
    """Return the files of a model directory that sampling and scoring do without."""
    return [file for file in path.iterdir() if unsharded_name(file.name) in RESUMING]


def stored_files(path: Path) -> list[StoredFile]:
    """Return the files of a model directory, including those of a backward model, the largest first."""
    return sorted(
        (
            StoredFile(file.relative_to(path).as_posix(), file.stat().st_size, purpose_of(file.name))
            for file in path.rglob("*")
            if file.is_file()
        ),
        key=lambda file: (-file.num_bytes, file.name),
    )


def other_files(path: Path) -> list[str]:
    """Return the files in a model directory that charnn did not write, by their names relative to it."""
    names = [file.relative_to(path) for file in path.rglob("*") if not file.is_dir()]
    return sorted(name.as_posix() for name in names if not _is_own(name))


def _is_own(name: Path) -> bool:
    folder, file = name.parent.as_posix(), name.name
    if folder.split("/")[0] in STAGED_BACKWARD:  # left behind by a run that was killed
        return True
    if folder not in (".", BACKWARD):
        return False
    return bool(purpose_of(file.removesuffix(STAGED_SUFFIX).removesuffix(PART_SUFFIX))) or file in _SYSTEM_FILES
