"""How fast this machine trains a network now: a few steps of it, in each precision that is open."""

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
from charnn.training.planning.devices import has_bf16_units
from charnn.training.planning.memory import memory_kept

MOST_ROUNDS, FEWEST_ROUNDS = 6, 4
HOPELESS = 1.5
"""Times the shortest step, beyond which a precision is timed no more."""
SHARE_FOR_TIMING = 0.02
"""The share of a time budget after which no further round of timing is begun; four rounds may take thrice that."""
SECONDS_FOR_TIMING = 1.5
"""The same where steps or epochs are counted: the speed is for information, and for nothing that the weights depend on."""

TIMED_DROPOUT = 0.1
"""What stands for a dropout that is not chosen yet."""


@dataclass(frozen=True)
class Speed:
    """What the timing of a step found.

    Args:
        precision: the faster arithmetic; by what the processor has, where the clock must not decide.
        num_workers: threads that shared a step.
        training, evaluation: tokens a second.
        ratio: how many times as fast as fp32, where bf16 was chosen over it.
    """

    precision: str
    num_workers: int
    training: float
    evaluation: float
    ratio: float | None


def measure_speed(
    architecture: Architecture,
    options: TrainingOptions,
    *,
    batch_size: int,
    device: str,
    seconds: float | None = None,
    workers: Workers | None = None,
) -> Speed:
    """Time a few training steps, and an evaluation, on a network of this shape.

    Leaves torch's random generators and its number of threads as they were.

    Args:
        batch_size: lanes.
        seconds: the time budget; without one the precision is not chosen by the clock, so that a run can be repeated.
        workers: among whom a step is shared out.
    """
    workers = workers or Workers()
    precisions = _precisions(options.precision, device, may_time=seconds is not None)
    with memory_kept(), torch.random.fork_rng(devices=[0] if device == "cuda" else []):
        timed = replace(options, dropout=TIMED_DROPOUT) if options.dropout is None else options
        network = Network(architecture, shares=RegularizationRates.of(timed)).to(device)
        optimizers = make_optimizers(network, replace(timed, batch_size=batch_size))
        steps = [TrainingStep(network, optimizers, timed, precision, workers) for precision in precisions]
        size = (options.bptt_length, batch_size)
        ids_TB = np.random.default_rng(0).integers(architecture.vocab_size, size=size)
        training = _median_times(
            [
                partial(_train_on, step, ids_TB, (1 + options.teacher_forcing) / 2, workers)  # its mean over a run
                for step in steps
            ],
            device,
            SECONDS_FOR_TIMING if seconds is None else SHARE_FOR_TIMING * seconds,
        )
    fastest = min(range(len(steps)), key=training.__getitem__)
    # without its gradient a step is a third of the work
    evaluation = ids_TB.size / training[fastest] * EVALUATION_SPEED_RATIO
    has_choice = len(steps) == 2 and precisions[fastest] == "bf16" and math.isfinite(training[1 - fastest])
    ratio = training[1 - fastest] / training[fastest] if has_choice else None
    return Speed(precisions[fastest], workers.num_active, ids_TB.size / training[fastest], evaluation, ratio)


def _train_on(step: TrainingStep, ids_TB: IdArray, teacher_forcing_probability: float, workers: Workers) -> None:
    prepared = step.prepare(
        ids_TB,
        ids_TB,
        None,
        learning_rate=1e-3,
        number=0,
        teacher_forcing_probability=teacher_forcing_probability,
    )
    step.update(prepared, workers.run(prepared.tasks))


EVALUATION_SPEED_RATIO = 3.0
"""How many times as fast as training an evaluation is taken to be; the trainer goes by how long its own take."""


def _precisions(wanted: str, device: str, *, may_time: bool) -> list[str]:
    """Return the precisions to time: the one that is wanted, or those that the device has units for."""
    if wanted == "bf16" or (wanted == "auto" and has_bf16_units(device)):
        return ["bf16", "fp32"] if wanted == "auto" and may_time else ["bf16"]
    return ["fp32"]


def _median_times(work: Sequence[Callable[[], object]], device: str, most_seconds: float) -> list[float]:
    """Return the median time of each piece of work in seconds, from rounds in which they take turns.

    The first round is not counted where there are more. What is far behind after the second takes no further part. Once the
    time is over, no round is begun after the fourth, and nothing at all once it is over thrice: a machine that is busy with
    other things can hold a step up for seconds. What never had its turn has an infinite time.
    """
    times: list[list[float]] = [[] for _ in work]
    started = time.perf_counter()
    for number in range(MOST_ROUNDS):
        for place, (do, taken) in enumerate(zip(work, times, strict=True)):
            begun = time.perf_counter()
            allowed = most_seconds * (1 if number >= FEWEST_ROUNDS else 3)
            if (number or place) and begun - started > allowed:
                return [_median(others) for others in times]
            if number > 1 and min(taken[1:]) > HOPELESS * min(min(others[1:]) for others in times):
                continue
            do()
            if device == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - begun)
    return [_median(taken) for taken in times]


def _median(times: Sequence[float]) -> float:
    counted = times[1:] or times
    return statistics.median(counted) if counted else math.inf
