"""Cloze: the distribution of a token in a gap, given the text on its left, on its right, or on both sides."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.config import OnUnknown
from charnn.errors import TextError
from charnn.inference.engine import Engine, log_softmax
from charnn.inference.prompt import REMEDY, SPACES, encode_prompt, read_context
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import Vocabulary

PARTS_OF_WORDS = "_'\u2019"

LogProbs = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """The text on both sides of a gap, as ids in the order of the text (N,), (M,)."""

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]


def find_gap(tokenizer: Tokenizer, text: str, mark: str, *, on_unknown: OnUnknown, remedy: str = REMEDY) -> Gap:
    """Split a text at its gap, which is one token.

    Args:
        mark: the text that marks the gap, once in the text.
        on_unknown: what to do about tokens that the vocabulary lacks (see `encode_prompt`).

    Raises:
        TextError: where there is more than one gap, or it is only part of a word.
        UnknownTokenError: for a token of the text that is not in the vocabulary.

    Example:
        >>> gap = charnn.api.find_gap(model.tokenizer, "The f_x slept.", "_", on_unknown="error")
        >>> len(gap.left)
        5
    """
    start = text.index(mark)
    end = start + len(mark)
    if mark in text[end:]:
        raise TextError(
            f"TEXT: found {text.count(mark)} gaps ({mark}), but one is scored at a time; fill in the others"
        )
    left, right = text[:start], text[end:]
    neighbours = (text[max(0, start - 1) : start], text[end : end + 1])
    if tokenizer.kind == "word" and any(side.isalnum() or side in PARTS_OF_WORDS for side in neighbours if side):
        raise TextError(
            f"TEXT: found the gap ({mark}) at position {start + 1} joined to what stands beside it, but it stands for a "
            "whole word; put spaces around it"
        )
    if tokenizer.kind in ("word", "subword"):  # the spaces around a word belong to it
        left, right, end = left.rstrip(SPACES), right.lstrip(SPACES), end + len(right) - len(right.lstrip(SPACES))
    return Gap(
        encode_prompt(tokenizer, left, on_unknown=on_unknown, name="TEXT", remedy=remedy),
        encode_prompt(tokenizer, right, on_unknown=on_unknown, offset=end, name="TEXT", remedy=remedy),
    )


def score_cloze(forward: Engine | None, backward: Engine | None, tokenizer: Tokenizer, gap: Gap) -> dict[str, LogProbs]:
    """Return log P of each token (V,) in a gap, in nats, by the name of the model.

    Two models are combined as p(x | left) p(x | right) / p(x), normalized, with p(x) from the counts of the training text: what
    follows from Bayes' rule where, the token being known, the two sides say nothing of each other.

    Example:
        >>> log_probs = charnn.api.score_cloze(charnn.api.Engine.of(model.models[0]), None, model.tokenizer, gap)
    """
    log_probs: dict[str, LogProbs] = {}
    if forward is not None:
        log_probs["forward"] = log_softmax(read_context(forward, tokenizer, gap.left)[0])[0]
    if backward is not None:
        log_probs["backward"] = log_softmax(read_context(backward, tokenizer, gap.right)[0])[0]
    if len(log_probs) == 2:
        combined = log_probs["forward"] + log_probs["backward"] - unigram_log_probs(tokenizer.vocabulary)
        log_probs["both"] = combined - np.logaddexp.reduce(combined)
    return log_probs


def ranked_tokens(
    scored: dict[str, LogProbs], vocabulary: Vocabulary, top: int | None
) -> tuple[dict[str, LogProbs], list[int]]:
    """Return the probabilities (V,) by each model, and the ids of the most probable tokens, by both models if there are two.

    <unk>, with which no gap can be filled, is not among these.

    Example:
        >>> probs, ids = charnn.api.ranked_tokens(log_probs, model.tokenizer.vocabulary, top=3)
    """
    probs = {name: np.exp(log_probs) for name, log_probs in scored.items()}
    deciding = probs.get("both", next(iter(probs.values())))
    order = np.argsort(-deciding, kind="stable")
    return probs, order[order != vocabulary.unknown_id][:top].tolist()


def unigram_log_probs(vocabulary: Vocabulary) -> LogProbs:
    """Return log P of each token (V,) from its count, one being added to each."""
    counts = np.array(vocabulary.counts, dtype=np.float64) + 1
    return np.asarray(np.log(counts / counts.sum()))
