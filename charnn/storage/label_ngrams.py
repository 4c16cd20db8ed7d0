"""The n-gram models of labels in a model directory: one file, the arrays of each model with its number before their names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from charnn.errors import ModelError
from charnn.files import write_atomically
from charnn.ngrams.kneser_ney import NgramModel, from_arrays
from charnn.storage.checkpoint import FORMAT_VERSION, packed_tensors, read_tensors
from charnn.storage.run_files import LABEL_NGRAM_FILE


def write_label_ngrams(path: Path, models: Sequence[NgramModel], *, tokenizer_sha256: str) -> None:
    """Write the n-gram models of labels, in the order of the labels."""
    header = {"format_version": FORMAT_VERSION, "generation": 0, "tokenizer_sha256": tokenizer_sha256}
    arrays = {
        f"{number}.{name}": np.ascontiguousarray(array)
        for number, model in enumerate(models)
        for name, array in model.arrays().items()
    }
    write_atomically(path / LABEL_NGRAM_FILE, packed_tensors(arrays, header))


def read_label_ngrams(
    path: Path, vocab_size: int, tokenizer_sha256: str, *, only: int | None = None
) -> list[NgramModel]:
    """Return the n-gram models of a model's labels; none if there are none.

    Args:
        path: the model directory.
        vocab_size: of the model.
        tokenizer_sha256: digest of its tokenizer.
        only: the number of the only label that is wanted, from 0.

    Raises:
        ModelError: if the file is damaged or belongs to another model.
    """
    file = path / LABEL_NGRAM_FILE
    if not file.exists():
        return []
    arrays, header = read_tensors(file)
    by_label: dict[int, dict[str, np.ndarray]] = {}
    try:
        if header.get("tokenizer_sha256") != tokenizer_sha256:
            raise ValueError("belongs to another tokenizer")
        for name, array in arrays.items():
            number, _, rest = name.partition(".")
            by_label.setdefault(int(number), {})[rest] = array
        numbers = range(len(by_label)) if only is None else [only]
        return [from_arrays(by_label[number], vocab_size) for number in numbers]
    except (ValueError, IndexError, KeyError) as error:
        raise ModelError(f"{file}: {error}; restore the file that was saved with this model") from error
