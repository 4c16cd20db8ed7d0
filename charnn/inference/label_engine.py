"""An engine whose streams may each have another label."""

import numpy as np

from charnn.cells.ngram_embedding import summed
from charnn.inference.engine import Engine, EngineState, Floats, IdArray
from charnn.storage.labels import WEIGHT
from charnn.storage.model_directory import Model


class LabelEngine(Engine):
    """See `Engine`: to the embedding of each token, the vector of its stream's label is added.

    Args:
        model: one with labels; `set_labels` must be called before anything is read.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model.architecture, model.weights)
        self._vectors_LE = model.weights[WEIGHT]

    def set_labels(self, labels_B: IdArray) -> None:
        """Set the label of each stream, from 0."""
        self._vectors_BE = self._vectors_LE[labels_B]
        self._projected_BG = self._vectors_BE @ self._layers[0]["weight_ih"].T

    def _project_ids(self, ids_TB: IdArray, state: EngineState) -> tuple[Floats, EngineState]:
        """See `Engine`."""
        rows, history = self.input_tables.state_rows(ids_TB, state, np)
        if self._tables is not None:
            return self._tables.look_up(rows) + self._projected_BG, history
        vectors_TBE = summed(self._looked_up(*table_rows) for table_rows in zip(self.embeddings, rows, strict=True))
        return self._cells[0].project(self._layers[0], vectors_TBE + self._vectors_BE, self.xp), history
