"""The units of a network while it reads a text: states and gates, read in parallel and yielded in pieces."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.analysis.subjects import Subject
from charnn.inference.threads import limited_blas_threads
from charnn.inference.tracing import Trace

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

WARM_UP = 256
"""Tokens that are read before those of a segment, so that its states are those of the running text, nearly."""
MAX_STREAMS, MIN_SEGMENT = 32, 1024
"""Segments that are read in parallel at most, and their minimum length in tokens."""
STEPS_AT_ONCE = 32


class Unit(NamedTuple):
    """A unit of a network.

    Args:
        layer: from 1, the lowest first.
        part: "output", "memory" (tanh of the memory cell, from -1 to 1, as in Karpathy's essay), or the name of a gate, such as
            "forget gate".
        number: within the part, from 0.
    """

    layer: int
    part: str
    number: int

    def __str__(self) -> str:
        return f"layer {self.layer}, {self.part} {self.number}"


class Stream(NamedTuple):
    """Tokens that are read from the initial state.

    Args:
        first, end: positions in the text.
        kept: the first position whose states are wanted.
    """

    first: int
    kept: int
    end: int


def streams_of(subject: Subject, first: int, end: int) -> list[Stream]:
    """Return how a part of a text is read: its units each from the initial state, a running text in segments."""
    if subject.model.tokenizer.unit != "stream":
        boundary = subject.model.tokenizer.vocabulary.boundary_id
        ends = 1 + np.flatnonzero(subject.ids == boundary)
        starts = [0, *ends.tolist()]
        bounds = zip(starts, [*starts[1:], len(subject.ids)], strict=True)
        found = [Stream(start, max(start, first), min(stop, end)) for start, stop in bounds]
        return sorted((each for each in found if each.kept < each.end), key=lambda each: each.end - each.first)
    number = min(max((end - first) // MIN_SEGMENT, 1), MAX_STREAMS)
    cuts = np.linspace(first, end, number + 1).astype(int).tolist()
    return [Stream(max(0, start - WARM_UP), start, stop) for start, stop in pairwise(cuts)]


def read_activations(subject: Subject, streams: Sequence[Stream]) -> Iterator[tuple[Ids, Floats]]:
    """Yield the values of all units after some tokens.

    Yields:
        Positions in the text (N,), and the values of the units (N, D) after those tokens, in the order of `units_of`.
    """
    with_boundary = np.concatenate(([subject.model.tokenizer.vocabulary.boundary_id], subject.ids))
    engine = subject.tracing_engine
    for number in range(0, len(streams), MAX_STREAMS):
        batch = streams[number : number + MAX_STREAMS]
        first, kept, end = (np.array(values) for values in zip(*batch, strict=True))
        boundary = np.full((1, len(batch)), with_boundary[0])
        with limited_blas_threads(1):
            state = engine.forward(boundary, engine.initial_state(len(batch)))[1]
        for start in range(0, int((end - first).max()), STEPS_AT_ONCE):
            steps = np.arange(start, min(start + STEPS_AT_ONCE, int((end - first).max())))
            places = first + steps[:, None]
            with limited_blas_threads(1):
                trace = engine.trace(with_boundary[np.minimum(places, end - 1) + 1], state)
            state = trace.state
            is_wanted = (places >= kept) & (places < end)
            if is_wanted.any():
                yield places[is_wanted], _columns(trace)[is_wanted]


def _parts(trace: Trace) -> Iterator[tuple[int, str, Floats]]:
    for number, layer in enumerate(trace.layers, start=1):
        yield number, "output", layer.states[0]
        if layer.memory is not None:
            yield number, "memory", np.tanh(layer.memory)
        for name, gate in layer.gates.items():
            yield number, name if name.startswith("gate") else f"{name} gate", gate


def _columns(trace: Trace) -> Floats:
    return np.concatenate([values for _, _, values in _parts(trace)], axis=-1)


def units_of(subject: Subject) -> list[Unit]:
    """Return the units of a network: the outputs, memory cells and gates of each layer, lowest first."""
    engine = subject.tracing_engine
    boundary = np.full((1, 1), subject.model.tokenizer.vocabulary.boundary_id)
    trace = engine.trace(boundary, engine.initial_state())
    return [Unit(layer, part, number) for layer, part, values in _parts(trace) for number in range(values.shape[-1])]
