"""The next token's distribution after a context."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from charnn.config import OnUnknown
from charnn.inference.engine import Engine, log_softmax
from charnn.inference.prompt import encode_prompt, read_context
from charnn.storage.mixture import read_mixture
from charnn.storage.model_directory import Model


@dataclass(frozen=True)
class NextToken:
    """A token that may come next.

    Args:
        token: as the vocabulary spells it.
        id: in the vocabulary.
        prob: its probability.

    Example:
        >>> model.next_tokens("The fo", top=1)[0].prob
    """

    token: str
    id: int
    prob: float

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name."""
        return asdict(self)


def next_log_probs(
    model: Model, context: str, *, mix_ngram: bool = False, on_unknown: OnUnknown = "error"
) -> npt.NDArray[np.float64]:
    """Return log P of each token (V,) after a context, in nats; for a backward model, before it."""
    ids = encode_prompt(model.tokenizer, context, on_unknown=on_unknown)
    engine = Engine.of(model)
    logits, _ = read_context(engine, model.tokenizer, ids)
    log_probs_V: npt.NDArray[np.float64] = log_softmax(logits)[0]
    if mix_ngram:
        read = ids[::-1] if engine.is_backward else ids
        history = [model.tokenizer.vocabulary.boundary_id, *read.tolist()]
        log_probs_V = read_mixture(model).log_distribution(log_probs_V, history)
    return log_probs_V


@dataclass(frozen=True)
class NextDistribution:
    """The distribution of the next token.

    Args:
        tokens: the most probable ones, in descending order.
        num_others, others_prob: how many tokens are not among them, and the sum of their probabilities.
        entropy_nats: of the whole distribution.
    """

    tokens: list[NextToken]
    num_others: int
    others_prob: float
    entropy_nats: float


def next_distribution(
    model: Model, context: str, *, top: int | None, mix_ngram: bool = False, on_unknown: OnUnknown = "error"
) -> NextDistribution:
    """Return the most probable tokens after a context, and a summary of the others.

    Args:
        top: how many; None for all.
        mix_ngram: interpolate with the n-gram model.
        on_unknown: what to do about tokens that the vocabulary lacks (see `encode_prompt`).

    Example:
        >>> charnn.api.next_distribution(model.models[0], "The fo", top=3).entropy_nats
    """
    log_probs_V = next_log_probs(model, context, mix_ngram=mix_ngram, on_unknown=on_unknown)
    probs_V = np.exp(log_probs_V)
    order = np.argsort(-probs_V, kind="stable")[:top].tolist()
    names = model.tokenizer.vocabulary.tokens
    return NextDistribution(
        [NextToken(names[id], id, float(probs_V[id])) for id in order],
        len(names) - len(order),
        max(0.0, 1 - float(probs_V[order].sum())),
        -float(np.sum(probs_V * np.where(probs_V > 0, log_probs_V, 0.0))),
    )
