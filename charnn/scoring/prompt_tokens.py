"""The log probabilities of a prompt's tokens, each with the most probable ones at its position."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.sampling.stream_sampler import top_tokens
from charnn.sampling.streams import Alternatives
from charnn.scoring.estimators import Estimator

TOKENS_AT_ONCE = 256


class PromptToken(NamedTuple):
    """The log probability of a token in nats, and the most probable tokens at its position with theirs."""

    log_prob_nats: float
    alternatives: Alternatives


def prompt_tokens(
    estimator: Estimator, ids: npt.NDArray[np.int64], *, boundary_id: int, num_alternatives: int
) -> list[PromptToken]:
    """Return the log probability of each token of a prompt (N,), the first one in the context of the boundary.

    Example:
        >>> estimator = charnn.api.estimator_of(charnn.api.Engine.of(model.models[0]), model.tokenizer)
        >>> charnn.api.prompt_tokens(estimator, model.tokenizer.encode("The fox"), boundary_id=0, num_alternatives=3)[0]
    """
    reader, found = estimator.new_reader(1), list[PromptToken]()
    contexts = np.concatenate(([boundary_id], ids)).astype(np.int64)
    for first in range(0, len(ids), TOKENS_AT_ONCE):
        targets = ids[first : first + TOKENS_AT_ONCE, None]
        read = contexts[first : first + len(targets), None]
        estimate = reader.read(read, targets, whole=num_alternatives > 0)
        whole = estimate.log_probs_TBV
        for index, log_prob in enumerate(estimate.log_probs_TB[:, 0].tolist()):
            if whole is None:
                found.append(PromptToken(log_prob, []))
                continue
            # The same float as among the alternatives, so that a client can tell whether the token is the most probable one.
            of_token = float(whole[index, 0, targets[index, 0]])
            found.append(PromptToken(of_token, top_tokens(whole[index, 0], num_alternatives)))
    return found
