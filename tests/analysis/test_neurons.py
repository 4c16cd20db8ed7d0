"""The search finds a unit that was made to track a feature, finds none in noise, and measures on the other half."""

import json

import numpy as np
import pytest

import charnn as library
from charnn.analysis import neurons
from charnn.analysis.activations import Stream, Unit, read_activations, streams_of, units_of
from charnn.analysis.features import Feature, features_of
from charnn.analysis.neurons import Search, passage_start, shifted_labels
from charnn.analysis.subjects import read_subjects
from charnn.config import InspectOptions
from charnn.errors import OptionError, TextError
from tests.analysis.dialogues import dialogues


def searched(values, features, is_binary, middle=None, chunk=100, is_input=None):
    middle = middle or len(values) // 2
    labels = shifted_labels(np.stack(features, axis=1).astype(np.float32), middle, seed=1)
    is_input = np.ones(values.shape[1], dtype=bool) if is_input is None else is_input
    search = Search(labels, is_binary, is_input, middle)
    positions = np.arange(len(values))
    halves = [np.array_split(half, len(half) // chunk) for half in (positions[:middle], positions[middle:])]
    for part in halves[0]:
        search.select(part, values[part])
    search.fit()
    for part in halves[1]:
        search.test(part, values[part])
    return search.result()


def example(num_tokens=4000, num_units=40, noise=0.3):
    generator = np.random.default_rng(3)
    values = generator.normal(size=(num_tokens, num_units)).astype(np.float32)
    binary = np.repeat(generator.random(num_tokens // 20) < 0.3, 20)
    number = np.cumsum(generator.normal(size=num_tokens)).astype(np.float32)
    values[:, 3] = binary + noise * values[:, 3]
    values[:, 7] = 5 - 0.2 * number
    return values, [binary, number]


def test_the_unit_that_is_the_feature_is_found_and_its_correlation_is_that_of_the_second_half():
    values, features = example()
    found = searched(values, features, [True, False])
    assert found.best[:2].tolist() == [3, 7]
    for unit in range(40):
        for column, feature in enumerate(features):
            expected = np.corrcoef(values[2000:, unit], feature[2000:])[0, 1]
            assert found.correlations[unit, column] == pytest.approx(expected, abs=1e-5)
    assert found.correlations[3, 0] > 0.8
    assert found.correlations[7, 1] == pytest.approx(-1, abs=1e-4)
    assert found.probes[0] > 0.9
    assert found.probes[1] > 0.99


def test_shifted_copies_of_the_features_are_not_found():
    values, features = example(num_tokens=20_000)
    found = searched(values, features, [True, False], chunk=2000)
    assert found.shuffled_r(0, 2) < 0.2
    assert found.probes[2::2].mean() == pytest.approx(0.5, abs=0.05)


def test_the_best_of_many_noisy_units_is_measured_where_it_was_not_selected():
    generator = np.random.default_rng(4)
    values = generator.normal(size=(200, 2000)).astype(np.float32)
    feature = generator.random(200) < 0.5
    selected = max(abs(np.corrcoef(values[:100, unit], feature[:100])[0, 1]) for unit in range(2000))
    found = searched(values, [feature], [True])
    assert selected > 0.3
    assert abs(found.correlations[found.best[0], 0]) < 0.25
    assert found.probes[0] == pytest.approx(0.5, abs=0.15)


def test_a_probe_reads_a_feature_that_no_single_unit_has():
    generator = np.random.default_rng(5)
    feature = np.repeat(generator.random(200) < 0.2, 20)
    direction = generator.normal(size=30)
    values = generator.normal(size=(4000, 30)) + 0.9 * np.outer(feature, direction)
    found = searched(values.astype(np.float32), [feature], [True])
    assert abs(found.correlations[found.best[0], 0]) < 0.8
    assert found.probes[0] > 0.98


def test_a_probe_has_the_solution_of_ridge_regression():
    values, features = example(num_tokens=1000, num_units=8)
    search = Search(np.stack(features, axis=1).astype(np.float32), [True, False], np.ones(8, dtype=bool), 500)
    search.select(np.arange(500), values[:500])
    search.fit()
    first = values[:500].astype(np.float64)
    scaled = (first - first.mean(0)) / first.std(0)
    labels = np.stack([(each[:500] - each[:500].mean()) / each[:500].std() for each in features], axis=1)
    weights = np.linalg.solve(scaled.T @ scaled / 500 + 8 / 500 * np.eye(8), scaled.T @ labels / 500)
    np.testing.assert_allclose(search._weights, weights / first.std(0)[:, None], rtol=1e-3, atol=1e-5)
    middle = [(scaled[each[:500] == value] @ weights[:, 0]).mean() for each in features[:1] for value in (0, 1)]
    assert search._threshold[0] == pytest.approx(np.mean(middle), abs=1e-5)


def test_more_units_than_a_probe_takes_in_are_projected(monkeypatch):
    monkeypatch.setattr(neurons, "MAX_PROBE_SIZE", 16)
    values, features = example(noise=0.05)
    values[:, 8:] *= 0.01
    assert searched(values, features, [True, False]).probes[0] > 0.9


def test_labels_are_shifted_within_each_half():
    values = np.arange(200, dtype=np.float32)[:, None]
    shifted = shifted_labels(values, 100, seed=1)
    assert shifted.shape == (200, 1 + neurons.NUM_SHIFTS)
    for column in shifted.T[1:]:
        assert sorted(column[:100].tolist()) == list(range(100))
        assert column[0] not in (0, 1, 99)


def test_the_passage_is_where_a_feature_changes_most(monkeypatch):
    monkeypatch.setattr(neurons, "PASSAGE", 4)
    assert passage_start(np.array([0, 0, 0, 1, 1, 0, 1, 0, 0, 0])) == 4
    assert passage_start(np.array([0, 1])) == 0


@pytest.mark.parametrize("name", ["run", "line_run"])
def test_every_token_is_read_once_and_has_the_states_of_the_running_text(request, name):
    """Of lines: each from the initial state; of a stream: after a warm-up."""
    (subject,) = read_subjects([request.getfixturevalue(name)], InspectOptions())
    units, half = units_of(subject), len(subject.ids) // 2
    assert [(units[0], units[24])] == [(Unit(1, "output", 0), Unit(1, "memory", 0))]
    assert {unit.part for unit in units} == {"output", "memory", "forget gate", "input gate", "output gate"}
    found = np.full((len(subject.ids), len(units)), np.nan, dtype=np.float32)
    for first, end in ((0, half), (half, len(subject.ids))):
        for positions, values in read_activations(subject, streams_of(subject, first, end)):
            assert np.isnan(found[positions]).all()
            found[positions] = values
    engine, boundary = subject.tracing_engine, subject.model.tokenizer.vocabulary.boundary_id
    starts = [0] if name == "run" else [0, *(np.flatnonzero(subject.ids == boundary)[:-1] + 1).tolist()]
    for start, end in zip(starts, [*starts[1:], len(subject.ids)], strict=True):
        inputs = np.concatenate(([boundary], subject.ids[start:end]))[:, None]
        layer = engine.trace(inputs, engine.initial_state()).layers[0]
        np.testing.assert_allclose(found[start:end, :24], layer.states[0][1:, 0], atol=2e-3)
        np.testing.assert_allclose(found[start:end, 24:48], np.tanh(layer.memory[1:, 0]), atol=2e-3)


def test_long_texts_are_read_in_segments_that_cover_them(run):
    (subject,) = read_subjects([run], InspectOptions())
    streams = streams_of(subject, 5000, 10_000)
    assert len(streams) == 4
    assert [each.kept for each in streams] == [5000, 6250, 7500, 8750]
    assert [each.end for each in streams] == [6250, 7500, 8750, 10_000]
    assert streams[0] == Stream(5000 - 256, 5000, 6250)


def test_the_search_of_a_model_equals_correlations_worked_with_numpy(run):
    options = InspectOptions(pattern=("the",))
    (subject,) = read_subjects([run], options)
    found = neurons.inspect([subject], options)
    features = {feature.name: feature for feature in features_of(subject, ["the"])}
    half = len(subject.ids) // 2
    engine, boundary = subject.tracing_engine, subject.model.tokenizer.vocabulary.boundary_id
    inputs = np.concatenate(([boundary], subject.ids))[:, None]
    layer = engine.trace(inputs, engine.initial_state()).layers[0]
    parts = {"output": layer.states[0], "memory": np.tanh(layer.memory)}
    parts |= {f"{name} gate": gate for name, gate in layer.gates.items()}
    assert "/the/" in [each.feature for each in found.tracked]
    for each in found.tracked:
        values = parts[each.unit.part][1:, 0, each.unit.number]
        expected = np.corrcoef(values[half:], features[each.feature].values[half:])[0, 1]
        assert each.r == pytest.approx(expected, abs=0.01)
        assert each.correlations[list(found.units[subject.name]).index(each.unit)] == each.r
        span = slice(each.start, each.start + len(each.values))
        np.testing.assert_allclose(each.values, values[span], atol=2e-3)
        assert each.tokens == subject.tokens(subject.ids[span])
        assert each.feature_values.tolist() == features[each.feature].values[span].tolist()
    units, probes, contexts, left_out = found.tables()
    assert units.rows[0][-2:] == (found.tracked[0].r, found.tracked[0].shuffled_r)
    assert probes.rows[0][-2:] == (found.tracked[0].probe, found.tracked[0].shuffled_probe)
    assert len(contexts.rows) == 2 * len(units.rows)
    assert set(features) == {row[1] for row in units.rows} | {row[1] for row in left_out.rows}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0] * 100, "does not occur"),
        ([3] * 100, "is the same at every token"),
        ([0] * 40 + [1] * 20 + [0] * 40, ""),
        ([1] * 60 + [0] * 40, "occurs at too few tokens: 0 in the first half of the text, 40 in the second"),
        ([0] * 95 + [1] * 5, "occurs at too few tokens: 0 in the first half of the text, 5 in the second"),
    ],
)
def test_features_that_do_not_occur_are_left_out_with_the_reason(values, reason):
    assert neurons._reason_to_leave_out(Feature("f", True, np.array(values, dtype=np.float32)), 50) == reason


