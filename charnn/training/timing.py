"""How fast this machine trains a network: a few steps in each way that is open, against each other."""

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from charnn.config import Architecture, TrainingOptions
from charnn.training.devices import has_bf16_units
from charnn.training.dropout import RegularisationShares
from charnn.training.memory import keep_freed_memory
from charnn.training.network import Network, detached
from charnn.training.objective import objective
from charnn.training.optimizers import make_optimizers

TIMED_ROUNDS, FEWEST_TIMED_ROUNDS = 6, 4
HOPELESS = 1.5
"""Times the shortest time, beyond which a way of doing a step is timed no more."""
SHARE_FOR_TIMING = 0.02
"""The share of a time budget after which no further round of timing is begun; four rounds may take thrice that."""


TIMED_DROPOUT = 0.1
"""What stands for a dropout that is not chosen yet."""


@dataclass(frozen=True)
class Speed:
    """What the timing of a step found.

    Args:
        precision: the faster arithmetic.
        num_threads: the faster number of threads.
        training, evaluation: tokens a second.
        ratio: how many times as fast as fp32, where bf16 was chosen over it.
    """

    precision: str
    num_threads: int
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
) -> Speed:
    """Time a few training steps in each way that is open, and an evaluation, on a network of this shape.

    Leaves torch's random generators and its number of threads as they were.

    Args:
        batch_size: lanes.
        seconds: the time budget; without one the number of threads is left alone, so that a run can be repeated.
    """
    keep_freed_memory()
    wanted, num_threads = options.precision, torch.get_num_threads()
    precisions = [wanted] if wanted != "auto" else ["fp32", "bf16"] if has_bf16_units(device) else ["fp32"]
    candidates = [(precision, num_threads) for precision in reversed(precisions)]
    if seconds is not None and device == "cpu" and num_threads > 1:
        candidates.insert(0, (precisions[-1], 1))  # first, as it is the one that a busy machine does not hold up
    with torch.random.fork_rng(devices=[0] if device == "cuda" else []):
        timed = replace(options, dropout=TIMED_DROPOUT) if options.dropout is None else options
        network = Network(architecture, shares=RegularisationShares.of(timed)).to(device)
        optimizers = make_optimizers(network, replace(options, batch_size=batch_size))
        ids_TB = torch.randint(architecture.vocab_size, (options.bptt_length, batch_size), device=device)
        state = detached(network.initial_state(batch_size))
        share_true = (1 + options.teacher_forcing) / 2  # on the whole

        def train_step(precision: str, threads: int) -> None:
            torch.set_num_threads(threads)
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                found = objective(
                    network, ids_TB, ids_TB, state, num_targets=ids_TB.numel(), options=options, share_true=share_true
                )
            found.minimised.backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            torch.set_num_threads(num_threads)

        def evaluation_step() -> None:
            network.eval()
            with torch.no_grad():
                network(ids_TB, state)

        most_seconds = math.inf if seconds is None else SHARE_FOR_TIMING * seconds
        work = [functools.partial(train_step, *candidate) for candidate in candidates]
        training = _shortest_times(work, device, most_seconds)
        fastest = min(range(len(candidates)), key=training.__getitem__)
        precision, threads = candidates[fastest]
        torch.set_num_threads(threads)
        (evaluation,) = _shortest_times([evaluation_step], device, most_seconds)
        torch.set_num_threads(num_threads)
    fp32 = [taken for (name, _), taken in zip(candidates, training, strict=True) if name == "fp32"]
    has_choice = precision == "bf16" and fp32 and math.isfinite(fp32[0])
    ratio = fp32[0] / training[fastest] if has_choice else None
    return Speed(precision, threads, ids_TB.numel() / training[fastest], ids_TB.numel() / evaluation, ratio)


def _shortest_times(work: Sequence[Callable[[], None]], device: str, most_seconds: float) -> list[float]:
    """Return the shortest time of each piece of work in seconds, from rounds in which they take turns.

    The first round is not counted where there are more. What is far behind after the second takes no further part. Once the
    time is over, no round is begun after the fourth, and nothing at all once it is over thrice: a machine that is busy with
    other things can hold a step up for seconds. What never had its turn has an infinite time.
    """
    times: list[list[float]] = [[] for _ in work]
    started = time.perf_counter()
    for number in range(TIMED_ROUNDS):
        for place, (do, taken) in enumerate(zip(work, times, strict=True)):
            begun = time.perf_counter()
            allowed = most_seconds * (1 if number >= FEWEST_TIMED_ROUNDS else 3)
            if (number or place) and begun - started > allowed:
                return [min(others[1:] or others, default=math.inf) for others in times]
            if number > 1 and min(taken[1:]) > HOPELESS * min(min(others[1:]) for others in times):
                continue
            do()
            if device == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - begun)
    return [min(taken[1:]) for taken in times]
