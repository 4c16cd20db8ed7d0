"""Where attention over the past looks, and what it is worth (see `charnn.cells.attention` for its equations).

The weight of a position at a distance of d tokens is that of the token read d tokens ago, 0 for the one just read. Its key is
that of the output before it, so it is large where the context resembles the present one, and the value says what followed.
What attention adds does not reach the recurrent state, so the same outputs without it are those of the network whose
attention adds nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.analysis.activations import WARM_UP, Stream, streams_of
from charnn.analysis.states import encoded_texts, first_lines, in_text_order
from charnn.analysis.subjects import Subject
from charnn.analysis.tables import Table, Value
from charnn.config import InspectOptions
from charnn.errors import ModelError
from charnn.inference.engine import log_softmax, target_log_probs
from charnn.inference.threads import limited_blas_threads
from charnn.inference.tracing import AttentionTrace
from charnn.notices import notice_logger

logger = notice_logger(__name__)

MAX_TOKENS, MAX_STREAMS, MIN_SEGMENT = 8192, 8, 512
"""Tokens of the text that are read, the streams that are read in parallel, and the minimum length of a segment."""
STEPS_AT_ONCE = 128
MAX_WEIGHTS = 1 << 24
"""Weights that are in memory at once, at most, unless one stream has more."""
MAX_LOGITS = 1 << 22
MAX_SHOWN = 60
"""Tokens that are shown of each text."""
NUM_STRONGEST = 3

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AttentionSummary:
    """Attention over a text.

    Args:
        run: the model.
        window: positions that are attended to, W.
        num_tokens: tokens over which the means are taken.
        weights: mean weight by distance (W,); they sum to 1.
        even_weights: the same if the weights of all positions that can be seen were equal (W,).
        entropy_bits, even_entropy_bits: mean entropy of the weights, and of equal ones.
        added_ratio: mean norm of what attention adds, as a fraction of that of the output.
        loss_nats, loss_without_nats: per token, with and without what attention adds.
    """

    run: str
    window: int
    num_tokens: int
    weights: Floats
    even_weights: Floats
    entropy_bits: float
    even_entropy_bits: float
    added_ratio: float
    loss_nats: float
    loss_without_nats: float

    def bands(self) -> list[tuple[int, int, float, float]]:
        """Return the first and last distance, weight and equal weight of 0, 1, 2 to 3, 4 to 7, ..., up to the window."""
        first = [0, *(1 << power for power in range((self.window - 1).bit_length()))]
        ends = [*first[1:], self.window]
        return [
            (start, end - 1, float(self.weights[start:end].sum()), float(self.even_weights[start:end].sum()))
            for start, end in zip(first, ends, strict=True)
        ]


class Attended(NamedTuple):
    """A position that is attended to: its distance, its token, and its weight."""

    distance: int
    token: str
    weight: float

    def __str__(self) -> str:
        return f"{self.distance} back: {self.token} {self.weight:.3f}"


@dataclass(frozen=True)
class AttentionStep:
    """A token is read, the next one predicted.

    Args:
        token, next_token: the token that is read, and the one that follows.
        log_prob_nats, log_prob_without_nats: of the one that follows, with and without what attention adds.
        likeliest, probability: the most probable next token.
        strongest: the positions with the largest weights.
    """

    token: str
    next_token: str
    log_prob_nats: float
    log_prob_without_nats: float
    likeliest: str
    probability: float
    strongest: Sequence[Attended]


@dataclass(frozen=True)
class AttendedText:
    """Attention while a text is read.

    Args:
        run: the model.
        text: what is read.
        steps: one for each token that is read, the boundary first.
        weights: of each token that is read over these tokens (T, T), 0 above the diagonal.
    """

    run: str
    text: str
    steps: Sequence[AttentionStep]
    weights: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Attention:
    """The attention of models, over a long text each, and while short ones are read."""

    summaries: Sequence[AttentionSummary]
    texts: Sequence[AttendedText]

    def tables(self) -> Sequence[Table]:
        """Return the losses, the weight by distance, and the tokens of the short texts."""
        means = [self.summary_table(), self.distance_table()] if self.summaries else []
        return [*means, self.token_table()]

    def summary_table(self) -> Table:
        """Return what attention is worth, and how concentrated it is."""
        rows: list[Sequence[Value]] = [
            (
                each.run,
                each.window,
                each.num_tokens,
                each.loss_nats,
                each.loss_without_nats,
                each.loss_without_nats - each.loss_nats,
                each.entropy_bits,
                float(2**each.entropy_bits),
                float(2**each.even_entropy_bits),
                each.added_ratio,
            )
            for each in self.summaries
        ]
        caption = (
            "Loss in nats per token with and without what attention adds, the network and its state being the same; the mean "
            "entropy of the weights in bits, and the number of equally weighted positions that has this entropy, beside that "
            "of the positions that can be seen; the norm of what is added as a fraction of that of the output"
        )
        columns = ("run", "window", "tokens", "loss_nats", "without_nats", "difference_nats", "entropy_bits")
        return Table("summary", caption, (*columns, "positions", "visible_positions", "added_length"), rows)

    def distance_table(self) -> Table:
        """Return the mean weight by distance."""
        rows = [(each.run, *band) for each in self.summaries for band in each.bands()]
        caption = (
            "Mean weight of the tokens read between first and last distance ago, 0 being the one just read, and what it would "
            "be if all positions were weighted equally"
        )
        return Table("distances", caption, ("run", "first", "last", "weight", "equal_weight"), rows)

    def token_table(self) -> Table:
        """Return each step of the short texts."""
        rows = [
            (
                each.run,
                number,
                position,
                step.token,
                step.next_token,
                step.log_prob_nats,
                step.log_prob_without_nats,
                f"{step.likeliest} {step.probability:.3f}",
                *map(str, step.strongest),
                *[None] * (NUM_STRONGEST - len(step.strongest)),
            )
            for number, each in enumerate(self.texts, start=1)
            for position, step in enumerate(each.steps, start=1)
        ]
        caption = (
            "Tokens read, with the log probability of the next one with and without attention, the most probable next token, "
            "and the positions with the largest weights: how many tokens back, the token there, and the weight"
        )
        columns = ("run", "text", "position", "token", "next", "log_prob_nats", "without_nats", "most_probable")
        return Table("tokens", caption, (*columns, "strongest", "second", "third"), rows)


def inspect(subjects: Sequence[Subject], options: InspectOptions) -> Attention:
    """Return the attention of each model.

    Raises:
        ModelError: if a model has none.
        OptionError: for an empty text.
    """
    for subject in subjects:
        if not subject.model.architecture.attention_window:
            raise ModelError(
                f"{subject.name}: has no attention to inspect; name a model that was trained with --attention single"
            )
    texts = []
    for subject in subjects:
        for ids in encoded_texts(subject, options.text) if options.text else [_passage(subject)]:
            if options.text and len(ids) > MAX_SHOWN:
                logger.info(f"{subject.name}: of {len(ids):,} tokens the first {MAX_SHOWN} are shown")
            texts.append(attended_text(subject, ids[:MAX_SHOWN]))
    return Attention([summarize(subject) for subject in subjects if len(subject.ids)], texts)


def _passage(subject: Subject) -> Ids:
    """Return the first tokens of a subject's text from the beginning of a line on; of lines or documents, one of them."""
    lines = first_lines(subject)
    if subject.model.tokenizer.unit != "stream":
        return max(lines, key=len)
    first, size = lines[0], len(lines[0])
    starts = range(len(subject.ids) - size + 1)
    start = next(start for start in starts if np.array_equal(subject.ids[start : start + size], first))
    return subject.ids[start : start + MAX_SHOWN]


