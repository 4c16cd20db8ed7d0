"""Training steps on a network, by one process or by all ranks together; rank 0 orders each of them.

What a step computes is a function of its order, the weights and the text: `Trainer` decides, and a follower does as it is told.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from charnn.config import TrainingOptions
from charnn.cores import available_cores
from charnn.storage.tensor_file import Tensors
from charnn.training.batches import Batch, Batches
from charnn.training.network.network import Network, NetworkState
from charnn.training.objective import TokenNoise
from charnn.training.optim.optimizers import Optimizer, load_optimizer_arrays, optimizer_arrays
from charnn.training.parallel.exchange import Exchange
from charnn.training.parallel.groups import joined_state, split_state
from charnn.training.parallel.ranks import Ranks, owned
from charnn.training.parallel.shared_update import share_weights
from charnn.training.parallel.step import GroupResult, PreparedStep, StepResult, TrainingStep
from charnn.training.parallel.tuning import WorkerTuner
from charnn.training.parallel.workers import Workers

STEP, COLLECT, LOAD, STOP = range(4)
"""What rank 0 orders: a step; the hidden states of all ranks, for a checkpoint; to load weights; to end."""


class Order(NamedTuple):
    """What rank 0 tells the others to do; the fields after the first are those of a step.

    Args:
        kind: STEP, COLLECT, LOAD or STOP.
        step: number of completed steps.
        epoch, batch_index: of the batch.
        learning_rate: for a batch of full length.
        momentum: of the optimizers; not a number to leave it as it is.
        teacher_forcing_probability: of feeding the reference token.
    """

    kind: int
    step: int = 0
    epoch: int = 0
    batch_index: int = 0
    learning_rate: float = 0.0
    momentum: float = math.nan
    teacher_forcing_probability: float = 1.0


@dataclass
class Learner:
    """A network and its optimizers, which learn from one batch at a time.

    Args:
        network: on its device.
        optimizers: optimizers that together update all parameters.
        options: resolved training options.
        precision: fp32 or bf16 (autocast).
        workers: threads among which the work of a step is divided; the weights do not depend on their number.
    """

    network: Network
    optimizers: Sequence[Optimizer]
    options: TrainingOptions
    precision: str
    workers: Workers
    ranks: Ranks | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.states: list[NetworkState] | None = None
        """The state of each group of lanes that this process has; None at the beginning of all streams."""
        self._step = TrainingStep(self.network, self.optimizers, self.options, self.precision, self.workers)
        self._tuner = WorkerTuner(self.workers)
        self._started = time.perf_counter()

    def join(self, ranks: Ranks) -> None:
        """Learn together with other ranks from now on, with a share of the machine's cores; all of them must call it.

        The weights and states of rank 0 are sent to the others. If all are on one machine, they share weights and moments.
        """
        tensors = ranks.tell_arrays(self._own_tensors() if ranks.is_first else None)
        self.ranks = ranks
        share = self.options.threads or max(1, available_cores() // ranks.place.local_size)
        self.workers = Workers(share)
        self._tuner = WorkerTuner(self.workers)
        shared = None
        if self.network.device.type == "cpu" and not self.options.fast_reduce:
            shared = share_weights(self.network, self.options, ranks)
        if shared is None:
            self._step.workers = self.workers
            self._step.exchange = Exchange(ranks, self._step.parameters, is_exact=not self.options.fast_reduce)
        else:
            self.optimizers = shared.optimizers
            self._step = TrainingStep(
                self.network,
                self.optimizers,
                self.options,
                self.precision,
                self.workers,
                shared.exchange,
                shared.memory.zeros_like,
            )
        self._load_all(tensors)
        ranks.gather(torch.zeros(1))  # none reads shared weights before all have loaded them

    @property
    def stop_requested(self) -> bool:
        """Whether another rank was asked to stop."""
        return self._step.exchange is not None and self._step.exchange.stop_requested

    def prepare(self, order: Order, batch: Batch, noise: TokenNoise) -> PreparedStep:
        """Prepare a step, whose tasks `workers` run.

        Args:
            order: of kind STEP.
            batch: that the order names.
            noise: replaces some input tokens.
        """
        if self.ranks is not None and self.ranks.is_first:
            self._give(order)
        if not math.isnan(order.momentum):
            for optimizer in self.optimizers:
                optimizer.set_momentum(order.momentum)
        self._started = time.perf_counter()
        return self._step.prepare(
            noise.apply(batch.inputs_TB, np.random.default_rng([self.options.seed, order.step, 3])),
            batch.targets_TB,
            None if batch.is_first else self.states,
            learning_rate=order.learning_rate * batch.length_fraction,
            step_index=order.step,
            teacher_forcing_probability=order.teacher_forcing_probability,
        )

    def finish(self, step: PreparedStep, groups: Sequence[GroupResult]) -> StepResult:
        """Update the weights with the results of the tasks of a step."""
        result = self._step.update(step, groups)
        self.states = result.states
        self._tuner.note(time.perf_counter() - self._started, result.num_targets)
        return result

    def follow(self, batches: Batches, noise: TokenNoise, should_stop: Callable[[], bool]) -> None:
        """Do what rank 0 orders until it ends the training.

        Args:
            batches: the training text, as rank 0 has it.
            noise: replaces some input tokens.
            should_stop: called before each step; if it returns True, rank 0 is asked to stop.
        """
        assert self.ranks is not None
        assert self._step.exchange is not None
        while (order := self._receive()).kind != STOP:
            if order.kind == COLLECT:
                self.ranks.collect(_packed(self.states or []))
            elif order.kind == LOAD:
                self._load_all(self.ranks.tell_arrays())
            else:
                batch = batches.batch(order.epoch, order.batch_index)
                assert batch is not None, "rank 0 orders only batches that exist"
                self._step.exchange.wants_stop = should_stop()
                prepared = self.prepare(order, batch, noise)
                self.finish(prepared, self.workers.run(prepared.tasks))

    def _give(self, order: Order) -> None:
        assert self.ranks is not None
        self.ranks.broadcast(torch.tensor(order, dtype=torch.float64))

    def _receive(self) -> Order:
        assert self.ranks is not None
        kind, step, epoch, batch_index, *others = self.ranks.broadcast(
            torch.zeros(len(Order._fields), dtype=torch.float64)
        ).tolist()
        return Order(int(kind), int(step), int(epoch), int(batch_index), *others)

    def end(self) -> None:
        """End the training of the other ranks."""
        if self.ranks is not None and self.ranks.is_first:
            self._give(Order(STOP))

    def close(self) -> None:
        """End the threads."""
        self.workers.close()

    def tensors(self) -> Tensors:
        """Return copies of the weights, the moments of the optimizers and the hidden states of all ranks, by name."""
        return self._own_tensors(self._all_states())

    def _own_tensors(self, states: Sequence[NetworkState] | None = None) -> Tensors:
        states = self.states if states is None else states
        tensors = {f"network.{name}": array for name, array in self.network.arrays().items()}
        tensors |= optimizer_arrays(self.optimizers)
        for layer, parts in enumerate(joined_state(states) if states else ()):
            for index, part in enumerate(parts):
                tensors[f"recurrent.{layer}.{index}"] = _exact(part).cpu().numpy().copy()
        return tensors

    def _all_states(self) -> list[NetworkState] | None:
        """Return the state of each group of lanes of all ranks."""
        if self.ranks is None or self.states is None or not self.ranks.is_first:
            return self.states
        self._give(Order(COLLECT))
        of_ranks = [_unpacked(packed, self.states[0]) for packed in self.ranks.collect(_packed(self.states))]
        return [state for states in of_ranks for state in states]

    def load(self, tensors: Tensors) -> None:
        """Load what `tensors` returned, in all ranks."""
        if self.ranks is not None:
            self._give(Order(LOAD))
            self.ranks.tell_arrays(tensors)
        self._load_all(tensors)

    def _load_all(self, tensors: Tensors) -> None:
        self.network.load_arrays(part_of(tensors, "network."))
        load_optimizer_arrays(self.optimizers, part_of(tensors, "optimizer."))
        states = self._split(part_of(tensors, "recurrent."))
        if states is not None and self.ranks is not None:
            states = [states[group] for group in owned(len(states), self.ranks.index, self.ranks.size)]
        self.states = states

    def _split(self, recurrent: Tensors) -> list[NetworkState] | None:
        """Return the carried state of each group of lanes from the arrays of a checkpoint, or None if there is none."""
        if not recurrent:
            return None
        expected = {
            f"{layer}.{index}"
            for layer, parts in enumerate(self.network.initial_state(1))
            for index in range(len(parts))
        }
        if missing := expected - recurrent.keys():
            raise ValueError(f"no recurrent.{min(missing)}")
        device = self.network.device
        num_layers = len({key.split(".")[0] for key in recurrent})
        state = tuple(
            tuple(
                torch.from_numpy(recurrent[key].copy()).to(device)
                for key in sorted(recurrent, key=lambda key: int(key.split(".")[1]))
                if key.startswith(f"{layer}.")
            )
            for layer in range(num_layers)
        )
        return split_state(state, self._step.bounds(len(state[0][0])))


def part_of(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _packed(states: Sequence[NetworkState]) -> bytes:
    """Return the hidden states of groups of lanes as bytes: a number of lanes, then the parts of each layer."""
    packed = []
    for state in states:
        packed.append(len(state[0][0]).to_bytes(8, "little"))
        for layer in state:
            packed += [_exact(part).cpu().numpy().tobytes() for part in layer]
    return b"".join(packed)


def _unpacked(packed: bytes, example: NetworkState) -> list[NetworkState]:
    """Return the hidden states in bytes; an example has the types and, but for the number of lanes, the shapes."""
    states, start = [], 0
    while start < len(packed):
        num_lanes = int.from_bytes(packed[start : start + 8], "little")
        start += 8
        layers = []
        for layer in example:
            parts = []
            for part in layer:
                like = _exact(part[:0]).cpu().numpy()
                shape = (num_lanes, *part.shape[1:])
                count = math.prod(shape)
                array = np.frombuffer(packed, like.dtype, count, start).reshape(shape)
                start += array.nbytes
                parts.append(torch.from_numpy(array.copy()).to(part.device))
            layers.append(tuple(parts))
        states.append(tuple(layers))
    return states


def _exact(part: torch.Tensor) -> torch.Tensor:
    """Return a part of a state in a type that NumPy has."""
    return part.float() if part.is_floating_point() else part
