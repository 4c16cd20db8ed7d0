"""Spelling models: the probability of the characters of out-of-vocabulary words.

A spelling is a string of characters and an end symbol. P(word) = P(<unk>) P(spelling), where spellings of vocabulary words have
probability 0 and the others are renormalized. So a word model assigns a probability to every string, and these sum to 1.
"""

import functools
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from charnn.ngrams.counting import count_ngrams
from charnn.ngrams.kneser_ney import NgramModel, estimate, from_arrays

NUM_CODE_POINTS = 0x110000
ORDER = 5
WORDS_AT_ONCE = 1024
END, OTHER, NUM_SPECIALS = 0, 1, 2
"""Ids of the end of a word and of an unknown character, and the number of such special ids."""


class Spelling(Protocol):
    """Assigns probabilities to spellings."""

    def log_prob(self, word: str) -> float:
        """Return log P(spelling | unknown) in nats."""
        ...


@dataclass(frozen=True)
class UniformSpelling:
    """Uniform distribution over all unknown characters.

    Args:
        num_known: number of known characters.
        is_run: whether unknown tokens are runs of such characters, each continued with probability 1/2.
    """

    num_known: int
    is_run: bool

    def log_prob(self, word: str) -> float:
        """See `Spelling`."""
        nats = -math.log(NUM_CODE_POINTS - self.num_known)
        return len(word) * (nats - math.log(2)) if self.is_run else nats


class WordSpelling:
    """A Kneser-Ney model of the characters of words; see `learn_spelling`.

    Args:
        characters: known characters, in the order of their ids.
        ngrams: n-gram model over ids; the probability of the unknown character is divided equally among all other code points.
        known_mass: total probability of the vocabulary before renormalization.
    """

    def __init__(self, characters: Sequence[str], ngrams: NgramModel, known_mass: float) -> None:
        self.characters, self.ngrams, self.known_mass = tuple(characters), ngrams, known_mass
        self._ids = {character: NUM_SPECIALS + number for number, character in enumerate(self.characters)}
        self._log_other = -math.log(NUM_CODE_POINTS - len(self.characters))
        self._log_normalization = -math.log1p(-known_mass)
        self.log_prob = functools.lru_cache(maxsize=1 << 16)(self._log_prob)

    def _log_prob(self, word: str) -> float:
        """See `Spelling`."""
        return self._unnormalized_log_prob(word) + self._log_normalization

    def _unnormalized_log_prob(self, word: str) -> float:
        return float(self.log_probs([word])[0])

    def log_probs(self, words: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return log P(spelling) of words in nats (B,), before renormalization."""
        longest = max(map(len, words), default=0) + 1
        targets_TB = np.full((longest, len(words)), END, dtype=np.int64)
        for column, word in enumerate(words):
            targets_TB[: len(word), column] = [self._ids.get(character, OTHER) for character in word]
        contexts_TB = np.concatenate((np.full((1, len(words)), END), targets_TB[:-1]))
        is_in_word = np.arange(longest)[:, None] <= np.array([len(word) for word in words])
        log_probs_TB = np.log(self.ngrams.read(contexts_TB, targets_TB).probs) + self._log_other * (targets_TB == OTHER)
        return np.asarray((log_probs_TB * is_in_word).sum(axis=0))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the model as named arrays, as stored on disk together with `characters`."""
        return {**self.ngrams.arrays(), "known_mass": np.array([self.known_mass])}

    @classmethod
    def from_arrays(cls, characters: Sequence[str], arrays: dict[str, npt.NDArray[Any]]) -> "WordSpelling":
        """Return the model of the arrays that `arrays` returned.

        Raises:
            ValueError: if they are not a spelling model.
        """
        ngram_arrays = {name: array for name, array in arrays.items() if name != "known_mass"}
        known_mass = arrays.get("known_mass", np.zeros(0))
        if known_mass.shape != (1,) or not 0 <= float(known_mass[0]) < 1:
            raise ValueError("has no known_mass between 0 and 1")
        return cls(characters, from_arrays(ngram_arrays, NUM_SPECIALS + len(characters)), float(known_mass[0]))


def learn_spelling(words: Sequence[str], vocabulary: Collection[str], *, order: int = ORDER) -> WordSpelling:
    """Train a spelling model for out-of-vocabulary words.

    Args:
        words: distinct examples; characters that occur in only one of them train the unknown character.
        vocabulary: known words, which are never spelled.
        order: maximum n-gram order in characters, including the end of a word.
    """
    num_words_with = Counter(character for word in words for character in set(word))
    characters = sorted(character for character, count in num_words_with.items() if count > 1)
    ids = {character: NUM_SPECIALS + number for number, character in enumerate(characters)}
    text = [id for word in words for id in (*(ids.get(character, OTHER) for character in word), END)]
    vocab_size = NUM_SPECIALS + len(characters)
    counts = count_ngrams(
        np.array(text, dtype=np.int64), order=order, vocab_size=vocab_size, boundary_id=END, cut_at_boundary=True
    )
    unnormalized = WordSpelling(characters, estimate(counts, vocab_size), 0.0)
    known = sorted(vocabulary, key=len)
    batches = (known[first : first + WORDS_AT_ONCE] for first in range(0, len(known), WORDS_AT_ONCE))
    known_mass = math.fsum(float(np.exp(unnormalized.log_probs(batch)).sum()) for batch in batches)
    return WordSpelling(characters, unnormalized.ngrams, known_mass)
