"""The reverse complement of bases: the sequence of the other strand of DNA, read in its own direction."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.text.stored_ids import read_stored, replace_shards, shard_writers, stored_bytes
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import Vocabulary

BLOCK_TOKENS = 1 << 20
_CODES, _COMPLEMENTS = "ACGTRYKMBVDH", "TGCAYRMKVBHD"
"""The codes of IUPAC; S, W, N, X and gaps are their own complement."""
_OF_DNA = str.maketrans(_CODES + _CODES.lower() + "Uu", _COMPLEMENTS + _COMPLEMENTS.lower() + "Aa")
_OF_RNA = _OF_DNA | str.maketrans("AaTt", "UuAa")


def reverse_complement(sequence: str, *, is_rna: bool = False) -> str:
    """Return the other strand of a sequence.

    Args:
        is_rna: whether the complement of A is U.
    """
    return sequence.translate(_OF_RNA if is_rna else _OF_DNA)[::-1]


def complement_ids(vocabulary: Vocabulary, *, is_rna: bool = False) -> npt.NDArray[Any]:
    """Return the id of each token's complement (V,): <unk> for a base whose complement is not in the vocabulary."""
    complements = [
        vocabulary.id_of(reverse_complement(token, is_rna=is_rna)) if len(token) == 1 else id
        for id, token in enumerate(vocabulary.tokens)
    ]
    return np.array(complements, dtype=vocabulary.dtype)


def append_reverse_complement(path: Path, tokenizer: Tokenizer) -> int:
    """Append to an encoded text the reverse complement of each of its records, the last one first.

    Only a part of the text is in memory at a time.

    Returns:
        The number of tokens that were appended.
    """
    vocabulary = tokenizer.vocabulary
    dtype, is_rna = np.dtype(vocabulary.dtype), tokenizer.fasta is not None and tokenizer.fasta.alphabet == "RNA"
    complements, boundary = complement_ids(vocabulary, is_rna=is_rna), np.array([vocabulary.boundary_id], dtype=dtype)
    num_tokens = stored_bytes(path) // dtype.itemsize
    if not num_tokens:
        return 0
    is_closed = int(read_stored(path, dtype, num_tokens - 1, num_tokens)[0]) == vocabulary.boundary_id
    num_text = num_tokens - is_closed
    whole = path.with_name(path.name + ".strands")
    with shard_writers([whole]) as (writer,):
        for start in range(0, num_text, BLOCK_TOKENS):
            writer.write(read_stored(path, dtype, start, min(num_text, start + BLOCK_TOKENS)).data)
        writer.write(boundary.data)
        for end in range(num_text, 0, -BLOCK_TOKENS):
            block = read_stored(path, dtype, max(0, end - BLOCK_TOKENS), end)
            writer.write(np.ascontiguousarray(complements[block[::-1]]).data)
        writer.write(boundary.data)
    replace_shards(whole, path)
    return 2 * num_text + 2 - num_tokens
