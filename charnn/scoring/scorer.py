"""Scoring: units are encoded, processed in batches of similar length, and their scores yielded in the original order."""

import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice

import numpy as np

from charnn.config import ScoreOptions
from charnn.inference.engine import Engine
from charnn.inference.parallel_maps import CancelledError, single_threaded_map, threaded_map
from charnn.ngrams.mixture import Mixture
from charnn.ngrams.spelling import Spelling
from charnn.scoring.aggregation import EncodedUnit, Ids, TokenResults, unit_score
from charnn.scoring.estimators import Estimate, Estimator, Floats, MixedEstimator, NetworkEstimator, Reader
from charnn.scoring.scores import Score
from charnn.scoring.series import read_series
from charnn.text.bins import is_series
from charnn.text.tokenizers import Tokenizer, closed_text

LINES_PER_WINDOW = 2048
CHARS_PER_WINDOW = 1 << 22
"""Maximum numbers of lines and characters in the window in which units of similar length are batched."""
MAX_BATCH_SIZE = 512
"""Matrix products reach BLAS's full speed with 512 columns, but not with 256."""
MIN_TEXTS_TO_SPLIT = 128
"""Minimum number of texts that are divided into at least two batches, for two cores."""
MIN_SHARED = 32
"""Minimum length of a beginning, common to all texts of a batch, that is read once."""
POSITIONS_PER_BATCH = 1 << 20
MAX_LENGTH_RATIO = 2
"""The texts of a batch are at most this many times as long as the shortest one, plus a chunk."""
MAX_CHUNK_LENGTH, POSITIONS_PER_CHUNK = 256, 4096
"""Maximum number of tokens in a chunk, per text and for the whole batch."""
MAX_LOGITS = 1 << 22
"""Maximum number of logits per forward pass (16 MiB)."""
MAX_FULL_LOGITS = 1 << 20
"""The same if full distributions are needed, in double precision."""


def estimator_of(engine: Engine, tokenizer: Tokenizer, mixture: Mixture | None = None) -> Estimator:
    """Return a network's estimator, interpolated with its n-gram model if one is given."""
    return with_ngrams(NetworkEstimator(engine), tokenizer, mixture)


def with_ngrams(network: Estimator, tokenizer: Tokenizer, mixture: Mixture | None) -> Estimator:
    """Return a network interpolated with its n-gram model, if one is given."""
    if mixture is None:
        return network
    boundary_id = None if tokenizer.unit == "stream" else tokenizer.vocabulary.boundary_id
    network = with_ngrams(network, tokenizer, mixture.inner)
    return MixedEstimator(network, replace(mixture, inner=None), boundary_id=boundary_id)


def score_units(
    estimator: Estimator,
    tokenizer: Tokenizer,
    units: Iterable[str],
    options: ScoreOptions,
    *,
    spelling: Spelling | None = None,
    with_tokens: bool = False,
    first: int = 1,
) -> Iterator[Score]:
    """Score independent units.

    Units are processed in batches of similar length, and their scores yielded in the order of the units. If the estimator
    adapts to the text or the hidden state is carried, units are processed one after the other. The units of a series of numbers
    are one running text (see `read_series`).

    Args:
        units: texts without their closing line ends.
        options: scoring options.
        spelling: spelling model for unknown tokens, for `--spell`.
        with_tokens: include token scores even if the options do not require them.
        first: number of the first unit.

    Yields:
        One score per unit.
    """
    with_tokens = with_tokens or options.needs_tokens
    for unit, results in _unit_results(estimator, tokenizer, units, options, first=first):
        yield unit_score(unit, results, tokenizer, options, spelling, with_tokens=with_tokens)


def token_log_probs(
    estimator: Estimator, tokenizer: Tokenizer, units: Iterable[str], options: ScoreOptions
) -> Iterator[Floats]:
    """Yield the log probabilities (N,), in nats, of the scored tokens of each unit, in the reading order of the estimator.

    Args:
        units: units, or the segments of a running text.
    """
    read = _read_stream if options.is_running else _unit_results
    for unit, results in read(estimator, tokenizer, units, options):
        yield results.log_probs[unit.num_unscored :]


def _unit_results(
    estimator: Estimator, tokenizer: Tokenizer, units: Iterable[str], options: ScoreOptions, *, first: int = 1
) -> Iterator[tuple[EncodedUnit, TokenResults]]:
    """Return each unit with its results, in order."""
    if is_series(tokenizer):
        reader = estimator.new_reader(1)

        def read_on(unit: EncodedUnit) -> TokenResults:
            return _read_batch(estimator, options, [unit], reader=reader)[0]

        numbered = enumerate(units, start=first)
        return read_series(numbered, tokenizer, read_on, bos=options.bos, is_backward=estimator.is_backward)
    is_sequential = estimator.is_sequential or options.state == "carry"
    read = _read_in_sequence if is_sequential else _read_in_batches
    return read(estimator, tokenizer, enumerate(units, start=first), options)


