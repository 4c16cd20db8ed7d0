"""Dropout of values, positions and tokens, and its probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from charnn.config import TrainingOptions
from charnn.config.regularization import DropoutKind


@dataclass(frozen=True)
class RegularizationRates:
    """Dropout probabilities by location.

    Args:
        kind: how masks are shared over time (see `ValueDropout`).
        input, hidden, output: on the input of the first layer, between layers, on the output of the last layer.
        recurrent: on the recurrent connections, if the kind is variational.
        embedding: of whole tokens of the vocabulary (see `TokenDropout`).
        attention: of whole positions in the memory of attention, and of all that a position attends to.
        ngram: of whole n-gram embeddings at single positions (see `PositionDropout`).
        weight_drop: of entries of the recurrent matrices.
    """

    kind: DropoutKind = "locked"
    input: float = 0.0
    hidden: float = 0.0
    output: float = 0.0
    recurrent: float = 0.0
    embedding: float = 0.0
    attention: float = 0.0
    ngram: float = 0.0
    weight_drop: float = 0.0

    @classmethod
    def of(cls, options: TrainingOptions) -> "RegularizationRates":
        """Return the rates of resolved options; `--dropout` is the default for input, hidden and output dropout."""
        everywhere = options.dropout or 0.0

        def rate(location_rate: float | None) -> float:
            return everywhere if location_rate is None else location_rate

        return cls(
            kind=options.dropout_kind,
            input=rate(options.input_dropout),
            hidden=rate(options.hidden_dropout),
            output=rate(options.output_dropout),
            recurrent=rate(options.hidden_dropout),
            embedding=options.embedding_dropout,
            attention=options.attention_dropout,
            ngram=options.ngram_dropout or 0.0,
            weight_drop=options.weight_drop,
        )


def keep_mask(size: Sequence[int], probability: float, device: torch.device, generator: torch.Generator) -> Tensor:
    """Return a mask of 0 with the given probability, else 1 / (1 - probability), so that the mean is kept.

    Args:
        size: of the mask.
        probability: of dropping an entry.
        generator: on the same device.
    """
    keep_probability = 1 - probability
    drawn = torch.rand(tuple(size), dtype=torch.float32, device=device, generator=generator)
    return (drawn < keep_probability).to(torch.float32).div_(keep_probability)


class Dropout(nn.Module):
    """Inverted dropout; a subclass defines the size of the mask."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def mask_size(self, values_TBD: Tensor) -> tuple[int, ...]:
        """Return the size of the mask, which is broadcast to the values."""
        raise NotImplementedError

    def forward(self, values_TBD: Tensor, generator: torch.Generator | None) -> Tensor:
        """Apply dropout.

        Args:
            values_TBD: values to drop.
            generator: source of the mask; None, as in evaluation, leaves the values unchanged.
        """
        if generator is None or self.probability == 0:
            return values_TBD
        mask = keep_mask(self.mask_size(values_TBD), self.probability, values_TBD.device, generator)
        return values_TBD * mask.to(values_TBD.dtype)


class ValueDropout(Dropout):
    """Dropout of single values.

    naive: a new mask at each time step (Zaremba et al. 2014). locked: one mask for all time steps of a batch (Merity et al.
    2018). variational: locked, with a mask on the recurrent connections too, which the layer applies (Gal and Ghahramani
    2016).
    """

    def __init__(self, probability: float, kind: DropoutKind = "locked") -> None:
        super().__init__(probability)
        self.kind = kind

    def mask_size(self, values_TBD: Tensor) -> tuple[int, ...]:
        """One entry per feature and stream, at each time step (T, B, D) or for all of them (1, B, D)."""
        length, num_streams, size = values_TBD.shape
        return (length if self.kind == "naive" else 1), num_streams, size


class PositionDropout(Dropout):
    """Dropout of whole embeddings at single positions, with an independent mask for each n-gram order.

    Embeddings of long n-grams soon memorize the text. Without them the network falls back to shorter n-grams, as a smoothed
    n-gram model does for unseen contexts.
    """

    def mask_size(self, values_TBD: Tensor) -> tuple[int, ...]:
        """One entry per time step and stream, for all features (T, B, 1)."""
        return (*values_TBD.shape[:2], 1)


class TokenDropout(nn.Module):
    """Dropout of whole tokens at all their positions in a batch. Source: Gal and Ghahramani (2016), embedding dropout."""

    def __init__(self, probability: float, vocab_size: int) -> None:
        super().__init__()
        self.probability = probability
        self.vocab_size = vocab_size

    def forward(self, vectors_TBE: Tensor, ids_TB: Tensor, generator: torch.Generator | None) -> Tensor:
        """Apply dropout.

        Args:
            vectors_TBE: embeddings of the tokens.
            ids_TB: token ids.
            generator: source of the mask; None, as in evaluation, leaves the embeddings unchanged.
        """
        if generator is None or self.probability == 0:
            return vectors_TBE
        mask_V = keep_mask((self.vocab_size,), self.probability, vectors_TBE.device, generator)
        return vectors_TBE * mask_V[ids_TB][..., None].to(vectors_TBE.dtype)
