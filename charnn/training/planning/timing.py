"""The speed of training on this machine: a few timed steps in each candidate precision."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from charnn.config import Architecture, TrainingOptions
from charnn.training.batches import IdArray
from charnn.training.network.dropout import RegularizationRates
from charnn.training.network.network import Network
from charnn.training.optim.optimizers import make_optimizers
from charnn.training.parallel.step import TrainingStep
from charnn.training.parallel.workers import Workers
from charnn.training.planning.devices import supports_bf16
from charnn.training.planning.memory import memory_kept
from charnn.training.planning.needed_memory import refuse_impossible_size, report_memory

MAX_ROUNDS, MIN_ROUNDS = 6, 4
MAX_SLOWDOWN = 1.5
"""Factor of the fastest precision's time at which the other is no longer timed."""
TIMING_FRACTION = 0.02
"""Fraction of a time budget for timing; the first four rounds may take three times as long."""
TIMING_SECONDS = 1.5
"""The same in seconds for a budget of steps or epochs, where the weights do not depend on the speed."""

TIMED_DROPOUT = 0.1
"""Dropout in timed steps if it is not chosen yet."""


@dataclass(frozen=True)
class Speed:
    """The measured speed of training.

    Args:
        precision: the faster one, or without a time budget the one that the device supports.
        num_workers: threads that steps were divided among.
        training, evaluation: tokens per second.
        bf16_speedup: over fp32, if both were timed and bf16 was faster.
    """

    precision: str
    num_workers: int
    training: float
    evaluation: float
    bf16_speedup: float | None


def measure_speed(
    architecture: Architecture,
    options: TrainingOptions,
    *,
    batch_size: int,
    device: str,
    seconds: float | None = None,
    workers: Workers | None = None,
) -> Speed:
    """Time a few training steps of a network, and estimate the speed of evaluation.

    Torch's random generators and number of threads are restored afterwards.

    Args:
        architecture: of the network.
        options: of training.
        batch_size: B.
        device: cpu or cuda.
        seconds: the time budget; without one the precision does not depend on timing, so that a run can be repeated.
        workers: threads that a step is divided among.
    """
    workers = workers or Workers()
    precisions = _precisions(options.precision, device, may_time=seconds is not None)
    with memory_kept(), torch.random.fork_rng(devices=[0] if device == "cuda" else []):
        # in a function of its own, so that what it allocates is free when memory is returned to the system
        training = _step_seconds(architecture, options, batch_size, device, precisions, seconds, workers)
    num_tokens = options.bptt_length * batch_size
    fastest = min(range(len(training)), key=training.__getitem__)
    # a forward pass is about a third of a step
    evaluation = num_tokens / training[fastest] * EVALUATION_SPEED_RATIO
    has_choice = len(training) == 2 and precisions[fastest] == "bf16" and math.isfinite(training[1 - fastest])
    bf16_speedup = training[1 - fastest] / training[fastest] if has_choice else None
    return Speed(precisions[fastest], workers.num_active, num_tokens / training[fastest], evaluation, bf16_speedup)


def _step_seconds(
    architecture: Architecture,
    options: TrainingOptions,
    batch_size: int,
    device: str,
    precisions: Sequence[str],
    seconds: float | None,
    workers: Workers,
) -> list[float]:
    """Return the median time of a step of a new network with each precision."""
    refuse_impossible_size(architecture, options, device)
    timed = replace(options, dropout=TIMED_DROPOUT) if options.dropout is None else options
    network = Network(architecture, rates=RegularizationRates.of(timed)).to(device)
    report_memory(network, timed, batch_size=batch_size, num_workers=workers.num_active)
    optimizers = make_optimizers(network, replace(timed, batch_size=batch_size))
    step = TrainingStep(network, optimizers, timed, precisions[0], workers)
    ids_TB = np.random.default_rng(0).integers(architecture.vocab_size, size=(options.bptt_length, batch_size))
    return _median_times(
        [
            partial(_train_on, step, precision, ids_TB, (1 + options.teacher_forcing) / 2)  # its mean over a run
            for precision in precisions
        ],
        device,
        TIMING_SECONDS if seconds is None else TIMING_FRACTION * seconds,
    )


def _train_on(step: TrainingStep, precision: str, ids_TB: IdArray, teacher_forcing_probability: float) -> None:
    step.precision = precision
    prepared = step.prepare(
        ids_TB,
        ids_TB,
        None,
        learning_rate=1e-3,
        step_index=0,
        teacher_forcing_probability=teacher_forcing_probability,
    )
    step.update(prepared, step.workers.run(prepared.tasks))


EVALUATION_SPEED_RATIO = 3.0
"""Assumed ratio of evaluation speed to training speed; the trainer uses the measured duration of its evaluations."""


def _precisions(requested: str, device: str, *, may_time: bool) -> list[str]:
    """Return the precisions to time: the requested one, or those that the device supports."""
    if requested == "bf16" or (requested == "auto" and supports_bf16(device)):
        return ["bf16", "fp32"] if requested == "auto" and may_time else ["bf16"]
    return ["fp32"]


def _median_times(work: Sequence[Callable[[], object]], device: str, max_seconds: float) -> list[float]:
    """Return the median time of each function in seconds, over rounds that call each of them once.

    The first round is a warm-up, and ignored if there are others. A function that is much slower than the fastest is not called
    after the second round. After `max_seconds` only the first four rounds continue, and after three times that nothing does,
    since on a busy machine a single step may take seconds. The time of a function that was never called is infinite.
    """
    times: list[list[float]] = [[] for _ in work]
    first_start = time.perf_counter()
    for round_index in range(MAX_ROUNDS):
        for index, (run, taken) in enumerate(zip(work, times, strict=True)):
            start = time.perf_counter()
            allowed = max_seconds * (1 if round_index >= MIN_ROUNDS else 3)
            if (round_index or index) and start - first_start > allowed:
                return [_median(others) for others in times]
            if round_index > 1 and min(taken[1:]) > MAX_SLOWDOWN * min(min(others[1:]) for others in times):
                continue
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return [_median(taken) for taken in times]


def _median(times: Sequence[float]) -> float:
    counted = times[1:] or times
    return statistics.median(counted) if counted else math.inf
