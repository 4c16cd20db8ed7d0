"""A network mixed with counts of the training text and of what was read, as is learned while a text is scored (`--adapt`)."""

from typing import TYPE_CHECKING

import numpy as np

from charnn.inference.engine import IdArray
from charnn.scoring.estimators import Estimate, Estimator, Reader, of_targets

if TYPE_CHECKING:
    from charnn.ngrams.adaptive_model import AdaptiveModel, AdaptiveReader


class AdaptiveEstimator:
    """Another estimator, mixed with counts; these and the weights are kept from one text to the next.

    Args:
        inner: the network, which may adapt too.
        model: the counts, and how they are mixed with it.
    """

    is_sequential = True
    runs_in_threads = False

    def __init__(self, inner: Estimator, model: "AdaptiveModel") -> None:
        self.inner, self.model = inner, model
        self.vocab_size, self.is_backward = inner.vocab_size, inner.is_backward

    def new_reader(self, num_streams: int) -> Reader:
        """See `Estimator`; a reader of one text, which goes on with what was learned from all texts before it."""
        if num_streams != 1:
            raise ValueError("counts are learned from one text at a time")
        return _AdaptiveEstimatorReader(self.inner.new_reader(1), self.model.reader())


class _AdaptiveEstimatorReader:
    def __init__(self, inner: Reader, adaptive: "AdaptiveReader") -> None:
        self._inner, self._adaptive = inner, adaptive

    def read(self, contexts_TB: IdArray, targets_TB: IdArray, *, whole: bool) -> Estimate:
        """See `Reader`."""
        network = self._inner.read(contexts_TB, targets_TB, whole=True).log_probs_TBV
        assert network is not None
        reader = self._adaptive
        log_probs_TB = np.empty(targets_TB.shape)
        contexts, targets = contexts_TB[:, 0].tolist(), targets_TB[:, 0].tolist()
        for time, (context, target) in enumerate(zip(contexts, targets, strict=True)):
            reader.push(context)
            mixed_V = reader.predict(network[time, 0])
            reader.learn(target)
            log_probs_TB[time] = mixed_V[target]
            if whole:
                network[time, 0] = mixed_V
        return Estimate(of_targets(network, targets_TB), network) if whole else Estimate(log_probs_TB, None)

    def repeated(self, num_streams: int) -> Reader:
        """Refuse: see `new_reader`."""
        raise ValueError(f"counts are learned from one text at a time, not from {num_streams}")
