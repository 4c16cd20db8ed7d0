"""What a report shows: curves, baselines, surprisals, differences."""

import json
import math

import numpy as np
import pytest

from charnn.analysis.baselines import NETWORK, predictors
from charnn.analysis.curves import read_curves, thinned
from charnn.analysis.overview import options_table, read_overview, results_table
from charnn.analysis.surprisals import MIN_COUNT, beginning, read_surprisals, text_to_read
from charnn.config import ReportOptions
from charnn.errors import ModelError, TextError
from charnn.notebook import with_spaces
from charnn.storage.model_directory import read_model
from charnn.text.corpus import open_ids
from tests.conftest import train_quietly
from tests.notices import collected_notices


def progressed(step, loss=2.0):
    names = ("learning_rate", "gradient_norm", "clipped_fraction", "tokens_per_second")
    return {"event": "progressed", "step": step, "seconds": step / 10, "loss_nats": loss} | dict.fromkeys(names, 1.0)


def evaluated(step, loss, **more):
    return {"event": "evaluated", "step": step, "seconds": step / 10, "valid_loss_nats": loss, "is_best": True, **more}


def written(directory, *records, rest=""):
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (directory / "metrics.jsonl").write_text(lines + rest, encoding="utf-8")
    return read_curves(directory)


def test_curves_are_the_records_without_what_was_rolled_back_or_cut_off(tmp_path):
    curves = written(
        tmp_path,
        progressed(10, 3.0),
        evaluated(10, 2.5, sample="old"),
        progressed(20, 2.0),
        evaluated(20, 2.9),
        {"event": "rolledback", "step": 21, "to_step": 10, "learning_rate": 0.1},
        progressed(20, 1.5),
        evaluated(20, 1.75, sample="new"),
        {"event": "stopped", "step": 20},
        rest='{"event": "progressed", "st',
    )
    assert curves.step.tolist() == [10, 20]
    assert curves.loss_nats.tolist() == [3.0, 1.5]
    assert [(each.step, each.loss_nats, each.sample) for each in curves.evaluations] == [
        (10, 2.5, "old"),
        (20, 1.75, "new"),
    ]
    assert curves.best is curves.evaluations[1]
    assert curves.num_rollbacks == 1


def test_runs_without_records_samples_or_held_out_text_have_curves(tmp_path):
    empty = read_curves(tmp_path)
    assert (len(empty.step), empty.best, empty.samples) == (0, None, [])
    curves = written(tmp_path, evaluated(10, None), evaluated(20, None))
    assert (curves.best, curves.samples) == (None, [])


def test_a_long_curve_is_thinned_to_means():
    assert thinned(np.arange(8.0), 8).tolist() == list(range(8))
    assert thinned(np.arange(8.0), 4).tolist() == [0.5, 2.5, 4.5, 6.5]


def test_chance_and_the_unigram_are_worked_out_from_the_text(run):
    model = read_model(run)
    by_name = {each.name: each for each in predictors(model)}
    size = len(model.tokenizer.vocabulary)
    assert by_name["chance"].perplexity == pytest.approx(size)
    train, valid = (open_ids(run / name, model.tokenizer).tolist() for name in ("train.bin", "valid.bin"))
    nats = [-math.log((train.count(id) + 1) / (len(train) + size)) for id in valid]
    assert by_name["unigram"].loss_nats == pytest.approx(sum(nats) / len(nats))
    results = model.config.results
    assert by_name[NETWORK].loss_nats == results.valid_loss_nats
    assert by_name[NETWORK].bits_per_char == pytest.approx(results.valid_loss_nats / math.log(2))
    assert by_name[f"{results.ngram_order}-gram"].loss_nats == results.ngram_loss_nats
    (run / "train.bin").unlink()
    assert "unigram" not in {each.name for each in predictors(model)}


def test_losses_by_token_and_position_add_up(run):
    model = read_model(run)
    text = text_to_read(model, None, 20_000)
    found = read_surprisals(model, text, passage_length=7)
    ids = open_ids(run / "valid.bin", model.tokenizer)
    assert (found.num_tokens, found.num_chars, len(found.passage)) == (len(ids), len(ids), 7)
    loss = found.total_bits * math.log(2) / found.num_tokens
    assert loss == pytest.approx(model.config.results.valid_loss_nats, abs=1e-4)
    assert sum(each.share for each in found.by_token) == pytest.approx(1)
    assert sum(each.count for each in found.by_token) == found.num_tokens
    assert [each.share for each in found.by_token] == sorted((each.share for each in found.by_token), reverse=True)
    lines = text.split("\n")
    assert found.position_counts[0] == sum(1 for line in lines[:-1]) + bool(lines[-1])
    assert found.position_counts[-1] >= MIN_COUNT


def test_the_position_begins_anew_with_each_line(line_run):
    model = read_model(line_run)
    found = read_surprisals(model, "ab\nabb\n" * 20, passage_length=5)
    assert found.position_counts.tolist() == [40, 40, 40, 20]
    scores = read_surprisals(model, "ab\n", passage_length=5).passage
    assert found.position_bits[0] == pytest.approx(scores[0][1].surprisal_bits, abs=1e-5)
    assert [token.token for _, token in scores] == ["a", "b", "\n"]


