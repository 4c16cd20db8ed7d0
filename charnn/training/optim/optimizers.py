"""Optimizers whose updates are independent tasks, which are divided among workers.

They are not subclasses of `torch.optim.Optimizer`, whose constructor loads torch's compiler, which takes seconds, and whose
steps cannot be divided. AdamW and SGD compute the same updates as torch; Muon's rows are normalized, and RMSProp by rows is
charnn's own.
"""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from charnn.config import TrainingOptions
from charnn.storage.tensor_file import Tensors
from charnn.training.network.freezing import trainable
from charnn.training.network.network import Network
from charnn.training.optim.gradient import Gradient
from charnn.training.optim.muon import Muon
from charnn.training.optim.row_rmsprop import RowRMSProp
from charnn.training.parallel.shared_memory import Allocate
from charnn.training.parallel.workers import Task
from charnn.training.planning.devices import supports_bf16

LEARNING_RATES = {"muon": 0.02, "adamw": 0.02, "sgd": 8.0, "nt-asgd": 8.0}
WEIGHT_DECAYS = {"muon": 0.2, "adamw": 0.2, "sgd": 0.0, "nt-asgd": 0.0}
TOKENS_PER_UPDATE, MAX_STEPS_PER_UPDATE = 2048, 4
"""Tokens, and maximum steps, per update of Muon: updates every 700 tokens were no better for the same number of tokens."""
INNER = ("layers.", "attention.")
"""Beginnings of the names of parameters between the embedding and the output layer, whose matrices Muon updates."""
LATER_STATE = (".step", ".row_squares")
"""Ends of the names of state that older versions did not have."""
TABLES = "embedding."
"""Beginning of the names of tables of n-grams and words, which RMSProp by rows updates beside Muon."""
TABLE_RATE, TABLE_DECAY = 0.5, 2.0
"""Their learning rate and weight decay, relative to those of the other parameters."""
TABLE_WARM_UP = 8.0
"""The warm-up of their rows, in steps that look a row up, without n-gram dropout, which makes up for it from 0.5 on."""
FLAT_CHUNK_SIZE = 1 << 17
"""Elements of a parameter per task (512 KiB), a constant so that results do not depend on the workers, bit for bit."""


class Optimizer(Protocol):
    """Updates some parameters with their gradients.

    Args:
        parameters: in the order of their indices in a checkpoint.
        learning_rate: of the next update.
    """

    parameters: list[Tensor]
    learning_rate: float

    def updates(self, gradients: Sequence[Gradient | None], scale: Tensor) -> list[list[Task[None]]]:
        """Return the next update as independent tasks, a list for each parameter.

        Args:
            gradients: one for each parameter, which the tasks may overwrite; None leaves a parameter unchanged.
            scale: factor of the gradients, a scalar tensor on the device of the parameters.
        """
        ...

    def set_momentum(self, momentum: float) -> None:
        """Set the momentum, if the optimizer has one."""
        ...

    def state(self, index: int) -> dict[str, Tensor]:
        """Return the moments and the step counter of a parameter, named as in torch's optimizers."""
        ...