def test_the_command_names_what_it_leaves_out_and_refuses_what_it_cannot_read(charnn, run, tmp_path):
    (tmp_path / "q.txt").write_text(dialogues(2000), encoding="utf-8")
    result = charnn("inspect", "neurons", run, "--file", tmp_path / "q.txt", "--format", "jsonl")
    assert result.status == 0
    records = [json.loads(line) for line in result.out.splitlines()]
    units = [record for record in records if record["table"] == "units"]
    assert {"inside quotes", "sentence start", "position in line"} == {record["feature"] for record in units}
    assert "left out: bracket depth (does not occur), digit (does not occur), indentation" in result.err
    bad = charnn("inspect", "neurons", run, "--pattern", "(")
    assert bad.status != 0
    assert "--pattern: found '(', which is no regular expression" in bad.err
    with pytest.raises(OptionError, match="pattern: found"):
        library.inspect("neurons", run, pattern=("[",))
    (tmp_path / "short.txt").write_text("a b", encoding="utf-8")
    with pytest.raises(TextError, match=r"3 tokens\) is too short or too uniform: no feature varies at 10 tokens"):
        library.inspect("neurons", run, file=str(tmp_path / "short.txt"))


def test_the_text_with_quotations_has_balanced_ones():
    text = dialogues(20_000)
    assert len(text) >= 20_000
    assert all(paragraph.count('"') % 2 == 0 for paragraph in text.split("\n\n"))
    assert dialogues(20_000) == text
