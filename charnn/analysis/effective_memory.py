"""Effective memory: the loss on a text against the number of tokens of context that a model may see.

The network reads the last C tokens from its initial state, the n-gram model sees the last C. The shorter the context, the more
positions are evaluated, spread evenly over the text. The loss at C is that of the whole text with all of its context, plus the
mean difference at these positions, which varies far less than the loss itself.

Source: Khandelwal et al. (2018), Sharp nearby, fuzzy far away: How neural language models use context.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from charnn.analysis.gradient_norms import IdArray, first_of_units
from charnn.ngrams.kneser_ney import NgramModel
from charnn.text.vocabulary import Vocabulary
from charnn.training.evaluation import held_out_log_probs
from charnn.training.held_out import NORMAL_97_5, HeldOutText
from charnn.training.network.network import Network
from charnn.training.parallel.workers import Workers
from charnn.training.run.metrics import evaluate_ngrams

LENGTHS = tuple(2**exponent for exponent in range(11))
"""Tokens of context: 1 to 1,024."""
TOKENS_PER_LENGTH = 1 << 14
"""Tokens that are read for each length, approximately."""
MIN_POSITIONS = 48
TOLERANCE_NATS = 0.01
"""Increase of the loss that counts as none: 1 % of perplexity."""

Losses = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ContextLosses:
    """The losses of a model by length of context.

    Args:
        model: "network", or "7-gram" and the like.
        lengths: tokens of context; None for all that there are, the last.
        losses_nats: mean loss per token (C,).
        margins_nats: half the width of the 95 % confidence interval of its difference from the last; 0 for the last (C,).
        num_positions: tokens at which the difference was measured (C,).
    """

    model: str
    lengths: tuple[int | None, ...]
    losses_nats: Losses
    margins_nats: Losses
    num_positions: tuple[int, ...]

    @property
    def effective_length(self) -> int | None:
        """The shortest of the lengths from which on no loss is more than `TOLERANCE_NATS` above the last; None for all."""
        is_above = self.losses_nats > self.losses_nats[-1] + TOLERANCE_NATS
        return self.lengths[int(np.flatnonzero(is_above)[-1]) + 1 if is_above.any() else 0]


def context_losses(
    network: Network,
    ngrams: NgramModel | None,
    text: HeldOutText,
    vocabulary: Vocabulary,
    *,
    workers: Workers | None = None,
) -> list[ContextLosses]:
    """Return the losses of a network, and of its n-gram model if there is one, by length of context.

    Args:
        network: on its device.
        text: the whole of it; at full context the loss of the network is that of validation.
        workers: threads among which the work is divided; by default, only the calling thread.
    """
    workers = workers or Workers()
    ids = np.asarray(text.ids).astype(np.int64)
    inputs = np.concatenate(([text.boundary_id], ids[:-1]))
    available = np.arange(len(ids)) - first_of_units(ids, unit=text.unit, boundary_id=text.boundary_id) + 1
    full = -held_out_log_probs(network, text, vocabulary, workers=workers).astype(np.float64)
    lengths = [length for length in LENGTHS if length < available.max()]
    rows = []
    for length in lengths:
        number = min(len(ids), max(MIN_POSITIONS, TOKENS_PER_LENGTH // length))
        positions = np.linspace(0, len(ids) - 1, number).astype(np.int64)
        cut = positions[available[positions] > length]
        increases = np.zeros(number)
        increases[: len(cut)] = _losses(network, inputs, ids, cut, length, workers) - full[cut]
        rows.append((float(full.mean() + increases.mean()), _margin(increases), number))
    rows.append((float(full.mean()), 0.0, len(ids)))
    losses, margins, counts = zip(*rows, strict=True)
    found = ContextLosses("network", (*lengths, None), np.array(losses), np.array(margins), counts)
    return [found] if ngrams is None else [found, _of_ngrams(ngrams, text, found)]


def _margin(increases: Losses) -> float:
    return NORMAL_97_5 * float(increases.std(ddof=1)) / math.sqrt(len(increases)) if len(increases) > 1 else math.nan


def _losses(
    network: Network, inputs: IdArray, ids: IdArray, positions: IdArray, length: int, workers: Workers
) -> Losses:
    """Return the losses of the tokens at some positions (M,), each after `length` tokens from the initial state."""

    @torch.no_grad()
    def losses_at(rows: IdArray) -> Losses:
        window_TB = inputs[rows + np.arange(1 - length, 1)[:, None]]
        state = network.initial_state(len(rows))
        outputs = network.outputs(torch.from_numpy(window_TB).to(network.device), state)
        logits_BV = network.output(outputs.dropped_TBH[-1]).float()
        targets = torch.from_numpy(ids[rows]).to(network.device)
        losses: Losses = functional.cross_entropy(logits_BV, targets, reduction="none").double().cpu().numpy()
        return losses

    size = max(4 * length, network.architecture.attention_window)  # each row has a memory of the whole window
    batch = max(MIN_POSITIONS // 2, TOKENS_PER_LENGTH // size)
    batches = [positions[first : first + batch] for first in range(0, len(positions), batch)]
    return np.concatenate([np.zeros(0), *workers.run([partial(losses_at, rows) for rows in batches])])


def _of_ngrams(ngrams: NgramModel, text: HeldOutText, of_network: ContextLosses) -> ContextLosses:
    """Return the losses of an n-gram model over the whole text, at the lengths of the network's."""
    whole = -float(np.log(evaluate_ngrams(ngrams, text).probs).mean())
    losses = [
        whole
        if length is None or length >= ngrams.order - 1
        else -float(np.log(evaluate_ngrams(_shortened(ngrams, length), text).probs).mean())
        for length in of_network.lengths
    ]
    return replace(
        of_network,
        model=f"{ngrams.order}-gram",
        losses_nats=np.array(losses),
        margins_nats=np.zeros(len(losses)),
        num_positions=(len(text),) * len(losses),
    )


def _shortened(ngrams: NgramModel, length: int) -> NgramModel:
    """Return an n-gram model that sees at most the last `length` tokens."""
    return NgramModel(ngrams.unigrams, ngrams.levels[:length], ngrams.bits)
