"""Freezing: of whole parameters, which need no gradient, and of the rows of old tokens, while the others are updated."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from charnn.config import Architecture
from charnn.config.further import OLD_ROWS, frozen_parts
from charnn.training.network.network import Network


class Trainable(NamedTuple):
    """What is trained of a parameter.

    Args:
        weight: the whole parameter, to which gradients flow.
        rows: what an optimizer updates: the parameter itself, or a view of its last rows.
        first_row: the first of these rows.
    """

    weight: Tensor
    rows: Tensor
    first_row: int = 0


def frozen_names(architecture: Architecture, names: list[str], freeze: str | None) -> tuple[set[str], set[str]]:
    """Return the names of parameters that `--freeze` freezes wholly, and of those whose old rows it freezes.

    With old rows, the tables of n-grams are frozen wholly: each of their rows belongs to n-grams of old tokens.
    """
    whole: set[str] = set()
    rows: set[str] = set()
    outputs = {"output.bias", "embedding.weight" if architecture.tie_weights else "output.weight"}
    for part in frozen_parts(freeze):
        if part == OLD_ROWS:
            rows |= {"embedding.weight", *outputs}
            whole |= {name for name in names if name.startswith("embedding.") and name != "embedding.weight"}
        elif part == "output":
            whole |= outputs
        elif part.startswith("layer-"):
            prefix = f"layers.{int(part.removeprefix('layer-')) - 1}."
            whole |= {name for name in names if name.startswith(prefix)}
        else:
            whole |= {name for name in names if name.startswith(f"{part}.")}
    return whole, rows - whole


def freeze(network: Network, parts: str | None, *, num_old_rows: int) -> None:
    """Freeze parameters of a network, on its device.

    Args:
        parts: see `--freeze`.
        num_old_rows: number of tokens of the earlier model's vocabulary.
    """
    weights = network.named_weights()
    whole, rows = frozen_names(network.architecture, list(weights), parts)
    for name in whole:
        weights[name].requires_grad_(False)
    network.trainable_rows = {name: weights[name].detach()[num_old_rows:] for name in rows}
    network.has_fixed_output |= any(name.startswith("output.") for name in whole | rows)


def trainable(network: Network) -> dict[str, Trainable]:
    """Return what is trained of each parameter, by name; frozen ones are left out."""
    return dict(_trainable(network))


def _trainable(network: Network) -> Iterator[tuple[str, Trainable]]:
    for name, weight in network.named_weights().items():
        rows = network.trainable_rows.get(name)
        if rows is not None:
            yield name, Trainable(weight, rows, len(weight) - len(rows))
        elif weight.requires_grad:
            yield name, Trainable(weight, weight)
