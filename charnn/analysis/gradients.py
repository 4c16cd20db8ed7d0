"""Gradients through time, gates, clipping and effective memory of trained networks, and of the same before training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.analysis.clipping import Clipping, read_clipping
from charnn.analysis.effective_memory import ContextLosses, context_losses
from charnn.analysis.gate_saturation import GateSaturation, gate_saturation
from charnn.analysis.gradient_norms import StateGradients, gradient_norms, unrolled_network
from charnn.analysis.subjects import Subject
from charnn.analysis.tables import Table, Value
from charnn.config import InspectOptions
from charnn.cores import available_cores
from charnn.inference.tracing import TracingEngine
from charnn.ngrams.kneser_ney import NgramModel
from charnn.storage.model_directory import read_ngrams
from charnn.storage.run_files import NGRAM_FILE
from charnn.storage.tensor_file import Tensors
from charnn.training.held_out import HeldOutText
from charnn.training.network.network import Network
from charnn.training.parallel.workers import Workers
from charnn.training.run.session import initialized_network

WEIGHTS = ("untrained", "trained")
MAX_WORKERS = 2
"""Each holds the graph of a batch in memory."""
SMALLEST = 1e-30
"""Norms below this, near the smallest number in single precision, say nothing about the rate of decay."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Decay:
    """The norm of d loss(t) / d state(t - k) against k, over positions t.

    Args:
        run: the model.
        cell: its cell.
        weights: "trained", or "untrained": those that the run began with.
        gradients: the norms at each position.
        quartiles: lower quartile, median and upper quartile at each distance k from 0 (3, K + 1); NaN where there is none.
    """

    run: str
    cell: str
    weights: str
    gradients: StateGradients
    quartiles: Floats

    @property
    def median(self) -> Floats:
        """The median at each distance (K + 1,)."""
        median: Floats = self.quartiles[1]
        return median

    @property
    def factor_per_token(self) -> float | None:
        """The factor by which the median changes per token, fitted to its logarithm over the farther three quarters."""
        return decay_factor(self.median)


@dataclass(frozen=True)
class RunGradients:
    """What is measured of one run.

    Args:
        run: the model.
        cell: its cell.
        decays: of each part of the state, before and after training.
        gates: by weights, "untrained" or "trained".
        clipping: of its training; None without metrics.
        contexts: the losses of the network, and of its n-gram model if there is one.
    """

    run: str
    cell: str
    decays: Sequence[Decay]
    gates: dict[str, Sequence[GateSaturation]]
    clipping: Clipping | None
    contexts: Sequence[ContextLosses]


@dataclass(frozen=True)
class Gradients:
    """The gradients through time of models."""

    runs: Sequence[RunGradients]

    def tables(self) -> Sequence[Table]:
        """Return the figures: a summary, norms, gates and losses by length of context."""
        return [self.summary_table(), self.norm_table(), self.gate_table(), self.context_table()]

    def summary_table(self) -> Table:
        """Return one row for each run."""
        rows = []
        for run in self.runs:
            factors = [_hidden_factor(run, weights) for weights in WEIGHTS]
            clipping = (run.clipping.clip_norm, run.clipping.clipped_fraction) if run.clipping else (None, None)
            rows.append((run.run, run.cell, *factors, *clipping, run.contexts[0].effective_length))
        caption = (
            "Per run: the factor by which the norm of the gradient with respect to the hidden state of the top layer changes "
            "with each token, before and after training; the norm to which training clipped gradients, and at what fraction "
            "of its steps; and the context in tokens beyond which the loss falls by less than 0.01 nats (none: all of it)"
        )
        columns = ("run", "cell", "untrained_factor_per_token", "trained_factor_per_token")
        return Table("runs", caption, (*columns, "clip_norm", "clipped_fraction", "effective_context_tokens"), rows)

    def norm_table(self) -> Table:
        """Return the norms at distances 0, 1, 2, 4, ... and the largest."""
        rows: list[Sequence[Value]] = []
        for run in self.runs:
            for decay in run.decays:
                for distance in shown_distances(len(decay.median)):
                    low, median, high = map(_value, decay.quartiles[:, distance])
                    number = int(np.isfinite(decay.gradients.norms[distance]).sum())
                    which = (run.run, decay.weights, decay.gradients.layer, decay.gradients.part)
                    if number:
                        rows.append((*which, distance, median, low, high, number))
        caption = (
            "Norm of the gradient of the loss with respect to the state so many tokens earlier, over positions of the text; "
            "layer 1 is the lowest"
        )
        columns = ("run", "weights", "layer", "state", "distance_tokens")
        norms = ("median_norm", "lower_quartile_norm", "upper_quartile_norm", "num_positions")
        return Table("norms", caption, (*columns, *norms), rows)

    def gate_table(self) -> Table:
        """Return the saturation of each gate, the mean over its units."""
        rows = [
            (run.run, weights, gate.layer, gate.gate, float(gate.closed.mean()), float(gate.open.mean()))
            for run in self.runs
            for weights, gates in run.gates.items()
            for gate in gates
        ]
        caption = "Fraction of the values of a gate that are below 0.1 (closed), and above 0.9 (open)"
        return Table("gates", caption, ("run", "weights", "layer", "gate", "closed_fraction", "open_fraction"), rows)

    def context_table(self) -> Table:
        """Return the losses by length of context."""
        rows = [
            (run.run, each.model, length, float(loss), float(loss - each.losses_nats[-1]), float(margin), number)
            for run in self.runs
            for each in run.contexts
            for length, loss, margin, number in zip(
                each.lengths, each.losses_nats, each.margins_nats, each.num_positions, strict=True
            )
        ]
        caption = (
            "Loss per token on the text, if a model sees only so many tokens before (none: all of them), in nats; its excess "
            "over that with all of the context, with half the width of its 95 % confidence interval"
        )
        columns = ("run", "model", "context_tokens", "loss_nats", "excess_nats", "margin_nats", "num_positions")
        return Table("contexts", caption, columns, rows)


