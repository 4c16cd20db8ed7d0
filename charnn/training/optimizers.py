"""Optimizers, and their state as plain arrays."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import SGD, AdamW, Optimizer

from charnn.config import TrainingOptions
from charnn.pairs import Tensors
from charnn.training.devices import has_bf16_units
from charnn.training.muon import Muon
from charnn.training.network import Network

LEARNING_RATES = {"muon": 0.02, "adamw": 0.02, "sgd": 8.0, "nt-asgd": 8.0}
WEIGHT_DECAYS = {"muon": 0.2, "adamw": 0.2, "sgd": 0.0, "nt-asgd": 0.0}
TOKENS_A_MOVE, MOST_STEPS_A_MOVE = 2048, 4
"""Muon moves once for so many tokens, or so many steps: a move after each 700 tokens learnt no more from as many tokens."""


def make_optimizers(network: Network, options: TrainingOptions) -> list[Optimizer]:
    """Return the optimizers that share a network's parameters among them.

    Muon takes the recurrent layers' matrices, and AdamW (Loshchilov and Hutter 2019) the embeddings, the output layer and
    the biases. Biases are never decayed. Steps of few tokens share a move of Muon's.
    """
    weights = {name: weight for name, weight in network.named_weights().items() if weight.requires_grad}
    matrices = [weight for name, weight in weights.items() if name.startswith("layers.") and weight.dim() == 2]
    others = [weight for name, weight in weights.items() if weight.dim() == 2 and not name.startswith("layers.")]
    biases = [weight for weight in weights.values() if weight.dim() == 1]
    device = network.device.type
    decay = WEIGHT_DECAYS[options.optimizer] if options.weight_decay is None else options.weight_decay
    fused = {"fused": True}
    if options.optimizer == "muon":
        assert options.batch_size is not None
        steps_a_move = round(TOKENS_A_MOVE / (options.batch_size * options.bptt_length))
        every = min(max(steps_a_move, 1), MOST_STEPS_A_MOVE)
        dtype = torch.bfloat16 if has_bf16_units(device) else torch.float32
        return [
            Muon(matrices, weight_decay=decay, every=every, dtype=dtype),
            AdamW(_groups(others, biases, decay), betas=(0.9, 0.99), **fused),
        ]
    if options.optimizer == "adamw":
        return [AdamW(_groups(matrices + others, biases, decay), betas=(0.9, 0.99), **fused)]
    return [SGD(_groups(matrices + others, biases, decay))]


def _groups(matrices: list[torch.Tensor], biases: list[torch.Tensor], decay: float) -> list[dict[str, Any]]:
    return [{"params": matrices, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]


def set_rate(optimizers: Sequence[Optimizer], rate: float) -> None:
    """Set the learning rate of all parameters."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def set_momentum(optimizers: Sequence[Optimizer], momentum: float) -> None:
    """Set the momentum of all parameters that have one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if isinstance(optimizer, Muon):
                group["momentum"] = optimizer.momentum_a_step(momentum)
            elif "betas" in group:
                group["betas"] = (momentum, group["betas"][1])


def optimizer_arrays(optimizers: Sequence[Optimizer]) -> Tensors:
    """Return the optimizers' moments and counters as arrays by name."""
    return {
        f"optimizer.{number}.{index}.{name}": value.detach().cpu().numpy().copy()
        for number, optimizer in enumerate(optimizers)
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if value is not None
    }


def load_optimizer_arrays(optimizers: Sequence[Optimizer], arrays: Tensors) -> None:
    """Set the optimizers' moments and counters from arrays by name."""
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, array in arrays.items():
            owner, index, name = key.split(".")
            if int(owner) == number:
                state.setdefault(int(index), {})[name] = torch.from_numpy(array.copy())
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
