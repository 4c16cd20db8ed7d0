"""What backpropagation through time keeps in memory for the backward pass, against its length T and the number of batch rows B.

The tensors that autograd saves in the forward pass of a training step are counted, each storage once, without the weights. They
grow in proportion to T * B; truncated backpropagation through time bounds T.

Source: Williams and Peng (1990), An efficient gradient-based algorithm for on-line training of recurrent network trajectories,
for truncation; Pascanu et al. (2013), On the difficulty of training recurrent neural networks, for the network unrolled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from charnn.analysis.subjects import Subject
from charnn.analysis.tables import Table
from charnn.config import Architecture, InspectOptions, TrainingOptions
from charnn.errors import ModelError
from charnn.training.network.dropout import RegularizationRates
from charnn.training.network.network import Network
from charnn.training.parallel.workers import one_torch_thread
from charnn.training.planning.saved_memory import saved_bytes

LENGTHS = (16, 32, 64, 128, 256, 512)
BATCH_SIZES = (1, 4, 16, 64)
MAX_BYTES = 1 << 30
"""Larger measurements are left out."""
Bytes = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MemoryFit:
    """The formula bytes = per_token * T * B + per_row * B + constant.

    Args:
        per_token: activations, which each token of each row adds.
        per_row: what each row adds once, such as its initial state and its locked dropout mask.
        constant: what a step adds once.
    """

    per_token: float
    per_row: float
    constant: float


@dataclass(frozen=True)
class SavedBytes:
    """What a network saves for the backward pass.

    Args:
        run: the model.
        cell: its cell.
        lengths: the lengths T (M,).
        batch_sizes: the numbers of batch rows B (N,).
        num_bytes: saved in total (M, N); NaN where it would be more than `MAX_BYTES`.
        parts: the bytes per token that each part of the network saves, at the largest T and B that were measured.
        bptt_length, batch_size: those of the run.
        num_train_tokens: of its training text.
        weight_bytes: of its weights, for comparison.
    """

    run: str
    cell: str
    lengths: Sequence[int]
    batch_sizes: Sequence[int]
    num_bytes: Bytes
    parts: dict[str, float]
    bptt_length: int
    batch_size: int
    num_train_tokens: int
    weight_bytes: int

    @property
    def fit(self) -> "MemoryFit":
        """The fit to the measurements, by least squares of the relative error."""
        lengths, batch_sizes = np.meshgrid(self.lengths, self.batch_sizes, indexing="ij")
        known = np.isfinite(self.num_bytes)
        terms = np.stack(((lengths * batch_sizes)[known], batch_sizes[known], np.ones(known.sum())), axis=1)
        measured = self.num_bytes[known]
        fitted = np.linalg.lstsq(terms / measured[:, None], np.ones(len(measured)), rcond=None)[0]
        return MemoryFit(*map(float, fitted))

    @property
    def largest_error(self) -> float:
        """The largest relative difference between a measurement and the fit."""
        fitted = np.array([[self.expected(length, rows) for rows in self.batch_sizes] for length in self.lengths])
        return float(np.nanmax(np.abs(fitted / self.num_bytes - 1)))

    def expected(self, length: int, batch_size: int) -> float:
        """Return the bytes that a step saves, after the fit."""
        fit = self.fit
        return fit.per_token * length * batch_size + fit.per_row * batch_size + fit.constant


@dataclass(frozen=True)
class TrainingMemory:
    """The memory of backpropagation through time in models."""

    runs: Sequence[SavedBytes]

    def tables(self) -> Sequence[Table]:
        """Return the measurements, the formula, its parts, and what truncation saves."""
        return [self.truncation_table(), self.part_table(), self.measurement_table()]

    def measurement_table(self) -> Table:
        """Return the bytes for each length and number of rows."""
        rows = [
            (run.run, length, batch_size, None if np.isnan(saved) else int(saved), run.expected(length, batch_size))
            for run in self.runs
            for length, of_length in zip(run.lengths, run.num_bytes, strict=True)
            for batch_size, saved in zip(run.batch_sizes, of_length, strict=True)
        ]
        caption = (
            "Bytes that a training step saves for its backward pass, without the weights (empty where it would be more than "
            "1 GiB), and what the fit gives"
        )
        return Table("saved", caption, ("run", "bptt_length", "batch_size", "saved_bytes", "fitted_bytes"), rows)

    def part_table(self) -> Table:
        """Return the bytes per token of each part of the network."""
        rows = [(run.run, part, each, each / 4) for run in self.runs for part, each in run.parts.items()]
        caption = "Saved by each part of the network for each token, at the largest measurement; a float has 4 bytes"
        return Table("parts", caption, ("run", "part", "bytes_per_token", "floats_per_token"), rows)

    def truncation_table(self) -> Table:
        """Return what truncation saves."""
        rows = []
        for run in self.runs:
            fit = run.fit
            truncated = run.expected(run.bptt_length, run.batch_size)
            whole = run.expected(run.num_train_tokens, 1)
            sizes = (run.num_train_tokens, run.bptt_length, run.batch_size)
            memory = (
                fit.per_token,
                fit.per_row,
                fit.constant,
                run.largest_error,
                truncated,
                whole,
                whole / truncated,
                run.weight_bytes,
            )
            rows.append((run.run, *sizes, *memory))
        caption = (
            "Saved bytes = bytes per token * T * B + bytes per row * B + a constant, fitted to the measurements; so for a step "
            "of the run, and for its whole training text unrolled at once as one row"
        )
        columns = ("run", "train_tokens", "bptt_length", "batch_size")
        others = (
            "bytes_per_token",
            "bytes_per_row",
            "constant_bytes",
            "largest_relative_error",
            "step_bytes",
            "untruncated_bytes",
            "ratio",
            "weight_bytes",
        )
        return Table("truncation", caption, (*columns, *others), rows)


def inspect(subjects: Sequence[Subject], options: InspectOptions) -> TrainingMemory:
    """Return the memory that training each model takes."""
    with one_torch_thread():
        return TrainingMemory([_measure_run(subject, options.seed) for subject in subjects])


def _measure_run(subject: Subject, seed: int) -> SavedBytes:
    config, architecture = subject.model.config, subject.model.architecture
    training = config.training
    if training.batch_size is None:
        raise ModelError(f"{subject.name}/config.json: found no batch_size in options.training; restore the file")
    network = training_network(architecture, training)
    network.load_arrays(subject.model.weights)
    found = np.full((len(LENGTHS), len(BATCH_SIZES)), np.nan)
    parts, most_tokens = {}, 0
    for row, length in enumerate(LENGTHS):
        for column, batch_size in enumerate(BATCH_SIZES):
            tokens = length * batch_size
            if most_tokens and np.nanmax(found) / most_tokens * tokens > MAX_BYTES:
                continue
            by_part = saved_bytes(network, training, length=length, batch_size=batch_size, seed=seed)
            found[row, column] = sum(by_part.values())
            if tokens > most_tokens:
                parts, most_tokens = {name: part / tokens for name, part in by_part.items()}, tokens
    return SavedBytes(
        subject.name,
        architecture.cell,
        LENGTHS,
        BATCH_SIZES,
        found,
        parts,
        training.bptt_length,
        training.batch_size,
        config.corpus.train.num_tokens,
        sum(weight.nbytes for weight in subject.model.weights.values()),
    )


def training_network(architecture: Architecture, options: TrainingOptions) -> Network:
    """Return a network with the dropout of training, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        return Network(architecture, rates=RegularizationRates.of(options))