def inspect(subjects: Sequence[Subject], options: InspectOptions) -> Gradients:  # noqa: ARG001
    """Return the gradients of each model over its text."""
    with Workers(min(available_cores(), MAX_WORKERS)) as workers:
        return Gradients([_run_gradients(subject, workers) for subject in subjects])


def _run_gradients(subject: Subject, workers: Workers) -> RunGradients:
    model, tokenizer = subject.model, subject.model.tokenizer
    untrained = initialized_network(model.config).arrays()
    weights: dict[str, Tensors] = dict(zip(WEIGHTS, (untrained, model.weights), strict=True))
    decays: list[Decay] = []
    gates: dict[str, Sequence[GateSaturation]] = {}
    unit, boundary_id = tokenizer.unit, tokenizer.vocabulary.boundary_id
    for name, arrays in weights.items():
        unrolled = unrolled_network(model.architecture, arrays)
        found = gradient_norms(unrolled, subject.ids, unit=unit, boundary_id=boundary_id, workers=workers)
        decays += [Decay(subject.name, model.architecture.cell, name, each, _quartiles(each.norms)) for each in found]
        engine = subject.tracing_engine if name == "trained" else TracingEngine(model.architecture, arrays)
        gates[name] = gate_saturation(engine, subject.ids, unit=unit, boundary_id=boundary_id)
    clipping = read_clipping(model.path, model.config)
    return RunGradients(subject.name, model.architecture.cell, decays, gates, clipping, _contexts(subject, workers))


def _contexts(subject: Subject, workers: Workers) -> list[ContextLosses]:
    model, vocabulary = subject.model, subject.model.tokenizer.vocabulary
    network = Network(model.architecture)
    network.load_arrays(model.weights)
    text = HeldOutText.of(subject.ids, vocabulary, unit=model.tokenizer.unit)
    return context_losses(network, _ngrams(subject), text, vocabulary, workers=workers)


def _ngrams(subject: Subject) -> NgramModel | None:
    """Return the n-gram model of a run, if it has one."""
    model = subject.model
    if not (model.path / NGRAM_FILE).exists():
        return None
    return read_ngrams(model.path, model.architecture.vocab_size, tokenizer_sha256=model.tokenizer_sha256)


def shown_distances(number: int) -> list[int]:
    """Return the distances that tables show of those from 0 to `number` - 1: 0, powers of two, and the last."""
    powers = [2**exponent for exponent in range(number.bit_length()) if 2**exponent < number]
    return sorted({0, *powers, number - 1})


def decay_factor(median: Floats) -> float | None:
    """Return the factor by which norms change per token: the exponential of the slope of their logarithm.

    Args:
        median: the norm at each distance from 0 (K + 1,). The nearest quarter, where the directions that decay fast are not
            gone yet, and vanishing norms are left out.
    """
    distances = np.arange(len(median))
    is_used = (distances >= max(1, len(median) // 4)) & (median > SMALLEST)
    if is_used.sum() < 2:
        return None
    slope, _ = np.polyfit(distances[is_used], np.log(median[is_used]), 1)
    return float(np.exp(slope))


def _quartiles(norms: Floats) -> Floats:
    """Return lower quartile, median and upper quartile over the positions (3, K + 1), NaN where no position has a norm."""
    quartiles = np.full((3, len(norms)), np.nan)
    for distance, of_positions in enumerate(norms):
        if len(known := of_positions[np.isfinite(of_positions)]):
            quartiles[:, distance] = np.quantile(known, (0.25, 0.5, 0.75))
    return quartiles


def _hidden_factor(run: RunGradients, weights: str) -> float | None:
    """Return the decay of the hidden state of the top layer."""
    (*_, top) = (each for each in run.decays if each.weights == weights and each.gradients.part == "hidden")
    return top.factor_per_token


def _value(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
