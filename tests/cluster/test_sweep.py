"""Sweeps: every combination is trained once, whatever interrupts it, and what does not fit is said before the first run."""

import itertools
import json
import math
import shutil
from pathlib import Path

import pytest

import charnn as package
from charnn.cluster import sweep as sweeps
from charnn.cluster.results import _t_975
from charnn.cluster.settings import combinations, parsed_options
from charnn.errors import OptionError
from charnn.storage.model_directory import read_config
from tests.conftest import FABLES

SMALL = (
    "--steps",
    3,
    "--batch-size",
    4,
    "--bptt",
    16,
    "--ngram-order",
    0,
    "--precision",
    "fp32",
    "--embedding-size",
    4,
)
GRID = ("--option", "hidden_size=4,8", "--option", "cell=rnn,gru", "--seeds", 2)


@pytest.fixture
def text():
    Path("text.txt").write_text(FABLES.read_text(encoding="utf-8")[:3000], encoding="utf-8")
    return "text.txt"


def records(result):
    assert result.status == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def test_every_combination_is_trained_with_every_seed(charnn, text):
    rows = records(charnn("sweep", text, *SMALL, *GRID, "-o", "runs/s", "--format", "jsonl", "--seed", 5))
    assert [(row["hidden_size"], row["cell"]) for row in rows] == list(itertools.product((4, 8), ("rnn", "gru")))
    for row in rows:
        name = f"runs/s/hidden_size-{row['hidden_size']}-cell-{row['cell']}-seed-"
        configs = [read_config(Path(name + seed)) for seed in ("5", "6")]
        assert [config.seed for config in configs] == [5, 6]
        assert {config.architecture.cell for config in configs} == {row["cell"]}
        first, second = (config.results.valid_loss_nats for config in configs)
        assert row["valid_loss_nats"] == pytest.approx((first + second) / 2)
        margin = (
            12.706 * abs(first - second) / 2
        )  # of two values: the t quantile times their deviation over the root of 2
        assert (row["low"], row["high"]) == pytest.approx(
            (row["valid_loss_nats"] - margin, row["valid_loss_nats"] + margin)
        )
        assert row["seeds"] == 2
        assert row["num_parameters"] == package.load(Path(name + "5")).num_parameters


def test_a_run_of_a_sweep_is_that_of_train(charnn, text):
    assert charnn("sweep", text, *SMALL, "--option", "hidden_size=8", "-o", "runs/s", "--seed", 3).status == 0
    assert charnn("train", text, *SMALL, "--hidden-size", 8, "-o", "runs/t", "--seed", 3).status == 0
    one, other = (package.load(run).models[0].weights for run in ("runs/s/hidden_size-8-seed-3", "runs/t"))
    assert all((one[name] == other[name]).all() for name in one)


def test_finished_runs_are_not_done_again_and_more_can_be_added(charnn, text, monkeypatch):
    first = records(charnn("sweep", text, *SMALL, "--option", "hidden_size=4", "-o", "s", "--format", "jsonl"))
    trained = []
    train = sweeps._train
    monkeypatch.setattr(
        sweeps, "_train", lambda *texts, **options: trained.append(options["output"].name) or train(*texts, **options)
    )
    result = charnn("sweep", text, *SMALL, "--option", "hidden_size=4,6", "-o", "s", "--format", "jsonl")
    assert "s: 1 of 2 runs are finished already" in result.err
    assert trained == ["hidden_size-6-seed-1"]
    assert records(result)[0] == first[0]


def test_an_interrupted_run_is_resumed(charnn, text, monkeypatch):
    """The weights are those of a run that was not interrupted."""
    arguments = ("sweep", text, *SMALL, "--option", "hidden_size=8", "--seeds", 2)
    assert charnn(*arguments, "-o", "whole").status == 0
    train = sweeps._train

    def interrupted(*texts, **options):
        train(*texts, **options, should_stop=lambda: True)  # after the first step, with a checkpoint
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sweeps, "_train", interrupted)
        result = charnn(*arguments, "-o", "s")
    assert result.status == 130
    assert "interrupted with 0 of 2 runs finished; the same command goes on from there" in result.err
    assert read_config(Path("s/hidden_size-8-seed-1")).results.stopped == "interrupted"
    assert charnn(*arguments, "-o", "s").status == 0
    for seed in (1, 2):
        models = [package.load(f"{folder}/hidden_size-8-seed-{seed}").models[0] for folder in ("whole", "s")]
        assert all((models[0].weights[name] == models[1].weights[name]).all() for name in models[0].weights)


def test_what_a_run_left_that_was_killed_before_its_first_checkpoint_is_replaced(charnn, text):
    arguments = ("sweep", text, *SMALL, "--option", "hidden_size=8", "-o", "s")
    assert charnn(*arguments).status == 0
    for name in ("training.json", "training.safetensors"):
        Path("s/hidden_size-8-seed-1", name).unlink()
    config = Path("s/hidden_size-8-seed-1/config.json")
    config.write_text(config.read_text().replace('"stopped": "budget"', '"stopped": null'))
    assert read_config(config.parent).results.is_finished is False
    assert charnn(*arguments).status == 0
    assert read_config(config.parent).results.is_finished


