"""What goes on learning beside a model: contexts that suit its tokens, and the text that it was trained on."""

import numpy as np

from charnn.ngrams.adaptive_model import AdaptiveModel
from charnn.ngrams.context_index import MAX_INDEXED, TextIndex
from charnn.ngrams.contexts import KEY_BITS, EmptyFamily, Expert, Family, LaggedFamily
from charnn.ngrams.word_contexts import Letters, WordFamily
from charnn.notices import notice_logger
from charnn.storage.encoded_text import check_encoded, has_encoded
from charnn.storage.model_directory import Model
from charnn.text.stored_ids import open_stored
from charnn.text.tokenizers import Tokenizer

logger = notice_logger(__name__)

CHARACTER_ORDERS = (2, 3, 4, 5, 6)
SEQUENCE_ORDERS = (2, 3, 4, 6, 8, 11, 12, 14, 16, 20)
"""Of DNA and proteins, whose repeats are long."""
TOKEN_ORDERS = (1, 2, 3)
KEPT_LATELY = 0.98
"""What is left of the count of a token read lately when another is read."""


def build_adaptive_model(model: Model) -> AdaptiveModel:
    """Return what learns beside a model, with the counts of its training text if the directory holds that.

    The index of that text is built once and kept with the model. What is learned is the own of each one returned.

    Raises:
        ModelError: if that text is not as long as it was.

    Example:
        >>> from charnn.storage.adaptation import build_adaptive_model
        >>> reader = build_adaptive_model(model.models[0]).reader()
    """
    tokenizer = model.tokenizer
    families, experts = contexts_of(tokenizer)
    vocab_size = len(tokenizer.vocabulary)
    if not has_encoded(model, "train"):
        logger.info(f"{model.path}: has no train.bin, so only what is read is counted")
        return AdaptiveModel(families, experts, [None] * len(families), vocab_size)
    check_encoded(model, "train")
    ids = open_stored(model.path / "train.bin", tokenizer.vocabulary.dtype)
    if len(ids) > MAX_INDEXED:
        logger.info(f"{model.path}: of its training text, the last {MAX_INDEXED:,} of {len(ids):,} tokens are counted")
    if not model.text_indices:
        last_ids = np.asarray(ids[max(0, len(ids) - MAX_INDEXED) :]).astype(np.int64)
        model.text_indices[:] = [
            None if isinstance(family, EmptyFamily) else TextIndex(family, last_ids, vocab_size) for family in families
        ]
    return AdaptiveModel(families, experts, model.text_indices, vocab_size)


def contexts_of(tokenizer: Tokenizer) -> tuple[list[Family], list[Expert]]:
    """Return the contexts that suit a tokenizer.

    Of characters and bytes: the last 2 to 6, the word so far alone, and after one and two words. Of words and subwords: the
    last 1 to 3, as far as a key holds them, and none, which makes a cache of the tokens read lately. The contexts of lines and
    documents begin with them, as those of the n-gram model do.
    """
    vocabulary = tokenizer.vocabulary
    is_cut, boundary_id = tokenizer.unit != "stream", vocabulary.boundary_id
    bits = len(vocabulary).bit_length()
    of_characters = tokenizer.kind in ("char", "byte")
    wanted: tuple[int, ...] = CHARACTER_ORDERS if of_characters else TOKEN_ORDERS
    if tokenizer.fasta is not None:
        wanted = SEQUENCE_ORDERS
    orders = [order for order in wanted if order * bits <= KEY_BITS]
    families: list[Family] = [LaggedFamily(tuple(range(1, orders[-1] + 1)), bits, boundary_id, is_cut)]
    experts = [Expert(0, order) for order in orders]
    if of_characters and tokenizer.fasta is None:
        families.append(WordFamily(Letters.of(vocabulary.tokens), (1, 2), boundary_id, is_cut))
        experts += [Expert(1, length) for length in (1, 2, 3)]
    elif tokenizer.fasta is None:
        families.append(EmptyFamily())
        experts.append(Expert(1, 1, KEPT_LATELY))
    return families, experts