class AdamW:
    """Adam with decoupled weight decay, by torch's fused kernel on chunks of the parameters.

    Args:
        decayed, others: parameters with weight decay, and without.
        weight_decay: per update, scaled by the learning rate.
        betas: decay factors of the first and second moments.
        zeros_like: allocates the moments.

    Source: Kingma and Ba (2015); Loshchilov and Hutter (2019), Decoupled weight decay regularization.
    """

    EPSILON = 1e-8

    def __init__(
        self,
        decayed: Sequence[Tensor],
        others: Sequence[Tensor],
        *,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.99),
        zeros_like: Allocate = torch.zeros_like,
    ) -> None:
        self.parameters = [*decayed, *others]
        self.learning_rate = 0.0
        self._decays = [weight_decay] * len(decayed) + [0.0] * len(others)
        self._betas = betas
        self._means = [zeros_like(parameter) for parameter in self.parameters]
        self._squares = [zeros_like(parameter) for parameter in self.parameters]
        self._steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]
        moments = zip(self.parameters, self._means, self._squares, strict=True)
        self._chunks = [
            list(zip(flat_chunks(weight.detach()), flat_chunks(mean), flat_chunks(square), strict=True))
            for weight, mean, square in moments
        ]

    def updates(self, gradients: Sequence[Gradient | None], scale: Tensor) -> list[list[Task[None]]]:
        """See `Optimizer`."""
        return [self._updates(index, gradient, scale) for index, gradient in enumerate(gradients)]

    def _updates(self, index: int, gradient: Gradient | None, scale: Tensor) -> list[Task[None]]:
        if gradient is None:
            return []
        self._steps[index] += 1
        return [
            partial(self._update, weight, part, mean, square, self._steps[index], self._decays[index], scale)
            for part, (weight, mean, square) in zip(flat_chunks(gradient.values), self._chunks[index], strict=True)
        ]

    def _update(
        self, weight: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, step: Tensor, decay: float, scale: Tensor
    ) -> None:
        with torch.no_grad():
            gradient.mul_(scale)
            torch._fused_adamw_(
                [weight],
                [gradient],
                [mean],
                [square],
                [],
                [step],
                lr=self.learning_rate,
                beta1=self._betas[0],
                beta2=self._betas[1],
                weight_decay=decay,
                eps=self.EPSILON,
                amsgrad=False,
                maximize=False,
            )

    def set_momentum(self, momentum: float) -> None:
        """See `Optimizer`."""
        self._betas = (momentum, self._betas[1])

    def state(self, index: int) -> dict[str, Tensor]:
        """See `Optimizer`."""
        return {"step": self._steps[index], "exp_avg": self._means[index], "exp_avg_sq": self._squares[index]}


class SGD:
    """Gradient descent without momentum, with decoupled weight decay.

    Args:
        decayed, others: parameters with weight decay, and without.
        weight_decay: per update, scaled by the learning rate.
    """

    def __init__(self, decayed: Sequence[Tensor], others: Sequence[Tensor], *, weight_decay: float) -> None:
        self.parameters = [*decayed, *others]
        self.learning_rate = 0.0
        self._decays = [weight_decay] * len(decayed) + [0.0] * len(others)

    def updates(self, gradients: Sequence[Gradient | None], scale: Tensor) -> list[list[Task[None]]]:
        """See `Optimizer`."""
        return [
            []
            if gradient is None
            else [
                partial(self._update, weight, part, decay, scale)
                for weight, part in zip(flat_chunks(parameter.detach()), flat_chunks(gradient.values), strict=True)
            ]
            for parameter, gradient, decay in zip(self.parameters, gradients, self._decays, strict=True)
        ]

    @torch.no_grad()
    def _update(self, weight: Tensor, gradient: Tensor, decay: float, scale: Tensor) -> None:
        weight.mul_(1 - self.learning_rate * decay)  # not added to the gradient, whose other rows must stay zero
        weight.add_(gradient.mul_(scale), alpha=-self.learning_rate)

    def set_momentum(self, momentum: float) -> None:
        """Do nothing: there is no momentum."""

    def state(self, index: int) -> dict[str, Tensor]:  # noqa: ARG002
        """Return nothing: there are no moments."""
        return {}


def flat_chunks(tensor: Tensor) -> Sequence[Tensor]:
    """Split a tensor of any shape into flat views, one per task; on a GPU, and if it is small, it is one task."""
    if tensor.numel() <= FLAT_CHUNK_SIZE or tensor.device.type != "cpu":
        return (tensor,)
    return torch.split(tensor.view(-1), FLAT_CHUNK_SIZE)


