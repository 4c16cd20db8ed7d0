"""The encoded text of a model directory, checked against what was stored in training."""

import numpy as np

from charnn.errors import ModelError
from charnn.storage.model_directory import Model
from charnn.text.stored_ids import stored_bytes


def check_encoded(model: Model, split: str) -> None:
    """Refuse encoded text that is not as long as it was when the model was trained. Raises ModelError."""
    file = model.path / f"{split}.bin"
    wanted = model.config.corpus.size(split).num_tokens * np.dtype(model.tokenizer.vocabulary.dtype).itemsize
    found = stored_bytes(file)
    if found != wanted:
        raise ModelError(
            f"{file}: has {found:,} bytes, {wanted:,} when the model was trained; restore the file that was saved with it"
        )


def has_encoded(model: Model, split: str) -> bool:
    """Return whether the directory holds a part of the text that the model was trained on."""
    file = model.path / f"{split}.bin"
    return file.exists() and file.stat().st_size > 0