def test_the_beginning_of_a_text_is_cut_between_tokens_or_lines(run, line_run):
    assert beginning("The fox", read_model(run).tokenizer, 4) == "The "
    lines = read_model(line_run).tokenizer
    assert beginning("ab\nabb\nab\n", lines, 6) == "ab\n"
    assert beginning("abb", lines, 2) == "ab"


@pytest.mark.parametrize(
    "options",
    [("--tokenizer", "word", "--min-count", 2), ("--tokenizer", "subword", "--vocab-size", 40), ()],
    ids=["word", "subword", "char"],
)
def test_unknown_tokens_of_the_held_out_text_are_unknown_when_it_is_read(options, tmp_path):
    text = "The fox met a cat. The heron saw the fox.\n" * 60
    valid = tmp_path / "valid.txt"
    valid.write_text("The ÿeti met a ÿeti, and the fox.\n" * 3, encoding="utf-8")
    flags = ("--valid", valid, "--steps", 1, "--batch-size", 2, "--bptt", 8, "--ngram-order", 0)
    model = read_model(train_quietly(tmp_path, text, *options, *flags))
    ids = open_ids(model.path / "valid.bin", model.tokenizer).tolist()
    assert model.tokenizer.vocabulary.unknown_id in ids
    assert model.tokenizer.encode(text_to_read(model, None, 1000)).tolist() == ids


def test_a_text_must_be_there(run, tmp_path):
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    model = read_model(run)
    with pytest.raises(TextError, match="contains no token"):
        text_to_read(model, "empty.txt", 10)
    (run / "valid.bin").unlink()
    with pytest.raises(ModelError, match="has no held-out text to read; name a text with --file"):
        text_to_read(model, None, 10)


def test_spaces_between_words_belong_to_the_text():
    class Token:
        def __init__(self, token, start):
            self.token, self.start, self.log_prob_nats = token, start, -1.0

    tokens = [Token("The", 5), Token("fox", 9), Token("<glue>", 12), Token(".", 12), Token("\n", 13)]
    assert [before for before, _ in with_spaces(tokens, "The fox.", 5)] == ["", " ", "", "", ""]
    of_bytes = [Token("<0xC3>", 0), Token("<0xAF>", 0), Token("a", 1)]
    assert [before for before, _ in with_spaces(of_bytes, "ïa")] == ["", "", ""]


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    made = {}
    text = "The fox and the heron. \n" * 400
    for name, options in {
        "first": ("--steps", 30),
        "second": ("--steps", 60, "--seed", 2),
        "words": ("--steps", 20, "--tokenizer", "word"),
        "backward": ("--steps", 20, "--direction", "backward"),
    }.items():
        made[name] = train_quietly(tmp_path_factory.mktemp(name), text, *options, "--batch-size", 4, "--bptt", 16)
    return made


def test_two_runs_are_compared_in_options_results_and_tokens(others):
    found = read_overview([others["first"], others["second"]], ReportOptions(passage=20))
    first, second = found.runs
    assert [table.name for table in found.tables()] == ["results", "options", "losses"]
    assert {row[0] for row in options_table(found.runs).rows} == {"steps", "seed", "files"}
    assert results_table(found.runs).rows[1][0] == second.name
    (comparison,) = found.comparisons
    bits = [run.surprisals.total_bits / run.surprisals.num_chars for run in (first, second)]
    assert [comparison.difference.first, comparison.difference.second] == pytest.approx(bits, abs=1e-5)
    assert all(each.first_bits > each.second_bits for each in comparison.better)
    assert found.is_shared
    assert [len(run.curves.samples) > 0 for run in found.runs] == [True, True]
    assert all(each.span in each.text for each in first.samples)


def test_runs_with_other_tokens_and_directions_are_compared(others):
    found = read_overview([others["first"], others["words"], others["backward"]], ReportOptions(passage=20))
    assert [each.second for each in found.comparisons] == [str(others["words"]), str(others["backward"])]
    assert found.runs[2].samples == []  # a backward model writes no text


def test_a_run_without_held_out_text_is_read_from_a_file(tmp_path):
    made = train_quietly(tmp_path, "ab\n" * 40, "--steps", 4, "--valid-fraction", 0, "--batch-size", 2, "--bptt", 8)
    with collected_notices() as notices:
        found = read_overview([made], ReportOptions())
    assert (found.runs[0].surprisals, found.comparisons) == (None, [])
    assert notices[-1].endswith("has no held-out text to read; to see where its loss is, name a text with --file")
    (tmp_path / "new.txt").write_text("ab\nab\n", encoding="utf-8")
    found = read_overview([made], ReportOptions(file="new.txt"))
    assert found.origin == "new.txt"
    assert found.runs[0].surprisals.num_tokens == 6
