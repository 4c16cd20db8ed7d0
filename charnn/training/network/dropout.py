"""What is left out in training, so that nothing comes to depend on a single unit."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from charnn.config import TrainingOptions
from charnn.config.training import DropoutKind


@dataclass(frozen=True)
class RegularizationRates:
    """The shares of a network that are left out in training.

    Args:
        kind: what has one mask (see `ValueDropout`).
        input, hidden, output: of the first layer's input, between layers, of the last layer's output.
        recurrent: of the recurrent connections, where the kind is variational.
        embedding: of the vocabulary's vectors.
        ngram: of the places, their n-grams' vectors.
        weight_drop: of the recurrent matrices' entries.
    """

    kind: DropoutKind = "locked"
    input: float = 0.0
    hidden: float = 0.0
    output: float = 0.0
    recurrent: float = 0.0
    embedding: float = 0.0
    ngram: float = 0.0
    weight_drop: float = 0.0

    @classmethod
    def of(cls, options: TrainingOptions) -> "RegularizationRates":
        """Return what resolved options say; those of places are `--dropout` where they are not given themselves."""
        everywhere = options.dropout or 0.0

        def share(own: float | None) -> float:
            return everywhere if own is None else own

        return cls(
            kind=options.dropout_kind,
            input=share(options.input_dropout),
            hidden=share(options.hidden_dropout),
            output=share(options.output_dropout),
            recurrent=share(options.hidden_dropout),
            embedding=options.embedding_dropout,
            ngram=options.ngram_dropout or 0.0,
            weight_drop=options.weight_drop,
        )


def keep_mask(size: Sequence[int], probability: float, device: torch.device, generator: torch.Generator) -> Tensor:
    """Return zeros for what is left out, and for the rest the factor that keeps the mean."""
    kept = 1 - probability
    drawn = torch.rand(tuple(size), dtype=torch.float32, device=device, generator=generator)
    return (drawn < kept).to(torch.float32).div_(kept)


class Dropout(nn.Module):
    """Leaves out some values in training, the rest scaled up so that the mean stays; a subclass says what has one mask."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def mask_size(self, values_TBD: Tensor) -> tuple[int, ...]:
        """Return the size of a mask that has one entry for all that is kept or left out together."""
        raise NotImplementedError

    def forward(self, values_TBD: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the values with some left out, drawn from a generator; without one, as in evaluation, unchanged."""
        if generator is None or self.probability == 0:
            return values_TBD
        mask = keep_mask(self.mask_size(values_TBD), self.probability, values_TBD.device, generator)
        return values_TBD * mask.to(values_TBD.dtype)


class ValueDropout(Dropout):
    """Dropout of single values.

    naive: a new mask at each step (Zaremba et al. 2014). locked: one mask for all steps of a batch, as Merity et al. (2018)
    named it. variational: that, and the recurrent connections have one too, which is the layer's to do (Gal and Ghahramani
    2016).
    """

    def __init__(self, probability: float, kind: DropoutKind = "locked") -> None:
        super().__init__(probability)
        self.kind = kind

    def mask_size(self, values_TBD: Tensor) -> tuple[int, ...]:
        """A feature of a stream, at one time (T, B, D) or at all times (1, B, D)."""
        length, num_streams, size = values_TBD.shape
        return (length if self.kind == "naive" else 1), num_streams, size


class PositionDropout(Dropout):
    """Dropout of whole vectors at places of their own, drawn anew for each table of n-grams.

    An n-gram's vector is soon known by heart. Where it is missing, the network has to do with shorter ones, as a smoothed
    n-gram model does with contexts that it has not seen.
    """

    def mask_size(self, values_TBD: Tensor) -> tuple[int, ...]:
        """All features at one time of a stream (T, B, 1)."""
        return (*values_TBD.shape[:2], 1)


class TokenDropout(nn.Module):
    """Dropout of whole tokens, wherever they stand in a batch. Source: Gal and Ghahramani (2016), embedding dropout."""

    def __init__(self, probability: float, vocab_size: int) -> None:
        super().__init__()
        self.probability = probability
        self.vocab_size = vocab_size

    def forward(self, vectors_TBE: Tensor, ids_TB: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the vectors, zeros for the tokens that are left out; without a generator unchanged."""
        if generator is None or self.probability == 0:
            return vectors_TBE
        mask_V = keep_mask((self.vocab_size,), self.probability, vectors_TBE.device, generator)
        return vectors_TBE * mask_V[ids_TB][..., None].to(vectors_TBE.dtype)
