"""A network unrolled in time: every number that it computes for a short text, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.analysis.states import encoded_texts, first_lines, in_text_order
from charnn.analysis.subjects import Subject
from charnn.analysis.tables import Table
from charnn.cells.ngram_embedding import summed
from charnn.config import InspectOptions
from charnn.inference.engine import log_softmax
from charnn.inference.threads import limited_blas_threads
from charnn.inference.tracing import LayerTrace
from charnn.notices import notice_logger

logger = notice_logger(__name__)

MAX_STEPS, DEFAULT_STEPS = 12, 8
"""Steps that are drawn of each text, and those of a text that is not named."""
NUM_LIKELY = 5


@dataclass(frozen=True)
class Step:
    """A step of a network: a token is read, the next one predicted.

    Args:
        token: the token that is read.
        id: its id, the index of the 1 in the one-hot vector.
        next_token: the token that follows.
        log_prob_nats: its log probability.
        rank: its rank in the distribution, from 1.
        likely: the most probable next tokens, with their probabilities.
    """

    token: str
    id: int
    next_token: str
    log_prob_nats: float
    rank: int
    likely: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class UnrolledText:
    """A network while it reads a text.

    Args:
        run: the model.
        text: what it reads.
        steps: one for each token that is read, the boundary first.
        vectors: the embedding of each token, n-grams included (T, E); None for one-hot input.
        layers: states (T, 1, H) and gates (T, 1, H) of each layer, the lowest first.
    """

    run: str
    text: str
    steps: Sequence[Step]
    vectors: npt.NDArray[np.float32] | None
    layers: Sequence[LayerTrace]


@dataclass(frozen=True)
class Unrolled:
    """Networks unrolled over texts."""

    texts: Sequence[UnrolledText]

    def tables(self) -> Sequence[Table]:
        """Return each step: what is read, what follows with which probability, and what was most probable."""
        rows = [
            (
                each.run,
                number,
                position,
                step.token,
                step.id,
                step.next_token,
                step.log_prob_nats,
                step.rank,
                " ".join(f"{token} {probability:.3f}" for token, probability in step.likely[:3]),
            )
            for number, each in enumerate(self.texts, start=1)
            for position, step in enumerate(each.steps, start=1)
        ]
        columns = ("run", "text", "step", "token", "id", "next", "log_prob_nats", "rank", "most_probable")
        norms = [
            (each.run, number, position, layer, name, float(mean), float(least), float(most))
            for number, each in enumerate(self.texts, start=1)
            for position in range(1, len(each.steps) + 1)
            for layer, trace in enumerate(each.layers, start=1)
            for name, mean, least, most in _ranges(trace, position - 1)
        ]
        return [
            Table("steps", "Steps of the network: the token read, and the prediction of the next", columns, rows),
            Table(
                "values",
                "Gates, memory cells and outputs of the units after each step",
                ("run", "text", "step", "layer", "part", "mean", "least", "most"),
                norms,
            ),
        ]


def parts_of(trace: LayerTrace) -> list[tuple[str, npt.NDArray[np.float32]]]:
    """Return the gates of a layer, its memory cells if it has some, and its output, each (T, H), as they are computed."""
    gates = [(name if name.startswith("gate") else f"{name} gate", gate[:, 0]) for name, gate in trace.gates.items()]
    memory = [] if trace.memory is None else [("memory", trace.memory[:, 0])]
    return [*gates, *memory, ("output", trace.states[0][:, 0])]


def _ranges(trace: LayerTrace, step: int) -> list[tuple[str, float, float, float]]:
    return [(name, part[step].mean(), part[step].min(), part[step].max()) for name, part in parts_of(trace)]


def inspect(subjects: Sequence[Subject], options: InspectOptions) -> Unrolled:
    """Return what each model computes for each text. Raises OptionError for an empty text."""
    found = []
    for subject in subjects:
        texts = encoded_texts(subject, options.text) if options.text else [first_lines(subject)[0][:DEFAULT_STEPS]]
        for ids in texts:
            if len(ids) > MAX_STEPS:
                logger.info(f"{subject.name}: of {len(ids):,} tokens the first {MAX_STEPS} are shown")
            found.append(unroll(subject, ids[:MAX_STEPS]))
    return Unrolled(found)


def unroll(subject: Subject, ids: npt.NDArray[np.int64]) -> UnrolledText:
    """Return what a model computes while it reads the boundary and then tokens (T,), of which it predicts each."""
    engine, vocabulary = subject.tracing_engine, subject.model.tokenizer.vocabulary
    inputs = np.concatenate(([vocabulary.boundary_id], ids[:-1]))
    with limited_blas_threads(1):
        trace = engine.trace(inputs[:, None], engine.initial_state())
        log_probs = log_softmax(engine.logits(trace.outputs[:, 0]))
    names, next_names = subject.tokens(inputs), subject.tokens(ids)
    steps = []
    for position, target in enumerate(ids.tolist()):
        order = np.argsort(-log_probs[position], kind="stable")
        likely = subject.tokens(order[:NUM_LIKELY])
        steps.append(
            Step(
                names[position],
                int(inputs[position]),
                next_names[position],
                float(log_probs[position, target]),
                int((log_probs[position] > log_probs[position, target]).sum()) + 1,
                list(zip(likely, np.exp(log_probs[position, order[:NUM_LIKELY]]).tolist(), strict=True)),
            )
        )
    return UnrolledText(subject.name, in_text_order(subject, ids), steps, _vectors(subject, inputs), trace.layers)


def _vectors(subject: Subject, inputs: npt.NDArray[np.int64]) -> npt.NDArray[np.float32] | None:
    """Return the embedding of each token (T, E), None for one-hot input."""
    engine = subject.engine
    if engine.architecture.inputs == "one-hot":
        return None
    rows, _ = engine.input_tables.state_rows(inputs[:, None], engine.initial_state(), np)
    vectors = summed(table[row[:, 0]] for table, row in zip(engine.embeddings, rows, strict=True))
    return np.asarray(vectors)
