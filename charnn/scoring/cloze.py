"""What stands in a blank: judged from the left, from the right, and from both sides."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.config import OnUnknown
from charnn.errors import TextError
from charnn.inference.engine import Engine, log_softmax
from charnn.inference.prompt import GAPS, REMEDY, encode_prompt, read_context
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import Vocabulary

PARTS_OF_WORDS = "_'\u2019"

LogProbs = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Blank:
    """The text on both sides of a blank, as ids in the order of the text (N,), (M,)."""

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]


def find_blank(tokenizer: Tokenizer, text: str, mark: str, *, on_unknown: OnUnknown, remedy: str = REMEDY) -> Blank:
    """Cut a text at its blank, which is one token.

    Args:
        mark: what stands for the token, once in the text.
        on_unknown: what to do about tokens that the vocabulary lacks (see `encode_prompt`).

    Raises:
        TextError: where there is more than one blank, or it is a part of a word only.
        UnknownTokenError: for a token beside it that is not in the vocabulary.
    """
    start = text.index(mark)
    end = start + len(mark)
    if mark in text[end:]:
        raise TextError(
            f"TEXT: found {text.count(mark)} blanks ({mark}), but one is judged at a time; fill in the others"
        )
    left, right = text[:start], text[end:]
    beside = (text[max(0, start - 1) : start], text[end : end + 1])
    if tokenizer.kind == "word" and any(side.isalnum() or side in PARTS_OF_WORDS for side in beside if side):
        raise TextError(
            f"TEXT: found the blank ({mark}) at position {start + 1} joined to what stands beside it, but it stands for a "
            "whole word; put spaces around it"
        )
    if tokenizer.kind in ("word", "subword"):  # the gaps beside a word are its own
        left, right, end = left.rstrip(GAPS), right.lstrip(GAPS), end + len(right) - len(right.lstrip(GAPS))
    return Blank(
        encode_prompt(tokenizer, left, on_unknown=on_unknown, name="TEXT", remedy=remedy),
        encode_prompt(tokenizer, right, on_unknown=on_unknown, offset=end, name="TEXT", remedy=remedy),
    )


def score_blank(
    forward: Engine | None, backward: Engine | None, tokenizer: Tokenizer, blank: Blank
) -> dict[str, LogProbs]:
    """Return log P of each token (V,) in a blank, in nats, by the names of the models that judge it.

    Both together give p(x | left) p(x | right) / p(x), made to sum to 1, with p(x) from the counts of the training text: what
    follows from Bayes' rule where, the token being known, the two sides say nothing of each other.
    """
    found: dict[str, LogProbs] = {}
    if forward is not None:
        found["forward"] = log_softmax(read_context(forward, tokenizer, blank.left)[0])[0]
    if backward is not None:
        found["backward"] = log_softmax(read_context(backward, tokenizer, blank.right)[0])[0]
    if len(found) == 2:
        together = found["forward"] + found["backward"] - unigram_log_probs(tokenizer.vocabulary)
        found["both"] = together - np.logaddexp.reduce(together)
    return found


def ranked_tokens(judged: dict[str, LogProbs], top: int | None) -> tuple[dict[str, LogProbs], list[int]]:
    """Return the probabilities (V,) by each model, and the ids of the likeliest tokens by both, or by the one there is."""
    probs = {name: np.exp(log_probs) for name, log_probs in judged.items()}
    deciding = probs.get("both", next(iter(probs.values())))
    return probs, np.argsort(-deciding, kind="stable")[:top].tolist()


def unigram_log_probs(vocabulary: Vocabulary) -> LogProbs:
    """Return log P of each token (V,) from its count, one being added to each."""
    counts = np.array(vocabulary.counts, dtype=np.float64) + 1
    return np.asarray(np.log(counts / counts.sum()))
