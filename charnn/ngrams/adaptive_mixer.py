"""The mixture of a network with contexts: its probabilities times powers of ratios, whose exponents are learned online.

A context that was followed by token v with count c(v), discounted by d(v) = min(0.6, 0.9 c(v)), makes a distribution by
absolute discounting into the network's: p_k(v) = (c(v) - d(v)) / C + (D / C) p(v), with C = sum c and D = sum d (Ney, Essen and
Kneser 1994, On structuring probabilistic dependences in stochastic language modelling). Its feature is the ratio of that to its
last term,

    f_k(v) = log(1 + (c(v) - d(v)) / (D p(v))), which is 0 for tokens that did not follow.

The mixture is q(v) = exp(w_0 log p(v) + sum_k w_k f_k(v)) / Z, a geometric mixture (Mattern 2013, Linear and geometric
mixtures - analysis), exactly normalized over the vocabulary. Each token that is read moves the weights along the gradient of
its log probability, f_k(x) - sum_v q(v) f_k(v), over the root mean square of that expert's gradients. A weight is a sum: by how
often and how surely its context was seen, by the last token and the last two, by the network's first choice, and by the last
of the contexts that was seen at all, as the weight sets of PAQ are selected by contexts (Mahoney 2005).
"""

import copy
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.ngrams.context_entries import Entries
from charnn.ngrams.context_index import Floats, Integers

DISCOUNT, LARGEST_DISCOUNT = 0.6, 0.9
SMALLEST = 0.02
"""Counts that faded below this count as 0."""
SMALLEST_PROB = 1e-12
"""A probability of the network below which ratios do not grow."""
FIRST_WEIGHT = 0.1
RATE, SET_RATE = 0.001, 0.0005
"""Learning rates of the weights by counts, and of those in sets."""
FASTER, SLOWED = 3.0, 2000.0
"""Rates are 1 + FASTER times as high for the first token, half as much faster after SLOWED tokens, and so on."""
SQUARE_KEPT, SQUARE_ADDED = 0.999, 1e-3
"""Of the running mean of squared gradients; what is added to it before its root is taken."""
NUM_PAIRS = 8191
"""Weight sets for the last two tokens, which are shared where there are more pairs."""
LEVELS = 8
"""Of the total of a context's counts, in powers of 2."""