def _read_in_sequence(
    estimator: Estimator, tokenizer: Tokenizer, numbered: Iterator[tuple[int, str]], options: ScoreOptions
) -> Iterator[tuple[EncodedUnit, TokenResults]]:
    carries = options.state == "carry"
    reader = estimator.new_reader(1) if carries else None
    boundary = [tokenizer.vocabulary.boundary_id]
    for number, text in numbered:
        unit = _encode(number, text, tokenizer, options, estimator.is_backward)
        read = unit
        if carries and not options.closes:  # advance the state over the last token, too
            ids = unit.targets
            read = replace(unit, context=np.concatenate((boundary, ids)), targets=np.concatenate((ids, boundary)))
        (results,) = _read_batch(estimator, options, [read], reader=reader)
        yield unit, results.truncated(len(unit.targets))


def _read_in_batches(
    estimator: Estimator, tokenizer: Tokenizer, numbered: Iterator[tuple[int, str]], options: ScoreOptions
) -> Iterator[tuple[EncodedUnit, TokenResults]]:
    windows: deque[tuple[list[EncodedUnit], list[list[int]]]] = deque()

    def batches() -> Iterator[list[EncodedUnit]]:
        """Yield the batches of each window, which is added to `windows` first."""
        for window in _windows(numbered):
            encoded = [_encode(number, text, tokenizer, options, estimator.is_backward) for number, text in window]
            by_length = sorted(range(len(encoded)), key=lambda index: len(encoded[index].targets))
            windows.append((encoded, list(_batches(by_length, encoded, estimator.vocab_size))))
            yield from ([encoded[index] for index in batch] for batch in windows[-1][1])

    map_batches = threaded_map if estimator.runs_in_threads else single_threaded_map
    batch_results = map_batches(partial(_read_batch, estimator, options), batches())
    for first in batch_results:
        encoded, indices = windows.popleft()
        of_window = chain(first, *islice(batch_results, len(indices) - 1))
        by_index = dict(zip(chain(*indices), of_window, strict=True))
        yield from ((unit, by_index[index]) for index, unit in enumerate(encoded))


def score_stream(
    estimator: Estimator,
    tokenizer: Tokenizer,
    parts: Iterable[str],
    options: ScoreOptions,
    *,
    spelling: Spelling | None = None,
    with_tokens: bool = False,
) -> Iterator[Score]:
    """Score a running text of any length.

    Args:
        parts: segments of the text that end at line ends; a single segment for a backward model.
        options, spelling, with_tokens: see `score_units`.

    Yields:
        One score per segment; their sum is the score of the text.
    """
    for unit, results in _read_stream(estimator, tokenizer, parts, options):
        yield unit_score(unit, results, tokenizer, options, spelling, with_tokens=with_tokens or options.needs_tokens)


def _read_stream(
    estimator: Estimator, tokenizer: Tokenizer, parts: Iterable[str], options: ScoreOptions
) -> Iterator[tuple[EncodedUnit, TokenResults]]:
    reader, last_id, num_unscored, start = (
        estimator.new_reader(1),
        tokenizer.vocabulary.boundary_id,
        int(not options.bos),
        0,
    )
    for text in parts:
        ids = tokenizer.encode(text)
        if len(ids):
            ids = ids[::-1] if estimator.is_backward else ids
            context = np.concatenate(([last_id], ids[:-1]))
            unit = EncodedUnit(1, text, context, ids, estimator.is_backward, num_unscored, is_closed=False, start=start)
            (results,) = _read_batch(estimator, options, [unit], reader=reader)
            yield unit, results
            last_id, num_unscored = int(ids[-1]), 0
        start += len(text)


def is_full_window(num_units: int, num_chars: int) -> bool:
    """Return whether a window ends with its last unit: a text may be divided there without any change of its batches.

    Args:
        num_units, num_chars: of the window, up to that unit.
    """
    return num_units == LINES_PER_WINDOW or num_chars >= CHARS_PER_WINDOW