def attended_text(subject: Subject, ids: Ids) -> AttendedText:
    """Return what a model attends to while it reads the boundary and then tokens (T,), of which it predicts each."""
    engine, window = subject.tracing_engine, subject.model.architecture.attention_window
    inputs = np.concatenate(([subject.model.tokenizer.vocabulary.boundary_id], ids[:-1]))
    with limited_blas_threads(1):
        trace = engine.trace(inputs[:, None], engine.initial_state())
        assert trace.attention is not None
        log_probs = log_softmax(engine.logits(trace.outputs[:, 0]))
        without = log_softmax(engine.logits(trace.attention.outputs[:, 0]))
    weights = trace.attention.weights[0, :, window - 1 :]
    names, next_names = subject.tokens(inputs), subject.tokens(ids)
    likeliest = log_probs.argmax(axis=-1)
    likely_names = subject.tokens(likeliest)
    steps = [
        AttentionStep(
            names[position],
            next_names[position],
            float(log_probs[position, target]),
            float(without[position, target]),
            likely_names[position],
            float(np.exp(log_probs[position, likeliest[position]])),
            [
                Attended(position - other, names[other], float(weights[position, other]))
                for other in np.argsort(-weights[position, : position + 1], kind="stable")[:NUM_STRONGEST].tolist()
                if position - other < window
            ],
        )
        for position, target in enumerate(ids.tolist())
    ]
    return AttendedText(subject.name, in_text_order(subject, ids), steps, weights)


