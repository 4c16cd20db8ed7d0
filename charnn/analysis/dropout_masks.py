"""Dropout masks over time, as training draws them for one layer and one batch row: naive, locked and variational.

Source: Zaremba et al. (2014) for naive dropout, Merity et al. (2018) for locked dropout, Gal and Ghahramani (2016) for
variational dropout (see `charnn.training.network.dropout`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch

from charnn.analysis.subjects import Subject
from charnn.analysis.tables import Table
from charnn.config import Architecture, InspectOptions
from charnn.config.regularization import DropoutKind
from charnn.training.network.dropout import RegularizationRates, ValueDropout
from charnn.training.network.layers import EquationLayer, make_layer

NUM_STEPS, NUM_UNITS = 32, 64
DEFAULT_RATE = 0.5

Mask = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DropoutMask:
    """A mask over time.

    Args:
        kind: naive, locked or variational.
        connections: "output", of the layer, or "recurrent", from one time step to the next.
        rate: probability of dropping a value.
        mask: the factor of each unit at each time step (T, H): 0, or 1 / (1 - rate).
    """

    kind: DropoutKind
    connections: str
    rate: float
    mask: Mask

    @property
    def kept_fraction(self) -> float:
        """The fraction of values that are kept."""
        return float((self.mask > 0).mean())

    @property
    def num_masks(self) -> int:
        """The number of different masks over time."""
        return len(np.unique(self.mask, axis=0))


@dataclass(frozen=True)
class RunMasks:
    """The masks of each kind at the rate of a run.

    Args:
        run: the model.
        kind: that of the run; None if it was trained without dropout.
        rate: its probability of dropping a value, or `DEFAULT_RATE`.
        masks: for each kind, those of the output and of the recurrent connections.
    """

    run: str
    kind: DropoutKind | None
    rate: float
    masks: Sequence[DropoutMask]


@dataclass(frozen=True)
class DropoutMasks:
    """The dropout masks of models."""

    runs: Sequence[RunMasks]

    def tables(self) -> Sequence[Table]:
        """Return what the masks are like."""
        rows = [
            (
                run.run,
                mask.kind,
                mask.connections,
                mask.rate,
                mask.kept_fraction,
                float(mask.mask.max()),
                mask.num_masks,
            )
            for run in self.runs
            for mask in run.masks
        ]
        caption = (
            f"Masks of {NUM_UNITS} units over {NUM_STEPS} time steps: the fraction of values that are kept, the factor that "
            "makes up for the others, and the number of different masks"
        )
        columns = ("run", "kind", "connections", "rate", "kept_fraction", "factor", "num_masks")
        return [Table("masks", caption, columns, rows)]


def inspect(subjects: Sequence[Subject], options: InspectOptions) -> DropoutMasks:
    """Return the masks of each model."""
    return DropoutMasks([_masks_of_run(subject, options.seed) for subject in subjects])


def _masks_of_run(subject: Subject, seed: int) -> RunMasks:
    rates = RegularizationRates.of(subject.model.config.training)
    rate = rates.hidden or rates.output or rates.input
    masks = [mask for kind in get_args(DropoutKind) for mask in draw_masks(kind, rate or DEFAULT_RATE, seed=seed)]
    return RunMasks(subject.name, rates.kind if rate else None, rate or DEFAULT_RATE, masks)


def draw_masks(kind: DropoutKind, rate: float, *, seed: int) -> list[DropoutMask]:
    """Return the masks of a layer's output and of its recurrent connections, drawn as in a training step.

    Args:
        rate: probability of dropping a value.
        seed: of the generator, the same for each kind.
    """
    generator = torch.Generator().manual_seed(seed)
    ones_TBH = torch.ones(NUM_STEPS, 1, NUM_UNITS)
    of_output = ValueDropout(rate, kind)(ones_TBH, generator)
    shape = Architecture("lstm", vocab_size=2, embedding_size=1, hidden_size=NUM_UNITS, num_layers=1)
    with torch.random.fork_rng(devices=[]):
        layer = make_layer(shape, 0, RegularizationRates(kind=kind, recurrent=rate))
    recurrent = ones_TBH  # other layers than those of variational dropout have no mask there
    if isinstance(layer, EquationLayer):
        recurrent = ones_TBH * layer.recurrent_mask(1, generator)
    return [
        DropoutMask(kind, "output", rate, of_output[:, 0].numpy()),
        DropoutMask(kind, "recurrent", rate if recurrent is not ones_TBH else 0.0, recurrent[:, 0].numpy()),
    ]