def _windows(numbered: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    window: list[tuple[int, str]] = []
    num_chars = 0
    for number, text in numbered:
        window.append((number, text))
        num_chars += len(text)
        if is_full_window(len(window), num_chars):
            yield window
            window, num_chars = [], 0
    if window:
        yield window


def _encode(number: int, text: str, tokenizer: Tokenizer, options: ScoreOptions, is_backward: bool) -> EncodedUnit:
    text = closed_text(tokenizer, text) if options.closes else text
    ids = tokenizer.encode(text)
    ids = ids[::-1] if is_backward else ids
    boundary = [tokenizer.vocabulary.boundary_id]
    closing = boundary if options.closes else []
    targets = np.concatenate([ids, closing]).astype(np.int64, copy=False)
    context = np.concatenate([boundary, ids]).astype(np.int64, copy=False)[: len(targets)]
    num_unscored = 0 if options.bos else min(1, len(targets))
    return EncodedUnit(number, text, context, targets, is_backward, num_unscored, options.closes)


def _batches(by_length: list[int], encoded: list[EncodedUnit], vocab_size: int) -> Iterator[list[int]]:
    """Yield batches of texts of similar length, from texts sorted by length.

    Batches have equal sizes, and their number is even, so that neither of two cores waits for the last batch. Batches depend
    only on the texts, not on the number of cores.
    """
    batch_size = min(MAX_BATCH_SIZE, max(1, MAX_LOGITS // vocab_size))
    if len(by_length) >= MIN_TEXTS_TO_SPLIT:
        num_batches = 2 * math.ceil(len(by_length) / (2 * batch_size))
        batch_size = math.ceil(len(by_length) / num_batches)
    batch: list[int] = []
    for index in by_length:
        length = len(encoded[index].targets) + 1
        is_full = len(batch) == batch_size or (len(batch) + 1) * length > POSITIONS_PER_BATCH
        if batch and (is_full or length > MAX_LENGTH_RATIO * len(encoded[batch[0]].targets) + MAX_CHUNK_LENGTH):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _read_batch(
    estimator: Estimator,
    options: ScoreOptions,
    units: list[EncodedUnit],
    cancelled: threading.Event | None = None,
    *,
    reader: Reader | None = None,
) -> list[TokenResults]:
    """Return the results of each unit. Padding is at the end, where it affects no result.

    A long beginning that all units have in common, as sentences have that differ in a word, is read once.
    """
    contexts, targets = _columns([unit.context for unit in units]), _columns([unit.targets for unit in units])
    num_units, longest = len(units), len(targets)
    num_shared = 0 if reader else _num_shared(contexts, targets, min(len(unit.targets) for unit in units))
    reader = reader or estimator.new_reader(1 if num_shared else num_units)
    results = TokenResults(np.zeros((0, num_units)))
    first = 0
    while first < longest:
        if cancelled is not None and cancelled.is_set():
            raise CancelledError
        if first == num_shared > 0:
            reader = reader.repeated(num_units)
        num_read, end = (1, num_shared) if first < num_shared else (num_units, longest)
        chunk = slice(first, min(end, first + _chunk_length(estimator.vocab_size, num_read, options)))
        estimate = reader.read(contexts[chunk, :num_read], targets[chunk, :num_read], whole=options.needs_distributions)
        part = _token_results(estimate, options.alternatives)
        part = part if num_read == num_units else part.repeated(num_units)
        results = results if first else part.of_length(longest)
        results.fill(first, part)
        first = chunk.stop
    return [results.of_stream(column, len(unit.targets)) for column, unit in enumerate(units)]


def _chunk_length(vocab_size: int, num_streams: int, options: ScoreOptions) -> int:
    most = MAX_FULL_LOGITS if options.needs_distributions or options.mix_ngram else MAX_LOGITS
    return max(1, min(most // (num_streams * vocab_size), POSITIONS_PER_CHUNK // num_streams, MAX_CHUNK_LENGTH))


def _num_shared(contexts: Ids, targets: Ids, shortest: int) -> int:
    """Return how many tokens at the beginning all texts have in common; 0 if there are too few to read them separately.

    Args:
        contexts, targets: of B texts (T, B).
        shortest: the length of the shortest text.
    """
    if contexts.shape[1] < 2 or shortest < MIN_SHARED:
        return 0
    same = ((each[:shortest] == each[:shortest, :1]).all(axis=1) for each in (contexts, targets))
    num_shared = int(np.append(np.logical_and(*same), False).argmin())
    return num_shared if num_shared >= MIN_SHARED else 0


def _columns(ids: Sequence[Ids]) -> Ids:
    """Return the ids of B texts as columns (T, B), padded at the end; of one text without a copy."""
    if len(ids) == 1:
        return ids[0][:, None]
    columns = np.zeros((max(map(len, ids)), len(ids)), dtype=np.int64)
    for number, each in enumerate(ids):
        columns[: len(each), number] = each
    return columns


def _token_results(estimate: Estimate, num_alternatives: int) -> TokenResults:
    log_probs_TBV = estimate.log_probs_TBV
    if log_probs_TBV is None:
        return TokenResults(estimate.log_probs_TB)
    ranks_TB = 1 + (log_probs_TBV > estimate.log_probs_TB[..., None]).sum(axis=-1)
    probs_TBV = np.exp(log_probs_TBV)
    entropies_TB = -(probs_TBV * np.where(probs_TBV > 0, log_probs_TBV, 0.0)).sum(axis=-1)
    results = TokenResults(estimate.log_probs_TB, ranks_TB, entropies_TB)
    if num_alternatives:
        results.top_ids = np.argsort(-log_probs_TBV, axis=-1, kind="stable")[..., :num_alternatives]
        results.top_log_probs = np.take_along_axis(log_probs_TBV, results.top_ids, axis=-1)
    return results
