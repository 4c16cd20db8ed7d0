"""The files of a model's directory, and what each of them is for."""

from dataclasses import dataclass
from pathlib import Path

NGRAM_FILE = "ngram.safetensors"
SPELLING_FILE = "spelling.safetensors"
FILES = {
    "config.json": "options, the text's files, results",
    "tokenizer.json": "the vocabulary",
    "tokenizer.model": "the vocabulary of subwords, as SentencePiece has it",
    "model.safetensors": "the weights; to write and score",
    NGRAM_FILE: "the n-gram model; for --mix-ngram and --resume",
    SPELLING_FILE: "how rare words are spelled; for --spell",
    "training.json": "where training stands; for --resume",
    "training.safetensors": "live weights, optimizer and carried state; for --resume",
    "metrics.jsonl": "what happened in training, one event a line",
    "train.bin": "the encoded text; for --resume, --novelty and --dynamic",
    "valid.bin": "the held-out text; for --resume and what is fitted to it",
}
"""What each file of a model's directory is for."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a model's directory: its name there, its size, and what it is for (empty for one that is not charnn's)."""

    name: str
    num_bytes: int
    purpose: str


def stored_files(path: Path) -> list[StoredFile]:
    """Return the files of a model's directory, the largest first, those of a backward half among them."""
    return sorted(
        (
            StoredFile(file.relative_to(path).as_posix(), file.stat().st_size, FILES.get(file.name, ""))
            for file in path.rglob("*")
            if file.is_file()
        ),
        key=lambda file: (-file.num_bytes, file.name),
    )
