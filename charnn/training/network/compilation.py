"""Compiled steps for cells that torch has no fused layer for, where there is a compiler and the time for it."""

import os
import shutil
from typing import cast

import torch

from charnn.config import Architecture, TrainingOptions
from charnn.notices import notice_logger
from charnn.options import refuse_unused
from charnn.training.network.layers import EquationLayer
from charnn.training.network.network import Network, detached
from charnn.training.parallel.groups import group_bounds
from charnn.training.parallel.workers import one_torch_thread

logger = notice_logger(__name__)

SECONDS_WORTH_IT = 600.0
"""A time budget for each layer from which on compiling pays by itself: it takes 30 to 65 seconds a layer, and steps then take
0.6 to 0.75 of their time."""


def wants_compiling(
    architecture: Architecture, options: TrainingOptions, *, unit: str, layers: list[EquationLayer]
) -> bool:
    """Tell whether steps are to be compiled: as the user says, or where a run is long and its batches are of one shape."""
    if not layers or options.compile == "no":
        return False
    seconds = (options.minutes or 0) * 60
    return options.compile == "yes" or (unit == "stream" and seconds >= SECONDS_WORTH_IT * architecture.num_layers)


def compilable_layers(network: Network) -> list[EquationLayer]:
    """Return the layers that run their equations token by token."""
    layers = [layer for layer in network.layers if isinstance(layer, EquationLayer)]
    return [layer for layer in layers if layer.cell.coefficients is None]


def compile_steps(network: Network, options: TrainingOptions, *, unit: str, device: str, precision: str) -> bool:
    """Compile the steps of a network's layers, if that is wished or pays; say so, or why it could not be done.

    Args:
        network: in training mode, on its device.
        options: resolved.
        unit: what is independent in the text.
        device, precision: as in training.

    Returns:
        Whether the network now runs compiled steps. Its weights and torch's generators are as before.

    Raises:
        UnusedOptionError: where compiling is wished and there is nothing to compile.
    """
    layers = compilable_layers(network)
    refuse_unused("--compile", options.compile == "yes" and not layers, "a cell that runs token by token")
    if not wants_compiling(network.architecture, options, unit=unit, layers=layers):
        return False
    if device == "cpu" and not _has_compiler():
        logger.info(
            "found no C++ compiler (g++, clang++ or $CXX): the steps run uncompiled; install one, or pass --compile no"
        )
        return False
    logger.info("compiling the steps of each layer, which takes a minute or so; --compile no does without")
    try:
        for layer in layers:
            layer.compile_steps()
        _try_out(network, num_lanes=cast(int, options.batch_size), device=device, precision=precision)
    except Exception as error:  # compilers fail in many ways, and training goes on without
        for layer in layers:
            layer.run_uncompiled()
        reason = str(error).strip().splitlines()[:1]
        logger.info(
            f"compiling failed ({type(error).__name__}{': ' + reason[0][:80] if reason else ''}): the steps run uncompiled"
        )
        return False
    return True


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))


def _try_out(network: Network, *, num_lanes: int, device: str, precision: str) -> None:
    """Run a step of the shape of training forward and backward, which is when it is compiled."""
    generator = torch.Generator(device)
    parameters = list(network.parameters())
    with one_torch_thread():  # as workers have it; compiled code keeps the number of threads with which it was made
        for size in {last - first for first, last in group_bounds(num_lanes, device)}:
            ids_TB = torch.zeros(2 * EquationLayer.CHUNK, size, dtype=torch.int64, device=device)
            state = network.initial_state(size)
            for _ in range(2):  # a chunk's state is a text's first, or has a gradient, or is carried from another step
                with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                    logits_TBV, state = network(ids_TB, state, generator)
                torch.autograd.grad(logits_TBV.float().sum(), parameters, allow_unused=True)
                state = detached(state)