def test_a_table_for_people(charnn, text):
    result = charnn("sweep", text, *SMALL, "--option", "tie_weights=yes,no", "--hidden-size", 4, "-o", "s")
    title, heading, _, *rows = result.out.splitlines()
    assert title == "mean validation loss in nats per token over 1 seed"
    assert heading.split() == [
        "tie_weights",
        "seeds",
        "valid_loss_nats",
        "low",
        "high",
        "num_parameters",
        "seconds",
        "cpus",
    ]
    assert [row.split()[0] for row in rows] == ["yes", "no"]
    assert [row.split()[3:5] for row in rows] == [["-", "-"]] * 2
    assert "run 2 of 2 finished: tie_weights=no, seed 1: " in result.err
    assert "lowest mean validation loss: tie_weights=" in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--option", "hidden_size=abc"), "--option hidden_size: found 'abc', but it must be an integer"),
        (("--option", "dropout=x"), "--option dropout: found 'x', but it must be a number"),
        (("--option", "tie_weights=maybe"), "--option tie_weights: found 'maybe', but it must be yes or no"),
        (
            ("--option", "hiddensize=3"),
            "--option: found 'hiddensize', which is no option of train; did you mean hidden_size?",
        ),
        (("--option", "lr=3"), "--option: found 'lr', which is no option of train; did you mean learning_rate?"),
        (("--option", "hidden_size=8,0"), "--hidden-size: found 0, but it must be at least 1"),
        (("--option", "cell=foo"), "--cell: found 'foo', but it must be one of lstm"),
        (("--option", "seed=1,2"), "--option: found seed, which a sweep sets itself; pass --seeds and --seed"),
        (("--option", "threads=1,2"), "--option: found threads, which a sweep sets itself; pass --threads"),
        (("--option", "hidden_size"), "--option: found 'hidden_size', but it must be NAME=VALUE,VALUE"),
        (("--option", "hidden_size=8,8"), "--option hidden_size: found a value twice; list each once"),
        (("--option", "hidden_size=8", "--option", "hidden-size=4"), "--option: found hidden_size twice"),
        (
            ("--hidden-size", 4, "--option", "hidden_size=8"),
            "--option hidden_size: cannot be combined with --hidden-size",
        ),
        (("--option", "direction=both"), "--direction both: a sweep compares single networks"),
        (("--seeds", 0), "--seeds: found 0, but it must be an integer from 1 to 1,000"),
        (("--valid", "nowhere.txt"), "nowhere.txt: no such file"),
        (("--option", "dropout=0.1,0.2", "--cell", "lstm", "--nonlinearity", "relu"), "--nonlinearity"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "message",
)
def test_what_does_not_fit_is_said_before_the_first_run(charnn, text, options, message):
    result = charnn("sweep", text, *SMALL, *options, "-o", "s")
    assert result.status in (1, 2)
    assert message in result.err
    assert not Path("s").exists()


def test_another_sweep_needs_another_directory(charnn, text):
    arguments = ("sweep", text, *SMALL, "--option", "hidden_size=4", "-o", "s")
    assert charnn(*arguments).status == 0
    result = charnn(*arguments, "--dropout", 0.1)
    assert (
        "s: was begun with no --dropout, but this command has --dropout 0.1; name another directory with -o"
        in result.err
    )
    with Path(text).open("a", encoding="utf-8") as file:
        file.write("more\n")
    assert "s: was begun with other texts, or texts that have changed since" in charnn(*arguments).err
    shutil.rmtree("s")
    Path("s").mkdir()
    Path("s/mine.txt").write_text("mine")
    assert "s: exists and is no sweep; name another directory with -o" in charnn(*arguments).err


def test_options_are_named_by_fields_or_flags():
    assert parsed_options(["bptt=16,32", "--hidden-size=8", "tie-weights=yes,no", "warmup=0.1"]) == {
        "bptt_length": [16, 32],
        "hidden_size": [8],
        "tie_weights": [True, False],
        "warmup": [0.1],
    }
    with pytest.raises(OptionError, match="did you mean bptt_length"):
        combinations({"bptt": [1]})


def test_intervals_are_students(text):
    """Of ten values with deviation 1: 2.262 over the root of 10; of very many: that of the normal distribution."""
    losses = tuple((-1) ** number * math.sqrt(0.9) for number in range(10))
    low, high = package.api.SweepResult({}, losses, 1, 1.0, 1).interval_nats
    assert (low, high) == pytest.approx((-0.7153, 0.7153), abs=1e-4)
    assert _t_975(40) == pytest.approx(2.0211, abs=2e-4)
    assert _t_975(999) == pytest.approx(1.9623, abs=2e-4)


def test_the_api_returns_results(text):
    ends = []
    results = package.sweep(
        text,
        {"hidden_size": [4, 6]},
        output="s",
        on_run=ends.append,
        steps=2,
        batch_size=4,
        bptt_length=16,
        ngram_order=0,
    )
    assert [result.setting for result in results] == [{"hidden_size": 4}, {"hidden_size": 6}]
    assert [end.loss_nats for end in ends] == [result.mean_nats for result in results]
    assert results[0].interval_nats is None
    with pytest.raises(package.OptionError, match="option hidden_size: found 8, but it must be a list of values"):
        package.sweep(text, {"hidden_size": 8}, output="s")
    with pytest.raises(package.OptionError, match="hiden_size: no such option; did you mean hidden_size"):
        package.sweep(text, {}, output="s", hiden_size=3)
