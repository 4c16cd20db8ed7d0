"""The mixture of a trained network with its n-gram models, fitted to held-out text and measured on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.ngrams.counting import Keys
from charnn.ngrams.kneser_ney import Floats, NgramModel
from charnn.ngrams.mixture import LogProbs, Stage, after, blocks, fit_stages, fit_weights, target_log_probs
from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import IdArray
from charnn.training.evaluation import visit_log_probs
from charnn.training.held_out import HeldOutText
from charnn.training.network.network import Network
from charnn.training.parallel.workers import Workers

MAX_STORED_NUMBERS = 1 << 24
"""The most numbers in the distributions to which weights are fitted (64 MiB for each model); of a longer text, every second
token is taken, or every third, and so on."""


@dataclass(frozen=True)
class FittedMixture:
    """What a mixture gives on held-out text.

    Args:
        loss_nats: per token, each half of the text with weights fitted to the other half.
        weights: fitted to the whole text, those of each stage (order, NUM_WEIGHTS).
    """

    loss_nats: float
    weights: list[Floats]


class _Source(NamedTuple):
    """Where the distributions of a stage come from.

    Args:
        order: the maximum order.
        vocab_size: V.
        distributions: returns them for the indices of tokens (n,): probabilities (n, V), and lengths of contexts (n,).
    """

    order: int
    vocab_size: int
    distributions: Callable[[IdArray], tuple[LogProbs, npt.NDArray[np.int64]]]

    def stage(self, indices: IdArray) -> Stage:
        """Return what it says of some tokens."""
        log_probs_NV = np.empty((len(indices), self.vocab_size), dtype=np.float32)
        matched_N = np.zeros(len(indices), dtype=np.int64)
        for rows in blocks(*log_probs_NV.shape):
            probs, matched_N[rows] = self.distributions(indices[rows])
            log_probs_NV[rows] = np.log(probs)
        return Stage(log_probs_NV, matched_N, self.order)


def histories_of(ngrams: NgramModel, text: HeldOutText) -> Keys:
    """Return the keys of the tokens before each token of a held-out text (M,)."""
    cut = text.unit != "stream"
    if cut or len(text.starts) == 1:
        return ngrams.text_histories(text.tokens, boundary_id=text.boundary_id, cut_at_boundary=cut)
    pieces = []
    for start, length in zip(text.starts.tolist(), text.lengths.tolist(), strict=True):
        before = min(start, ngrams.order - 1)
        ids = np.asarray(text.ids[start - before : start + length]).astype(np.int64)
        keys = ngrams.text_histories(ids, boundary_id=text.boundary_id, cut_at_boundary=False)
        pieces.append(keys[before:])
    return np.concatenate(pieces)


class MixtureFit:
    """Fits the weights of a network and n-gram models to a held-out text.

    Attributes:
        network_log_probs: of the tokens by the network alone, in nats (M,).

    Args:
        network: on its device.
        ngrams: of the whole training text.
        workers: threads among which the forward passes are divided; by default, only the calling thread.
    """

    def __init__(
        self,
        network: Network,
        text: HeldOutText,
        vocabulary: Vocabulary,
        ngrams: NgramModel,
        *,
        workers: Workers | None = None,
    ) -> None:
        self._network, self._text, self._vocabulary, self._workers = network, text, vocabulary, workers
        self._histories = histories = histories_of(ngrams, text)
        self._source = _Source(
            ngrams.order, len(vocabulary), lambda indices: ngrams.distributions(histories[indices], np.float32)
        )
        self._every = max(1, -(-len(text) * len(vocabulary) // MAX_STORED_NUMBERS))
        self.network_log_probs, self._stored = self._read()

    def _read(self) -> tuple[Floats, LogProbs]:
        """Return what the network says of the targets (M,), and of the whole vocabulary for the tokens that are stored."""
        targets_M, every = self._text.tokens, self._every
        found = np.empty(len(targets_M))
        stored = np.empty((-(-len(targets_M) // every), len(self._vocabulary)), dtype=np.float32)

        def read(log_probs: LogProbs, indices: IdArray) -> None:
            found[indices] = np.take_along_axis(log_probs, targets_M[indices, None], axis=1)[:, 0]
            is_chosen = indices % every == 0
            stored[indices[is_chosen] // every] = log_probs[is_chosen]

        visit_log_probs(self._network, self._text, self._vocabulary, read, workers=self._workers)
        return found, stored

    def fitted(self) -> FittedMixture:
        """Return the mixture of the network and the n-gram model."""
        return self._fitted([self._source], np.ones(len(self._text), dtype=bool))

    def fitted_with_labels(self, label_ngrams: Sequence[NgramModel], weights: Floats) -> FittedMixture:
        """Return the mixture with the n-gram models of labels, too, on the units that have one.

        Args:
            label_ngrams: in the order of the labels.
            weights: of the mixture without them; those of the second stage are fitted to what it gives.
        """
        labels_M = labels_of_tokens(self._text)

        def distributions(indices: IdArray) -> tuple[LogProbs, npt.NDArray[np.int64]]:
            probs = np.ones((len(indices), len(self._vocabulary)), dtype=np.float32)
            matched = np.zeros(len(indices), dtype=np.int64)
            for label in np.unique(labels_M[indices]):
                is_own = labels_M[indices] == label
                model = label_ngrams[label - 1]
                probs[is_own], matched[is_own] = model.distributions(self._histories[indices[is_own]], np.float32)
            return probs, matched

        own = _Source(max(each.order for each in label_ngrams), len(self._vocabulary), distributions)
        found = self._fitted([self._source, own], labels_M > 0)
        chosen = self._chosen(labels_M > 0)
        first, second = self._source.stage(chosen), own.stage(chosen)
        log_probs = after(self._stored[chosen // self._every], first, weights)
        return FittedMixture(found.loss_nats, [weights, fit_weights(log_probs, second, self._text.tokens[chosen])])

    def _chosen(self, is_meant_M: npt.NDArray[np.bool_]) -> IdArray:
        """Return the indices of those tokens that are stored."""
        return np.flatnonzero(is_meant_M[:: self._every]) * self._every

    def _fitted(self, sources: Sequence[_Source], is_meant_M: npt.NDArray[np.bool_]) -> FittedMixture:
        targets_M, half = self._text.tokens, len(self._text) // 2
        chosen = self._chosen(is_meant_M)
        stored, stages = self._stored[chosen // self._every], [source.stage(chosen) for source in sources]
        middle = int(np.searchsorted(chosen, half))
        of_first, of_second, of_all = (
            fit_stages(stored[rows], [stage.part(rows) for stage in stages], targets_M[chosen[rows]])
            for rows in (slice(0, middle), slice(middle, None), slice(None))
        )
        losses_M = np.zeros(len(self._text))

        def measure(log_probs: LogProbs, indices: IdArray, stages: Sequence[Stage]) -> None:
            for is_first, weights in ((True, of_second), (False, of_first)):
                rows = np.flatnonzero((indices < half) == is_first)
                parts, tokens = [stage.part(rows) for stage in stages], indices[rows]
                losses_M[tokens] = -target_log_probs(log_probs[rows], parts, weights, targets_M[tokens])

        def visit(log_probs: LogProbs, indices: IdArray) -> None:
            rows = np.flatnonzero(is_meant_M[indices])
            measure(log_probs[rows], indices[rows], [source.stage(indices[rows]) for source in sources])

        if self._every == 1:
            measure(stored, chosen, stages)
        else:
            visit_log_probs(self._network, self._text, self._vocabulary, visit, workers=self._workers)
        return FittedMixture(float(losses_M[is_meant_M].mean()), of_all)


def labels_of_tokens(text: HeldOutText) -> IdArray:
    """Return the label of the unit of each token, from 1, 0 for none (M,)."""
    assert text.unit_labels is not None
    ends = np.flatnonzero(text.tokens == text.boundary_id) + 1
    return np.repeat(text.unit_labels, np.diff(ends, prepend=0))
