"""The sizes of the tables of n-gram embeddings."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from charnn.cells.ngram_embedding import MAX_ROWS, max_rows, table_sizes
from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture
from charnn.inference.engine import Engine
from charnn.storage.model_directory import read_model
from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import UnitBatches
from charnn.training.loss import IGNORED
from charnn.training.planning import ngram_tables
from charnn.training.planning.ngram_tables import ROWS_PER_NGRAM, SEARCHED_FRACTION, InputTableSizes, choose_table_sizes
from charnn.training.run import session
from tests.conftest import FABLES, ramp_weights
from tests.training.test_techniques import interrupted_after_ten_steps

TEXT = FABLES.read_text(encoding="utf-8")[:3000]
SMALL = ("--hidden-size", 12, "--precision", "fp32", "--batch-size", 4, "--bptt", 16, "--steps", 24)


def encoded(text, *, num_tokens=None):
    """Return the ids of a text, and a vocabulary of its characters in which the newline is the boundary."""
    characters = sorted({"\n", *text})
    size = num_tokens or len(characters)
    tokens = (*characters, *(f"<{number}>" for number in range(size - len(characters))))
    vocabulary = Vocabulary(tokens, (1,) * size, boundary_id=0, unknown_id=None)
    return np.array([characters.index(character) for character in text]), vocabulary


def num_sharing(ngrams, base, num_rows):
    """Return how often an n-gram shares its row with a more frequent one: a dictionary of rows, one n-gram after another."""
    most = Counter()
    for ngram, count in ngrams.items():
        row = sum(digit * base**place for place, digit in enumerate(reversed(ngram))) % num_rows
        most[row] = max(most[row], count)
    return ngrams.total() - most.total()


def best_size(ngrams, vocab_size):
    """Return the size with the fewest shared rows, the largest if several have, below the limit."""
    limit = ROWS_PER_NGRAM * len(ngrams)
    candidates = range(limit, limit - int(SEARCHED_FRACTION * limit) - 1, -1)
    return min(candidates, key=lambda num_rows: num_sharing(ngrams, vocab_size + 1, num_rows))


def test_a_table_has_a_few_rows_for_each_ngram_of_the_text(monkeypatch):
    monkeypatch.setattr(ngram_tables, "MAX_CANDIDATES", 10**6)
    ids, vocabulary = encoded(TEXT)
    sizes = choose_table_sizes(ids, vocabulary, unit="stream", max_order=3)
    for order, size in enumerate(sizes, start=2):
        digits = [0] * (order - 2) + [1, *(ids + 1).tolist()]
        ngrams = Counter(zip(*(digits[first:] for first in range(order)), strict=False))
        assert size == best_size(ngrams, len(vocabulary)) < max_rows(len(vocabulary), order)


def test_the_ngrams_of_lines_are_those_that_the_network_reads(monkeypatch):
    monkeypatch.setattr(ngram_tables, "MAX_CANDIDATES", 10**6)
    ids, vocabulary = encoded("".join(sorted(set(TEXT.split())))[:600].replace("s", "\n") + "\n")
    batches = UnitBatches(ids, vocabulary, batch_size=1, bptt_length=999, seed=None)
    ngrams = Counter()
    for index in range(batches.steps_per_epoch):
        batch = batches.batch(0, index)
        for column, targets in zip(batch.inputs_TB.T, batch.targets_TB.T, strict=True):
            digits = [0, 0, *(column[targets != IGNORED] + 1).tolist()]
            ngrams.update(zip(digits, digits[1:], digits[2:], strict=False))
    assert ngrams[0, 0, 1] == np.count_nonzero(ids == 0)
    assert choose_table_sizes(ids, vocabulary, unit="line", max_order=3)[1] == best_size(ngrams, len(vocabulary))


def test_no_table_is_larger_than_the_vocabulary_requires():
    ids = np.random.default_rng(1).integers(0, 30, 100_000)
    vocabulary = encoded("", num_tokens=30)[1]
    assert choose_table_sizes(ids, vocabulary, unit="stream", max_order=4) == (31**2, MAX_ROWS, MAX_ROWS)
    assert choose_table_sizes(ids[:2000], vocabulary, unit="stream", max_order=3)[1] < 2000 * ROWS_PER_NGRAM


@pytest.mark.parametrize("text", ["", "a", "aaaa", "\n\n"])
@pytest.mark.parametrize("unit", ["stream", "line"])
def test_the_shortest_texts_have_tables_of_a_row_or_more(text, unit):
    sizes = choose_table_sizes(*encoded(text), unit=unit, max_order=3)
    assert len(sizes) == 2
    assert all(1 <= size <= 3 * ROWS_PER_NGRAM for size in sizes)


def test_without_ngrams_or_for_a_long_text_the_vocabulary_decides(monkeypatch):
    ids, vocabulary = encoded(TEXT)
    assert choose_table_sizes(ids, vocabulary, unit="stream", max_order=1) is None
    monkeypatch.setattr(ngram_tables, "MAX_TOKENS", len(ids) - 1)
    assert choose_table_sizes(ids, vocabulary, unit="stream", max_order=3) is None


def test_ngrams_too_long_for_a_key_have_the_largest_table():
    ids, vocabulary = encoded("abcab" * 20, num_tokens=300)
    sizes = choose_table_sizes(ids, vocabulary, unit="stream", max_order=8)
    assert sizes[-1] == MAX_ROWS
    assert max(sizes[:-1]) < 12 * ROWS_PER_NGRAM


def test_only_some_of_the_sizes_are_tried(monkeypatch):
    monkeypatch.setattr(ngram_tables, "MAX_CANDIDATES", 4)
    calls = []
    real = ngram_tables.num_sharing
    monkeypatch.setattr(ngram_tables, "num_sharing", lambda *given: calls.append(0) or real(*given))
    ids, vocabulary = encoded(TEXT)
    choose_table_sizes(ids, vocabulary, unit="stream", max_order=2)
    assert 0 < len(calls) <= 2 * 4


def text_file():
    Path("text.txt").write_text(TEXT, encoding="utf-8")
    return "text.txt"


def test_a_run_stores_its_sizes_and_its_files_are_small(charnn):
    assert charnn("train", text_file(), *SMALL, "-o", "m").status == 0
    model = read_model(Path("m"))
    stored = json.loads(Path("m/config.json").read_text(encoding="utf-8"))["architecture"]["ngram_table_sizes"]
    assert table_sizes(model.architecture) == tuple(stored)
    assert [len(model.weights[f"embedding.{order}.weight"]) for order in (2, 3)] == stored
    assert stored[0] < 500 * ROWS_PER_NGRAM
    assert stored[1] < 1500 * ROWS_PER_NGRAM


def by_the_vocabulary(monkeypatch):
    """Let the sizes of the tables be those of older versions."""
    monkeypatch.setattr(
        "charnn.training.planning.plan.choose_input_tables", lambda *_, **__: InputTableSizes(None, 0, None)
    )


def make_old(run):
    """Take what older versions did not know from the configuration of a run."""
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["architecture"].pop("ngram_table_sizes") is None
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")


def test_an_old_run_is_resumed_with_its_old_sizes(charnn, monkeypatch):
    arguments = ("train", text_file(), *SMALL)
    real = session.run
    with monkeypatch.context() as patch:
        by_the_vocabulary(patch)
        assert charnn(*arguments, "-o", "whole").status == 0
        patch.setattr(session, "run", interrupted_after_ten_steps(real))
        assert charnn(*arguments, "-o", "parts").status == 130
    make_old(Path("parts"))
    resumed = charnn("train", "--resume", "-o", "parts")
    assert resumed.status == 0, resumed.err
    assert Path("parts/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    shape = read_model(Path("parts")).architecture
    assert shape.ngram_table_sizes is None
    assert read_model(Path("parts")).weights["embedding.3.weight"].shape[0] == MAX_ROWS


def test_an_old_model_scores_as_before(run):
    """Its tables have (V + 1)^n rows, at most 16,381, which its configuration does not say."""
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    for name in ("ngram_table_sizes", "word_rows", "word_codes"):
        del config["architecture"][name]
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    architecture = Architecture(**config["architecture"])
    weights = ramp_weights(architecture)
    base = architecture.vocab_size + 1
    assert weights["embedding.2.weight"].shape[0] == base**2
    assert weights["embedding.3.weight"].shape[0] == 16_381
    engine = Engine(architecture, weights)
    ids = np.array([[3], [1], [4], [1], [5]])
    digits = [0, 0, *(ids[:, 0] + 1).tolist()]
    vectors = [
        weights["embedding.weight"][last - 1]
        + weights["embedding.2.weight"][before * base + last]
        + weights["embedding.3.weight"][((first * base + before) * base + last) % 16_381]
        for first, before, last in zip(digits, digits[1:], digits[2:], strict=False)
    ]
    plain = Architecture(**{**config["architecture"], "embedding_order": 1, "vocab_size": len(ids)})
    same = {name: array for name, array in weights.items() if not name.startswith("embedding.")}
    rows = Engine(plain, {**same, "embedding.weight": np.array(vectors)})
    outputs, _ = engine.forward(ids, engine.initial_state())
    expected, _ = rows.forward(np.arange(len(ids))[:, None], rows.initial_state())
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("is_old", [False, True], ids=["sized", "old"])
def test_the_tables_of_a_backward_half_fit_the_reversed_text(charnn, monkeypatch, is_old):
    if is_old:
        by_the_vocabulary(monkeypatch)
    assert charnn("train", text_file(), *SMALL, "--direction", "both", "-o", "m").status == 0
    forward, backward = (read_model(Path(name)) for name in ("m", "m/backward"))
    ids = np.fromfile("m/backward/train.bin", dtype=forward.tokenizer.vocabulary.dtype)
    expected = choose_table_sizes(ids, forward.tokenizer.vocabulary, unit="stream", max_order=3)
    assert backward.architecture.ngram_table_sizes == (None if is_old else expected)
    assert (forward.architecture.ngram_table_sizes is None) == is_old
    shapes = {name: array.shape for name, array in backward.weights.items()}
    assert shapes == expected_shapes(backward.architecture)
