"""Minimal cells: a layer's forward and backward pass as a scan over time, against the same layer one step after the other.

    python tests/benchmarks/scan_speed.py [--hidden-size 128] [--rounds 5]

Both have the same weights and take turns, on one thread. Prints tokens a second of each, the median of the ratios of their times,
and the largest difference between their outputs; beside them torch's fused LSTM of the same size.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from charnn.config import Architecture
from charnn.training.network.layers import EquationLayer, make_layer

SHAPES = ((128, 32), (512, 32), (4096, 1), (4096, 8))
"""Tokens and lanes."""


def stepwise(layer: EquationLayer, inputs_TBI: Tensor, state: tuple[Tensor, ...]) -> Tensor:
    """Run a layer's equations token by token."""
    weights: dict[str, Any] = dict(layer.weights.items())
    outputs = []
    for projected_BP in layer.cell.project(weights, inputs_TBI, torch):
        state = layer.cell.step(weights, projected_BP, state, torch)
        outputs.append(state[0])
    return torch.stack(outputs)


def seconds(work: Callable[[], Tensor]) -> float:
    """Return how long a forward and a backward pass take."""
    begun = time.perf_counter()
    work().square().mean().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = options.hidden_size
    print("| cell | tokens x lanes | scan, tokens/s | step by step | ratio | difference | fused LSTM |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for cell in ("mingru", "minlstm"):
        layer = make_layer(Architecture(cell, 65, size, size, 1), 0)
        lstm = make_layer(Architecture("lstm", 65, size, size, 1), 0)
        assert isinstance(layer, EquationLayer)
        with torch.no_grad():
            for weight in (*layer.parameters(), *lstm.parameters()):
                weight.normal_(std=size**-0.5)
        for length, lanes in SHAPES:
            inputs = torch.randn(length, lanes, size)
            state = tuple(part.detach() for part in layer.initial_state(lanes))
            lstm_state = tuple(part.detach() for part in lstm.initial_state(lanes))
            ways = (
                lambda: layer(inputs, state)[0],  # noqa: B023
                lambda: stepwise(layer, inputs, state),  # noqa: B023
                lambda: lstm(inputs, lstm_state)[0],  # noqa: B023
            )
            times = [[seconds(way) for way in ways] for _ in range(options.rounds + 1)][1:]
            with torch.no_grad():
                difference = float((ways[0]() - ways[1]()).abs().max())
            speeds = [length * lanes / statistics.median(column) for column in zip(*times, strict=True)]
            ratio = statistics.median(slow / fast for fast, slow, _ in times)
            print(
                f"| {cell} | {length} x {lanes} | {speeds[0]:,.0f} | {speeds[1]:,.0f} | {ratio:.1f} | {difference:.1e} | "
                f"{speeds[2]:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