def summarize(subject: Subject) -> AttentionSummary:
    """Return means over the text of a model: over at most `MAX_TOKENS` of it, in segments that are spread over it."""
    window = subject.model.architecture.attention_window
    weights, counts, totals = np.zeros(window), np.zeros(window + 1), np.zeros(4)
    for piece in _read(subject):
        weights += piece.weights.sum(axis=0)
        counts += np.bincount(piece.num_visible, minlength=window + 1)
        entropy = -(piece.weights * np.log2(np.maximum(piece.weights, 1e-300))).sum()
        totals += (entropy, piece.added_ratios.sum(), -piece.log_probs.sum(), -piece.log_probs_without.sum())
    num_tokens, sizes = int(counts.sum()), np.arange(1, window + 1)
    entropy, added, loss, without = (totals / num_tokens).tolist()
    return AttentionSummary(
        subject.name,
        window,
        num_tokens,
        weights=weights / num_tokens,
        even_weights=np.cumsum((counts[1:] / sizes)[::-1])[::-1] / num_tokens,
        entropy_bits=entropy,
        even_entropy_bits=float((counts[1:] * np.log2(sizes)).sum()) / num_tokens,
        added_ratio=added,
        loss_nats=loss,
        loss_without_nats=without,
    )


class _Piece(NamedTuple):
    """Attention at N tokens of a text.

    Args:
        weights: by distance (N, W).
        num_visible: positions that can be seen (N,).
        added_ratios: norm of what attention adds, as a fraction of that of the output (N,).
        log_probs, log_probs_without: of the next token, with and without what attention adds (N,).
    """

    weights: Floats
    num_visible: Ids
    added_ratios: Floats
    log_probs: Floats
    log_probs_without: Floats


def _streams(subject: Subject, most: int) -> list[Stream]:
    """Return what is read: units from the initial state, or segments of a running text after a warm-up."""
    length = min(len(subject.ids), MAX_TOKENS)
    if subject.model.tokenizer.unit != "stream":
        return streams_of(subject, 0, length)
    number = min(max(length // MIN_SEGMENT, 1), most)
    warm_up, size = WARM_UP + subject.model.architecture.attention_window, length // number
    starts = np.linspace(0, len(subject.ids) - size, number).astype(int).tolist()
    return [Stream(max(0, start - warm_up), start, start + size) for start in starts]


def _read(subject: Subject) -> Iterator[_Piece]:
    """Yield the attention at tokens of a text, piece by piece."""
    engine, window, inputs = subject.tracing_engine, subject.model.architecture.attention_window, subject.inputs
    most = min(MAX_STREAMS, max(1, MAX_WEIGHTS // (STEPS_AT_ONCE * (window + STEPS_AT_ONCE))))
    streams = _streams(subject, most)
    for number in range(0, len(streams), most):
        first, kept, end = (np.array(values) for values in zip(*streams[number : number + most], strict=True))
        state = engine.initial_state(len(first))
        longest = int((end - first).max())
        for start in range(0, longest, STEPS_AT_ONCE):
            steps = np.arange(start, min(start + STEPS_AT_ONCE, longest))[:, None]
            places = first + steps
            with limited_blas_threads(1):
                trace = engine.trace(inputs[np.minimum(places, end - 1)], state)
            state = trace.state
            is_wanted = (places >= kept) & (places < end)
            if is_wanted.any():
                assert trace.attention is not None
                num_visible = np.broadcast_to(np.minimum(steps + 1, window), places.shape)[is_wanted]
                yield _piece(
                    subject, trace.outputs, trace.attention, is_wanted, num_visible, subject.ids[places[is_wanted]]
                )


def _piece(
    subject: Subject,
    outputs: npt.NDArray[np.float32],
    attention: AttentionTrace,
    is_wanted: npt.NDArray[np.bool_],
    num_visible: Ids,
    targets: Ids,
) -> _Piece:
    with_added, plain = outputs[is_wanted], attention.outputs[is_wanted]
    norms = np.linalg.norm(plain, axis=-1).astype(np.float64)
    return _Piece(
        attention.by_distance.swapaxes(0, 1)[is_wanted].astype(np.float64),
        num_visible,
        np.linalg.norm(with_added - plain, axis=-1) / np.maximum(norms, 1e-30),
        _log_probs(subject, with_added, targets),
        _log_probs(subject, plain, targets),
    )


def _log_probs(subject: Subject, outputs_NH: npt.NDArray[np.float32], targets: Ids) -> Floats:
    """Return the log probabilities of targets (N,), a part of them after the other, so that memory is bounded."""
    engine, at_once = subject.engine, max(1, MAX_LOGITS // subject.model.architecture.vocab_size)
    with limited_blas_threads(1):
        parts = [
            target_log_probs(engine.logits(outputs_NH[first : first + at_once]), targets[first : first + at_once])
            for first in range(0, len(targets), at_once)
        ]
    return np.concatenate(parts)
