"""The engine on torch tensors, for reading many texts at once on a GPU: the same cells, the same equations."""

from typing import Any, cast

import numpy as np
import torch

from charnn.inference.engine import Engine, EngineState, Floats, IdArray
from charnn.storage.tensor_file import Tensors


class TorchEngine(Engine):
    """See `charnn.inference.engine.Engine`; what `forward` returns stays on the device, what `logits` returns does not.

    Args:
        engine: whose weights to take.
        device: a torch device.
    """

    xp = torch

    def __init__(self, engine: Engine, *, device: str) -> None:
        self._device = device
        super().__init__(engine.architecture, {name: self._moved(array) for name, array in engine.weights.items()})

    def _moved(self, array: Any) -> Floats:
        """Return an array as a tensor; to the engine both are arrays."""
        return cast(Floats, torch.tensor(np.asarray(array), dtype=torch.float32, device=self._device))

    def _tables_of_vectors(self, weights: Tensors) -> list[Floats]:
        if self.architecture.inputs == "one-hot":
            return [self._moved(np.eye(self.architecture.vocab_size))]
        return super()._tables_of_vectors(weights)

    def _tables_of_projections(self) -> None:
        """Vectors are looked up and multiplied: on a GPU that is quicker than a table of what they make."""

    def _initial_part(self, layer: int, number: int, num_streams: int) -> Floats:
        size = (num_streams, self.architecture.layer_sizes(layer)[1])
        learned = self._layers[layer].get(f"initial_{number}")
        if learned is None:
            return self._zeros(size)
        return cast(Floats, learned.expand(size))

    def _zeros(self, size: tuple[int, ...]) -> Floats:
        return cast(Floats, torch.zeros(size, device=self._device))

    def _empty(self, size: tuple[int, ...]) -> Floats:
        return cast(Floats, torch.empty(size, device=self._device))

    def _looked_up(self, table: Floats, rows: IdArray) -> Floats:
        indices = torch.from_numpy(np.ascontiguousarray(rows)).to(self._device)
        return cast(Floats, table[cast(Any, indices)])

    @torch.inference_mode()
    def forward(self, ids_TB: IdArray, state: EngineState) -> tuple[Floats, EngineState]:
        """See `Engine`."""
        return super().forward(ids_TB, state)

    @torch.inference_mode()
    def logits(self, outputs: Floats) -> Floats:
        """See `Engine`; as a NumPy array."""
        return np.asarray(cast(Any, super().logits(outputs)).cpu().numpy())