MOST_HALVES = 192
NUM_BUCKETS = 4 * LEVELS
"""Weights by count of an expert: by 1, 2 or more tokens that followed, and the total; the network uses one of its own."""
_LEVEL_OF_HALVES = np.array([(halves // 3).bit_length() for halves in range(MOST_HALVES + 1)])


class Prediction(NamedTuple):
    """The mixed distribution, and what learning needs of it.

    Args:
        log_probs_V: in nats.
        probs_V: their exponentials.
        network_V: log probabilities by the network.
        owners_M: the number of the expert of each entry; those of counts of all text come first.
        symbols_M: its token.
        features_M: its feature.
        places_E: of the weights by count of the network and K experts.
        rows_S: of the weight sets.
        is_seen_E: 1 for experts whose context was seen, 0 for others and for the network.
    """

    log_probs_V: Floats
    probs_V: Floats
    network_V: Floats
    owners_M: Integers
    symbols_M: Integers
    features_M: Floats
    places_E: Integers
    rows_S: Integers
    is_seen_E: Floats


@dataclass
class _Weights:
    """Learned weights of E = K + 1 experts; the first is the network.

    Args:
        by_count: one for each bucket of each expert (E * buckets,).
        by_set: rows by the last token, by the last two, by the first choice, and by the last context seen (rows, E).
        squares: running mean of squared gradients (E,); that of the network stays 1.
    """

    by_count: Floats
    by_set: Floats
    squares: Floats
    num_read: int = 0

    def copy(self) -> "_Weights":
        return _Weights(self.by_count.copy(), self.by_set.copy(), self.squares.copy(), self.num_read)


class Mixer:
    """Mixes a network with two experts for each of C contexts, and learns how.

    Args:
        num_contexts: C.
        vocab_size: tokens in the vocabulary.
    """

    def __init__(self, num_contexts: int, vocab_size: int) -> None:
        self._num_contexts, self._vocab_size = num_contexts, vocab_size
        number = 1 + 2 * num_contexts
        by_count = np.full(number * NUM_BUCKETS, FIRST_WEIGHT)
        by_count[:NUM_BUCKETS] = 1.0
        self._num_pairs = min(vocab_size**2, NUM_PAIRS)
        sizes = (vocab_size, self._num_pairs, vocab_size, num_contexts + 1)
        self._first_rows = np.cumsum((0, *sizes[:-1]), dtype=np.intp)
        self._first_places = np.arange(number) * NUM_BUCKETS
        self._weights = _Weights(by_count, np.zeros((sum(sizes), number)), np.ones(number))
        self._is_shared = False

    def copy(self) -> "Mixer":
        """Return a mixer that goes on learning independently; the weights are copied when one of the two learns."""
        self._is_shared = True
        return copy.copy(self)

    def predict(self, network_V: Floats, entries: Entries, last_ids: tuple[int, int]) -> Prediction:
        """Return the mixed distribution of the next token.

        Args:
            network_V: log probabilities by the network, in nats.
            entries: the counts of the contexts.
            last_ids: the last token, and the one before it.
        """
        num_contexts, number = self._num_contexts, 2 * self._num_contexts
        owners_M = np.concatenate((entries.owners_N, entries.owners_N + num_contexts))
        symbols_M = np.concatenate((entries.symbols_N, entries.symbols_N))
        counts_M = entries.counts_2N.ravel()
        is_counted_M = counts_M > SMALLEST
        counts_M = counts_M * is_counted_M
        discounts_M = np.minimum(LARGEST_DISCOUNT * counts_M, DISCOUNT)
        totals_K = np.bincount(owners_M, counts_M, number)
        is_seen_K = totals_K > 0
        discounted_K = np.bincount(owners_M, discounts_M, number) + ~is_seen_K
        probs_V = np.maximum(np.exp(network_V), SMALLEST_PROB)
        features_M = np.log1p((counts_M - discounts_M) / (discounted_K[owners_M] * probs_V[symbols_M]))
        weights, places_E = self._weights, self._first_places.copy()
        places_E[1:] += _buckets(totals_K, np.bincount(owners_M, is_counted_M, number))
        rows_S = self._first_rows + self._sets(network_V, is_seen_K, last_ids)
        own_E = weights.by_count[places_E] + weights.by_set[rows_S].sum(axis=0)
        scores_V = own_E[0] * network_V
        scores_V += np.bincount(symbols_M, own_E[1:][owners_M] * features_M, self._vocab_size)
        scores_V -= scores_V.max()
        probs_V = np.exp(scores_V)
        total = float(probs_V.sum())
        scores_V -= math.log(total)
        probs_V /= total
        is_seen_E = np.concatenate(((0.0,), is_seen_K))
        return Prediction(scores_V, probs_V, network_V, owners_M, symbols_M, features_M, places_E, rows_S, is_seen_E)

    def _sets(self, network_V: Floats, is_seen_K: npt.NDArray[np.bool_], last_ids: tuple[int, int]) -> list[int]:
        """Return the number of each weight set that is selected, within its kind."""
        seen = is_seen_K[: self._num_contexts].nonzero()[0]
        pair = (last_ids[1] * self._vocab_size + last_ids[0]) % self._num_pairs
        return [last_ids[0], pair, int(network_V.argmax()), int(seen[-1]) + 1 if len(seen) else 0]

    def learn(self, prediction: Prediction, id: int) -> None:
        """Move the weights, given the token that followed."""
        if self._is_shared:
            self._weights, self._is_shared = self._weights.copy(), False
        weights, symbols_M, probs_V = self._weights, prediction.symbols_M, prediction.probs_V
        surprises_M = prediction.features_M * ((symbols_M == id) - probs_V[symbols_M])
        gradients_E = np.empty(len(weights.squares))
        gradients_E[0] = prediction.network_V[id] - probs_V @ prediction.network_V
        gradients_E[1:] = np.bincount(prediction.owners_M, surprises_M, len(gradients_E) - 1)
        added_E = (1 - SQUARE_KEPT) * prediction.is_seen_E
        weights.squares += added_E * (gradients_E * gradients_E - weights.squares)
        gradients_E /= np.sqrt(weights.squares + SQUARE_ADDED)
        faster = 1 + FASTER / (1 + weights.num_read / SLOWED)
        weights.by_count[prediction.places_E] += (RATE * faster) * gradients_E
        weights.by_set[prediction.rows_S] += (SET_RATE * faster) * gradients_E
        weights.num_read += 1


def _buckets(totals_K: npt.NDArray[Any], distinct_K: npt.NDArray[Any]) -> Integers:
    """Return the number of a context's weight: by 1, 2 or more tokens that followed it, and the total in powers of 2."""
    halves = np.minimum(2 * totals_K, MOST_HALVES).astype(np.intp)
    return np.asarray(_LEVEL_OF_HALVES[halves] + LEVELS * np.minimum(distinct_K, 3.0).astype(np.intp))