def make_optimizers(
    network: Network, options: TrainingOptions, zeros_like: Allocate = torch.zeros_like
) -> list[Optimizer]:
    """Return optimizers that together update all parameters of a network, with moments that `zeros_like` allocates.

    With `muon`, Muon updates the matrices of the recurrent layers and of attention, RMSProp by rows the tables of n-grams and
    words, and AdamW the embeddings of tokens, the output layer and the biases. Biases have no weight decay.
    """
    weights = {name: part.rows for name, part in trainable(network).items()}
    by_muon = {name for name, weight in weights.items() if weight.dim() == 2 and name.startswith(INNER)}
    matrices = [weights[name] for name in weights if name in by_muon]
    others = [weight for name, weight in weights.items() if weight.dim() == 2 and name not in by_muon]
    biases = [weight for weight in weights.values() if weight.dim() == 1]
    device = network.device.type
    decay = WEIGHT_DECAYS[options.optimizer] if options.weight_decay is None else options.weight_decay
    if options.optimizer == "muon":
        assert options.batch_size is not None
        steps_per_update = round(TOKENS_PER_UPDATE / (options.batch_size * options.bptt_length))
        steps_per_update = min(max(steps_per_update, 1), MAX_STEPS_PER_UPDATE)
        dtype = torch.bfloat16 if supports_bf16(device) else torch.float32
        muon = Muon(matrices, weight_decay=decay, steps_per_update=steps_per_update, dtype=dtype, zeros_like=zeros_like)
        is_table = {
            id(weight): name.startswith(TABLES) and name != "embedding.weight" for name, weight in weights.items()
        }
        tables = [weight for weight in others if is_table[id(weight)]]
        others = [weight for weight in others if not is_table[id(weight)]]
        optimizers: list[Optimizer] = [muon, AdamW(others, biases, weight_decay=decay, zeros_like=zeros_like)]
        if tables:
            by_rows = RowRMSProp(
                tables,
                weight_decay=TABLE_DECAY * decay,
                relative_rate=TABLE_RATE,
                warm_up=TABLE_WARM_UP * max(0.0, 1 - 2 * (options.ngram_dropout or 0.0)),
                zeros_like=zeros_like,
            )
            optimizers.append(by_rows)
        return optimizers
    if options.optimizer == "adamw":
        return [AdamW(matrices + others, biases, weight_decay=decay, zeros_like=zeros_like)]
    return [SGD(matrices + others, biases, weight_decay=decay)]


def set_learning_rate(optimizers: Sequence[Optimizer], learning_rate: float) -> None:
    """Set the learning rate of all parameters."""
    for optimizer in optimizers:
        optimizer.learning_rate = learning_rate


def optimizer_arrays(optimizers: Sequence[Optimizer]) -> Tensors:
    """Return the moments and step counters of the optimizers as arrays by name."""
    return {
        f"optimizer.{optimizer_index}.{index}.{name}": value.detach().cpu().numpy().copy()
        for optimizer_index, optimizer in enumerate(optimizers)
        for index in range(len(optimizer.parameters))
        for name, value in optimizer.state(index).items()
    }


def load_optimizer_arrays(optimizers: Sequence[Optimizer], arrays: Tensors) -> None:
    """Load the moments and step counters of the optimizers from arrays by name; without any, all are set to zero.

    Step counters, and Muon's mean squares of rows, may be missing, as in the checkpoints of older versions, and start at zero.

    Raises:
        ValueError: if some moments are missing.
    """
    if isinstance(optimizers[-1], RowRMSProp) and arrays and not any(name.startswith("2.") for name in arrays):
        arrays = _with_tables_apart(arrays, len(optimizers[-1].parameters))
    names = {name.removeprefix("optimizer.") for name in optimizer_arrays(optimizers)}
    missing = {name for name in names - arrays.keys() if not name.endswith(LATER_STATE)}
    if arrays and missing:
        raise ValueError(f"no optimizer.{min(missing)}")
    for optimizer_index, optimizer in enumerate(optimizers):
        for index in range(len(optimizer.parameters)):
            for name, value in optimizer.state(index).items():
                array = arrays.get(f"{optimizer_index}.{index}.{name}")
                if array is None:
                    value.zero_()
                else:
                    value.copy_(torch.from_numpy(np.array(array)).reshape(value.shape))


def _with_tables_apart(arrays: Tensors, num_tables: int) -> Tensors:
    """Return the arrays of a checkpoint in which AdamW still updated tables, which came after its first parameter."""
    moved = {}
    for key, array in arrays.items():
        optimizer, index, name = key.split(".")
        number = int(index)
        if optimizer == "0" or number == 0:
            moved[key] = array
        elif number > num_tables:
            moved[f"1.{number - num_tables}.{name}"] = array
        elif name == "exp_avg_sq":
            moved[f"2.{number - 1}.exp_avg_sq"] = array.mean(axis=1)
        elif name == "step":
            counts = arrays[f"1.{index}.exp_avg_sq"].any(axis=1) * array
            moved[f"2.{number - 1}.counts"] = counts.astype(np.float32)
    return moved
