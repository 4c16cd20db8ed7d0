"""What every tokenizer offers, and the file that stores it."""

from dataclasses import asdict
from typing import Protocol

import numpy as np
import numpy.typing as npt

from charnn.config import Unit
from charnn.files import json_bytes
from charnn.text.decoders import Decoder
from charnn.text.fasta import Fasta
from charnn.text.vocabulary import Token, Vocabulary

Ids = npt.NDArray[np.int64]


class Tokenizer(Protocol):
    """Encodes text as the tokens of a vocabulary, and decodes it."""

    kind: str
    version: int
    unit: Unit
    vocabulary: Vocabulary
    fasta: Fasta | None

    def encode(self, text: str) -> Ids:
        """Return the ids (N,); unknown tokens get the id of <unk>."""
        ...

    def tokenize(self, text: str) -> list[Token]:
        """Return the tokens as they occur in the text; unknown tokens keep their spelling."""
        ...

    def decoder(self) -> Decoder:
        """Return a new decoder, at the beginning of a text."""
        ...

    def files(self) -> dict[str, bytes]:
        """Return the files that `load_tokenizer` needs, by name."""
        ...


def tokenizer_json(tokenizer: Tokenizer, **facts: object) -> bytes:
    """Return tokenizer.json: what every tokenizer has, how FASTA is read if it was in training, and further facts."""
    vocabulary = tokenizer.vocabulary
    fasta = {} if tokenizer.fasta is None else {"fasta": asdict(tokenizer.fasta)}
    return json_bytes(
        {
            "format_version": tokenizer.version,
            "kind": tokenizer.kind,
            "unit": tokenizer.unit,
            "normalization": "none",
            "boundary_id": vocabulary.boundary_id,
            "unknown_id": vocabulary.unknown_id,
            "tokens": list(vocabulary.tokens),
            "counts": list(vocabulary.counts),
            **fasta,
            **facts,
        }
    )
