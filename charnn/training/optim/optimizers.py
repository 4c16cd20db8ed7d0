"""Optimizers whose updates are tasks that do not depend on each other, so that workers share them out.

They are charnn's own, and not subclasses of `torch.optim.Optimizer`: its constructor loads torch's compiler, which takes
longer than reading a book, and its steps cannot be divided. What they compute is torch's.
"""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from charnn.config import TrainingOptions
from charnn.storage.checkpoint import Tensors
from charnn.training.network.network import Network
from charnn.training.optim.muon import Muon
from charnn.training.parallel.workers import Task
from charnn.training.planning.devices import has_bf16_units

LEARNING_RATES = {"muon": 0.02, "adamw": 0.02, "sgd": 8.0, "nt-asgd": 8.0}
WEIGHT_DECAYS = {"muon": 0.2, "adamw": 0.2, "sgd": 0.0, "nt-asgd": 0.0}
TOKENS_A_MOVE, MOST_STEPS_A_MOVE = 2048, 4
"""Muon moves once for so many tokens, or so many steps: a move after each 700 tokens learnt no more from as many tokens."""
PIECE_SIZE = 1 << 17
"""Numbers of a parameter in one task (512 KiB): cut by its size alone, so that no bit depends on who does which."""


class Optimizer(Protocol):
    """Moves some parameters by their gradients.

    Args:
        parameters: in the order in which a checkpoint numbers them.
        rate: learning rate of the next update.
    """

    parameters: list[Tensor]
    rate: float

    def updates(self, gradients: Sequence[Tensor | None], scale: Tensor) -> list[Task[None]]:
        """Return the next update as tasks that do not depend on each other.

        Args:
            gradients: one for each parameter, which the tasks may overwrite; None leaves a parameter as it is.
            scale: what they are multiplied by first (), on the parameters' device.
        """
        ...

    def set_momentum(self, momentum: float) -> None:
        """Set the momentum, if there is one."""
        ...

    def state(self, index: int) -> dict[str, Tensor]:
        """Return moments and counters of a parameter by the names that torch's own optimizers give them."""
        ...


class AdamW:
    """Adam with decoupled weight decay, by torch's fused kernel, in pieces.

    Args:
        decayed, others: parameters with weight decay, and without.
        weight_decay: per update, scaled by the learning rate.

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
    ) -> None:
        self.parameters = [*decayed, *others]
        self.rate = 0.0
        self._decays = [weight_decay] * len(decayed) + [0.0] * len(others)
        self._betas = betas
        self._means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]
        numbers = zip(self.parameters, self._means, self._squares, strict=True)
        self._pieces = [
            list(zip(pieces(weight.detach()), pieces(mean), pieces(square), strict=True))
            for weight, mean, square in numbers
        ]

    def updates(self, gradients: Sequence[Tensor | None], scale: Tensor) -> list[Task[None]]:
        """See `Optimizer`."""
        tasks: list[Task[None]] = []
        for index, gradient in enumerate(gradients):
            if gradient is None:
                continue
            self._steps[index] += 1
            for part, (weight, mean, square) in zip(pieces(gradient), self._pieces[index], strict=True):
                tasks.append(
                    partial(self._update, weight, part, mean, square, self._steps[index], self._decays[index], scale)
                )
        return tasks

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
                lr=self.rate,
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
    """Gradient descent without momentum, with weight decay.

    Args:
        decayed, others: parameters with weight decay, and without.
    """

    def __init__(self, decayed: Sequence[Tensor], others: Sequence[Tensor], *, weight_decay: float) -> None:
        self.parameters = [*decayed, *others]
        self.rate = 0.0
        self._decays = [weight_decay] * len(decayed) + [0.0] * len(others)

    def updates(self, gradients: Sequence[Tensor | None], scale: Tensor) -> list[Task[None]]:
        """See `Optimizer`."""
        return [
            partial(self._update, weight, part, decay, scale)
            for parameter, gradient, decay in zip(self.parameters, gradients, self._decays, strict=True)
            if gradient is not None
            for weight, part in zip(pieces(parameter.detach()), pieces(gradient), strict=True)
        ]

    @torch.no_grad()
    def _update(self, weight: Tensor, gradient: Tensor, decay: float, scale: Tensor) -> None:
        weight.mul_(1 - self.rate * decay)  # not added to the gradient, whose other rows must stay zero
        weight.add_(gradient.mul_(scale), alpha=-self.rate)

    def set_momentum(self, momentum: float) -> None:
        """There is none."""

    def state(self, index: int) -> dict[str, Tensor]:  # noqa: ARG002
        """There is none."""
        return {}


def pieces(tensor: Tensor) -> Sequence[Tensor]:
    """Cut a tensor of any shape into views; on a GPU, which shares an operation out itself, it stays whole."""
    if tensor.numel() <= PIECE_SIZE or tensor.device.type != "cpu":
        return (tensor,)
    return torch.split(tensor.view(-1), PIECE_SIZE)


def make_optimizers(network: Network, options: TrainingOptions) -> list[Optimizer]:
    """Return the optimizers that share a network's parameters among them.

    Muon takes the recurrent layers' matrices, and AdamW the embeddings, the output layer and the biases. Biases are never
    decayed. Steps of few tokens share a move of Muon's.
    """
    weights = {name: weight for name, weight in network.named_weights().items() if weight.requires_grad}
    matrices = [weight for name, weight in weights.items() if name.startswith("layers.") and weight.dim() == 2]
    others = [weight for name, weight in weights.items() if weight.dim() == 2 and not name.startswith("layers.")]
    biases = [weight for weight in weights.values() if weight.dim() == 1]
    device = network.device.type
    decay = WEIGHT_DECAYS[options.optimizer] if options.weight_decay is None else options.weight_decay
    if options.optimizer == "muon":
        assert options.batch_size is not None
        steps_a_move = round(TOKENS_A_MOVE / (options.batch_size * options.bptt_length))
        every = min(max(steps_a_move, 1), MOST_STEPS_A_MOVE)
        dtype = torch.bfloat16 if has_bf16_units(device) else torch.float32
        muon = Muon(matrices, weight_decay=decay, every=every, dtype=dtype)
        return [muon, AdamW(others, biases, weight_decay=decay)]
    if options.optimizer == "adamw":
        return [AdamW(matrices + others, biases, weight_decay=decay)]
    return [SGD(matrices + others, biases, weight_decay=decay)]


def set_rate(optimizers: Sequence[Optimizer], rate: float) -> None:
    """Set the learning rate of all parameters."""
    for optimizer in optimizers:
        optimizer.rate = rate


def optimizer_arrays(optimizers: Sequence[Optimizer]) -> Tensors:
    """Return the optimizers' moments and counters as arrays by name."""
    return {
        f"optimizer.{number}.{index}.{name}": value.detach().cpu().numpy().copy()
        for number, optimizer in enumerate(optimizers)
        for index in range(len(optimizer.parameters))
        for name, value in optimizer.state(index).items()
    }


def load_optimizer_arrays(optimizers: Sequence[Optimizer], arrays: Tensors) -> None:
    """Set the optimizers' moments and counters from arrays by name; what is not there is as before the first step."""
    for number, optimizer in enumerate(optimizers):
        for index in range(len(optimizer.parameters)):
            for name, value in optimizer.state(index).items():
                array = arrays.get(f"{number}.{index}.{name}")
                if array is None:
                    value.zero_()
                else:
                    value.copy_(torch.from_numpy(np.array(array)).reshape(value.shape))
