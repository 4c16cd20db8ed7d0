"""Compiled recurrence steps for cells without a fused layer in torch, if there is a compiler and a run is long enough."""

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

MIN_SECONDS_PER_LAYER = 600.0
"""Minimum time budget per layer for which compilation is worthwhile: it takes 30 to 65 seconds per layer, and steps then take
0.6 to 0.75 of their time."""


def should_compile(
    architecture: Architecture, options: TrainingOptions, *, unit: str, layers: list[EquationLayer]
) -> bool:
    """Return whether to compile steps: as `--compile` says, or by default for long runs with batches of one shape."""
    if not layers or options.compile == "no":
        return False
    seconds = (options.minutes or 0) * 60
    return options.compile == "yes" or (unit == "stream" and seconds >= MIN_SECONDS_PER_LAYER * architecture.num_layers)


def compilable_layers(network: Network) -> list[EquationLayer]:
    """Return the layers that run the equations of their cell token by token."""
    layers = [layer for layer in network.layers if isinstance(layer, EquationLayer)]
    return [layer for layer in layers if layer.cell.coefficients is None]


def compile_steps(network: Network, options: TrainingOptions, *, unit: str, device: str, precision: str) -> bool:
    """Compile the steps of a network's layers if requested or worthwhile, and log the outcome.

    Args:
        network: in training mode, on its device.
        options: resolved.
        unit: stream, line or document.
        device: cpu or cuda.
        precision: fp32 or bf16.

    Returns:
        Whether the network now runs compiled steps. Its weights and torch's generators are unchanged.

    Raises:
        UnusedOptionError: if compilation is requested but the cell cannot be compiled.
    """
    layers = compilable_layers(network)
    refuse_unused("--compile", options.compile == "yes" and not layers, "a cell that runs token by token")
    if not should_compile(network.architecture, options, unit=unit, layers=layers):
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
        _run_once(network, batch_size=cast(int, options.batch_size), device=device, precision=precision)
    except Exception as error:  # compilers fail in many ways; training continues without
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


def _run_once(network: Network, *, batch_size: int, device: str, precision: str) -> None:
    """Trigger the compilation by running forward and backward passes with the shapes of training."""
    generator = torch.Generator(device)
    parameters = list(network.parameters())
    with one_torch_thread():  # as in workers; compiled code keeps the number of threads at compilation
        for num_lanes in {last - first for first, last in group_bounds(batch_size, batch_size, device=device)}:
            ids_TB = torch.zeros(2 * EquationLayer.CHUNK, num_lanes, dtype=torch.int64, device=device)
            state = network.initial_state(num_lanes)
            for _ in range(2):  # the state of a chunk is initial, or has a gradient, or is carried from another step
                with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
                    logits_TBV, state = network(ids_TB, state, generator)
                torch.autograd.grad(logits_TBV.float().sum(), parameters, allow_unused=True)
                state = detached(state)
