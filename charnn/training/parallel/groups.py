"""Groups of lanes, into which a batch is split so that the same seed gives the same weights on any number of workers."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch

from charnn.randomness import WEYL_INCREMENT, splitmix64
from charnn.training.network.network import NetworkState

MIN_LANES_FOR_GROUPS = (8, 48, 96)
"""Minimum lanes for two, four and eight groups: groups of 16 to 24 lanes use a core efficiently, and eight of them eight cores.
With fewer than eight lanes, two groups would take longer than one."""
MIN_BATCH_SIZES_FOR_GROUPS = (384, 768, 1536)
"""Minimum batch sizes for 16, 32 and 64 groups. A batch that has many lanes because its units are short needs no more."""


def group_bounds(
    num_lanes: int, batch_size: int = 1, *, device: str = "cpu", num_ranks: int = 1
) -> list[tuple[int, int]]:
    """Return the bounds of each group of lanes, its last lane excluded; on a CPU they depend on the first two numbers alone.

    Args:
        num_lanes: number of streams or units of a batch.
        batch_size: see `TrainingOptions`; batches of short units have more lanes.
        device: on a GPU, which parallelizes each operation itself, there is one group.
        num_ranks: number of GPUs.
    """
    num_groups = min(num_lanes, num_ranks)
    if device == "cpu":
        num_groups = 2 ** (
            sum(num_lanes >= threshold for threshold in MIN_LANES_FOR_GROUPS)
            + sum(min(num_lanes, batch_size) >= threshold for threshold in MIN_BATCH_SIZES_FOR_GROUPS)
        )
    bounds = [index * num_lanes // num_groups for index in range(num_groups + 1)]
    return list(pairwise(bounds))


def max_groups(batch_size: int) -> int:
    """Return how many groups of lanes a batch has at most on a CPU."""
    return len(group_bounds(max(batch_size, *MIN_LANES_FOR_GROUPS), batch_size))


def split_state(state: NetworkState, bounds: Sequence[tuple[int, int]]) -> list[NetworkState]:
    """Split the state of a batch into the states of its groups."""
    return [tuple(tuple(part[first:last] for part in layer) for layer in state) for first, last in bounds]


def joined_state(states: Sequence[NetworkState]) -> NetworkState:
    """Concatenate the states of all groups; the inverse of `split_state`."""
    return tuple(tuple(torch.cat(parts) for parts in zip(*layers, strict=True)) for layers in zip(*states, strict=True))


def make_generator(key: Iterable[int], device: str = "cpu") -> torch.Generator:
    """Return a generator seeded with a SplitMix64 hash of several integers, such as seed, step and group."""
    hashed = 0
    for integer in key:
        hashed = splitmix64((hashed + integer + WEYL_INCREMENT) % 2**64)
    return torch.Generator(device).manual_seed(hashed)
