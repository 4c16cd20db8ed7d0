"""Groups of lanes: how a batch is cut, so that the same seed gives the same weights on any number of workers."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch

from charnn.randomness import WEYL_INCREMENT, splitmix64
from charnn.training.network.network import NetworkState

MOST_GROUPS = 8
LANES_FOR_TWO, LANES_FOR_FOUR, LANES_FOR_EIGHT = 8, 48, 96
"""Lanes from which on a batch is cut into so many groups: groups of 16 to 24 lanes keep a core's units busy, and eight of
them eight cores. Of fewer than eight lanes, two groups would take longer than one."""


def group_bounds(num_lanes: int, device: str = "cpu") -> list[tuple[int, int]]:
    """Return the first lane of each group and the one after its last; they depend on the number of lanes alone.

    Args:
        num_lanes: streams, units or windows that are read side by side.
        device: a GPU shares a batch out itself, so there it is one group.
    """
    number = 1
    if device == "cpu":
        thresholds = (LANES_FOR_TWO, LANES_FOR_FOUR, LANES_FOR_EIGHT)
        number = 2 ** sum(num_lanes >= threshold for threshold in thresholds)
    bounds = [place * num_lanes // number for place in range(number + 1)]
    return list(pairwise(bounds))


def split_state(state: NetworkState, bounds: Sequence[tuple[int, int]]) -> list[NetworkState]:
    """Cut the state of a batch into those of its groups."""
    return [tuple(tuple(part[first:last] for part in layer) for layer in state) for first, last in bounds]


def joined_state(states: Sequence[NetworkState]) -> NetworkState:
    """Put the states of all groups together again, in their order."""
    return tuple(tuple(torch.cat(parts) for parts in zip(*layers, strict=True)) for layers in zip(*states, strict=True))


def generator_for(place: Iterable[int], device: str = "cpu") -> torch.Generator:
    """Return a generator that is a function of some numbers: a seed, a step, a group, hashed by SplitMix64."""
    mixed = 0
    for number in place:
        mixed = splitmix64((mixed + number + WEYL_INCREMENT) % 2**64)
    return torch.Generator(device).manual_seed(mixed)
