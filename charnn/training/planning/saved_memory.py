"""The tensors that autograd saves in the forward pass of a training step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from charnn.config import TrainingOptions
from charnn.training.network.network import Network
from charnn.training.objective import Counts, objective

OTHER = "embedding and loss"
"""The part for what is saved outside the modules of the network."""


def saved_bytes(
    network: Network, options: TrainingOptions, *, length: int, batch_size: int, seed: int = 1
) -> dict[str, int]:
    """Return the bytes that the forward pass of a training step saves for the backward pass, by part of the network.

    In fp32, for a batch of random tokens. A storage that several operations save counts once; weights do not count.

    Args:
        options: resolved; scheduled sampling, whose additional passes save nothing, is left out.
        length: T.
        batch_size: B.
        seed: of the tokens and of dropout.
    """
    generator = torch.Generator().manual_seed(seed)
    size = (length + 1, batch_size)
    ids = torch.randint(network.architecture.vocab_size, size, generator=generator).to(network.device)
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    found: dict[int, tuple[str, int]] = {}
    current = [OTHER]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found.setdefault(storage.data_ptr(), (current[-1], storage.nbytes()))
        return tensor.detach()  # the tensor itself would be a cycle with the graph that saves it

    with _parts_named(network, current), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        graph = objective(
            network,
            ids[:-1],
            ids[1:],
            network.initial_state(batch_size),
            counts=Counts.of(ids[1:].cpu().numpy()),
            options=options,
            generator=torch.Generator(network.device).manual_seed(seed) if network.device.type != "cpu" else generator,
        )  # keeps all storages alive, so that no two of them have one address
    del graph
    parts = dict.fromkeys((part for part, _ in found.values()), 0)
    for part, num_bytes in found.values():
        parts[part] += num_bytes
    return parts


@contextmanager
def _parts_named(network: Network, current: list[str]) -> Iterator[None]:
    """Keep the name of the part of a network that runs at the end of a list."""
    names: dict[str, nn.Module] = {"output layer": network.output}
    names |= {f"layer {number}": layer for number, layer in enumerate(network.layers, start=1)}
    names |= {} if network.attention is None else {"attention": network.attention}
    dropouts = {"input": network.input_dropout, "hidden": network.hidden_dropout, "output": network.output_dropout}
    names |= {f"{name} dropout": module for name, module in dropouts.items()}
    hooks = []
    for name, module in names.items():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: current.append(name)))
        hooks.append(module.register_forward_hook(lambda *_: current.pop() and None))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
