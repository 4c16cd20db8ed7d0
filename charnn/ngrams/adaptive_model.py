"""What is learned from a text while it is read, and readers of its units."""

from collections.abc import Sequence

from charnn.ngrams.adaptive_mixer import Mixer, Prediction
from charnn.ngrams.context_counts import ContextCounts
from charnn.ngrams.context_entries import Entries
from charnn.ngrams.context_index import Floats, TextIndex
from charnn.ngrams.contexts import KEY_BITS, Cursor, Expert, Family


class AdaptiveModel:
    """Counts and weights, which are kept from one unit to the next.

    Args:
        families: of contexts.
        experts: the contexts that are counted, in the order of their importance.
        indices: of the training text, one for each family; None for families of which only what is read counts.
        vocab_size: tokens in the vocabulary.
    """

    def __init__(
        self,
        families: Sequence[Family],
        experts: Sequence[Expert],
        indices: Sequence[TextIndex | None],
        vocab_size: int,
    ) -> None:
        self.families, self.experts = families, experts
        self.counts, self.mixer = ContextCounts(experts, indices), Mixer(len(experts), vocab_size)

    def copy(self) -> "AdaptiveModel":
        """Return a model that goes on learning independently."""
        other = AdaptiveModel.__new__(AdaptiveModel)
        other.families, other.experts = self.families, self.experts
        other.counts, other.mixer = self.counts.copy(), self.mixer.copy()
        return other

    def reader(self) -> "AdaptiveReader":
        """Return a reader at the beginning of a text."""
        return AdaptiveReader(self, [family.cursor() for family in self.families], (0, 0))


class AdaptiveReader:
    """Reads a text token by token: `push` what is context, `predict` what follows, `learn` what did.

    Args:
        model: predicts and learns.
        cursors: of each family.
        last_ids: the last token, and the one before it.
    """

    def __init__(self, model: AdaptiveModel, cursors: Sequence[Cursor], last_ids: tuple[int, int]) -> None:
        self._model, self._cursors, self._last_ids = model, cursors, last_ids
        self._cuts = [_cut(model.families[expert.family].widths, expert.num_digits) for expert in model.experts]
        self._entries: Entries | None = None
        self._prediction: Prediction | None = None

    def copy(self) -> "AdaptiveReader":
        """Return a reader at the same position, whose model goes on learning independently."""
        return AdaptiveReader(self._model.copy(), [cursor.copy() for cursor in self._cursors], self._last_ids)

    def push(self, id: int) -> None:
        """Read a token as context."""
        for cursor in self._cursors:
            cursor.push(id)
        self._last_ids = id, self._last_ids[0]
        self._entries = self._prediction = None

    def predict(self, network_V: Floats) -> Floats:
        """Return log probabilities of the next token (V,), in nats.

        Args:
            network_V: those by the network.
        """
        keys = [cursor.key() for cursor in self._cursors]
        contexts = [
            (keys[expert.family] & mask) if keys[expert.family] & last else 0
            for expert, (mask, last) in zip(self._model.experts, self._cuts, strict=True)
        ]
        self._entries = self._model.counts.look_up(contexts, keys)
        self._prediction = self._model.mixer.predict(network_V, self._entries, self._last_ids)
        return self._prediction.log_probs_V

    def learn(self, id: int, *, is_drawn: bool = False) -> None:
        """Learn from the token that followed, after it was predicted.

        Args:
            is_drawn: whether the model drew it, so that it says nothing of how to predict others.
        """
        assert self._entries is not None
        assert self._prediction is not None
        if not is_drawn:
            self._model.mixer.learn(self._prediction, id)
        self._model.counts.read(self._entries, id, is_drawn=is_drawn)
        self._entries = self._prediction = None


def _cut(widths: Sequence[int], num_digits: int) -> tuple[int, int]:
    """Return masks of a key: of a context's digits, and of its last one."""
    end, before = sum(widths[:num_digits]), sum(widths[: num_digits - 1])
    all_digits = ((1 << end) - 1) << (KEY_BITS - end)
    earlier = ((1 << before) - 1) << (KEY_BITS - before)
    return all_digits, all_digits & ~earlier
