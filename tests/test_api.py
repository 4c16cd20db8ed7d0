"""The Python API: what it offers, that it is what the command line does, and that it is light."""

import ast
import importlib
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import charnn
from charnn.config import ModelOptions, SampleOptions, ScoreOptions, TextOptions, TrainingOptions
from charnn.errors import CharnnError, ModelError, OptionError, TextError, in_terms_of_arguments
from charnn.options import declared_options, flags_of
from charnn.training.events import Evaluated
from tests.config.write_arguments import FILE, content
from tests.conftest import FABLES, REPOSITORY, train_quietly


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    return train_quietly(
        tmp_path_factory.mktemp("api"),
        FABLES.read_text(encoding="utf-8")[:20_000],
        *("--steps", 40, "--hidden-size", 16, "--embedding-size", 8, "--precision", "fp32", "--batch-size", 8),
    )


def test_the_argument_types_are_those_of_the_options():
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "-"],
        input=content(),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert FILE.read_text(encoding="utf-8") == formatted.stdout, "run python -m tests.config.write_arguments"


def test_importing_the_package_loads_neither_numpy_nor_torch():
    program = "import sys, charnn; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "charnn" in loaded
    assert not {"numpy", "torch", "charnn.api", "typer"} & set(loaded)


def test_every_public_name_is_there_and_has_a_docstring():
    assert sorted(charnn.__all__) == charnn.__all__ or set(dir(charnn)) == set(charnn.__all__)
    for name in charnn.__all__:
        assert getattr(charnn, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = charnn.nothing


def test_using_a_model_never_loads_torch(book):
    program = (
        "import sys, charnn\n"
        f"model = charnn.load({str(book)!r})\n"
        "model.sample('The', length=5, seed=1); model.score('The fox.'); model.next_tokens('The'); model.log_probs('The')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_sample_is_the_commands(charnn, book):
    model = load(book)
    sample = model.sample("The fox", length=60, temperature=0.8, seed=7)
    written = charnn("sample", "The fox", "-n", 60, "-t", 0.8, "--seed", 7, "-m", book).out
    assert written == "The fox" + sample.text + "\n" == f"{sample}\n"
    assert "".join(model.stream("The fox", length=60, temperature=0.8, seed=7)) == sample.text
    assert sample.to_dict()["ended"] == "length"
    several = model.sample("The fox", length=60, temperature=0.8, seed=7, num_samples=3)
    assert several[0].text == sample.text
    assert several[0].log_prob_nats == pytest.approx(sample.log_prob_nats)
    assert [each.seed for each in several] == [7, 8, 9]


def test_a_beam_search_finds_texts_best_first(book):
    found = load(book).sample("The", length=8, beam=4, num_samples=3)
    assert len(found) == 3
    assert found[0].log_prob_nats >= found[1].log_prob_nats >= found[2].log_prob_nats
    with pytest.raises(OptionError, match="beam: found with stream"):
        load(book).stream("The", beam=2)


def test_a_score_is_the_commands(charnn, book, tmp_path):
    model = load(book)
    score = model.score("The fox slept.")
    (record,) = map(
        json.loads, charnn("score", "--text", "The fox slept.", "--format", "jsonl", "-m", book).out.splitlines()
    )
    assert score.log_prob_nats == pytest.approx(record["log_prob"], abs=1e-9)
    assert len(score.tokens) == score.num_tokens == record["num_tokens"]
    assert score.perplexity == pytest.approx(np.exp(-score.log_prob_nats / score.num_tokens))
    assert score.bits_per_char == pytest.approx(-score.log_prob_nats / np.log(2) / 15)
    texts = ["The fox slept.", "", "A heron."]
    scores = model.score(texts)
    assert [each.text for each in scores] == texts
    assert scores[0].log_prob_nats == pytest.approx(score.log_prob_nats, abs=1e-6)
    (tmp_path / "lines.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    for lazy in (model.score(iter(texts)), model.score(tmp_path / "lines.txt")):
        assert next(lazy).log_prob_nats == scores[0].log_prob_nats
        assert [each.log_prob_nats for each in lazy] == [each.log_prob_nats for each in scores[1:]]
    with pytest.raises(TextError):
        list(model.score(Path("nowhere.txt")))


def test_a_file_is_a_unit_for_a_path_only(book, tmp_path):
    (tmp_path / "lines.txt").write_text("The fox.\nA heron.\n", encoding="utf-8")
    (score,) = load(book).score(tmp_path / "lines.txt", unit="file")
    assert score.num_tokens == 18
    with pytest.raises(OptionError, match="unit file: found a text that is no file"):
        load(book).score(["The fox."], unit="file")


def test_scores_and_words_become_a_table_in_one_line(book):
    pandas = pytest.importorskip("pandas")
    model = load(book)
    table = pandas.DataFrame(score.to_dict() for score in model.score(["The fox slept.", "A fox."]))
    assert list(table["num_tokens"]) == [15, 7]
    words = pandas.DataFrame(word.to_dict() for word in model.score_words("The fox slept."))
    assert list(words["word"][:3]) == ["The", "fox", "slept."]
    assert list(words["start"][:3]) == [0, 4, 8]
    assert words["surprisal_bits"].sum() == pytest.approx(
        -model.score("The fox slept.").log_prob_nats / np.log(2), abs=1e-4
    )


def test_distributions_are_those_that_scores_are_made_of(book):
    model = load(book)
    log_probs_TV, ids = model.log_probs("The fox"), [token.id for token in model.tokenize("The fox")]
    assert log_probs_TV.shape == (7, len(model.vocabulary))
    np.testing.assert_allclose(np.exp(log_probs_TV).sum(axis=1), 1, atol=1e-9)
    tokens = model.score("The fox").tokens[:7]
    np.testing.assert_allclose(log_probs_TV[np.arange(7), ids], [token.log_prob_nats for token in tokens], atol=1e-4)
    following = model.next_tokens("The fo", top=3)
    assert following[0].prob == pytest.approx(float(np.exp(log_probs_TV[6].max())), abs=1e-5)
    assert sum(token.prob for token in model.next_tokens("The fo", top=None)) == pytest.approx(1)
    (states,) = model.hidden_states("The fox")
    assert states.shape == (7, 16)
    assert model.log_probs("").shape == (0, len(model.vocabulary))


def test_gaps_are_filled(charnn, book):
    model = load(book)
    ranked = model.fill("The ____ slept.", ["fox", "heron", "owl"])
    records = map(
        json.loads,
        charnn(
            "fill", "The ____ slept.", "--candidates", "fox,heron,owl", "--format", "jsonl", "-m", book
        ).out.splitlines(),
    )
    assert [filling.text for filling in ranked] == [record["candidate"] for record in records]
    assert model.fill("The ____ slept.", top=2, max_tokens=3)[0].to_dict()["share"] > 0


def test_models_are_compared_and_interpolated(book, tmp_path):
    model = load(book)
    (tmp_path / "test.txt").write_text("The fox slept.\n" * 30, encoding="utf-8")
    difference = module().compare(model, model, tmp_path / "test.txt")
    assert difference.first == difference.second
    assert not difference.is_clear
    carried, reset = (
        module().compare(model, model, tmp_path / "test.txt", state=state) for state in ("carry", "reset")
    )
    assert carried != difference == reset
    running = module().compare(model, model, tmp_path / "test.txt", unit="stream")
    assert (running.first, running.num_lines) == (pytest.approx(carried.first, abs=1e-6), 30)
    (tmp_path / "latin.txt").write_bytes("caf\xe9 fox\n".encode("cp1252") * 30)
    assert module().compare(model, model, tmp_path / "latin.txt", encoding="cp1252").num_lines == 30
    both = module().interpolate([model, model], weights=[1, 3])
    assert both.weights == (0.25, 0.75)
    assert both.score("The fox.").log_prob_nats == pytest.approx(model.score("The fox.").log_prob_nats, abs=1e-5)
    with pytest.raises(ModelError, match="sampling requires a single model"):
        both.sample("The")
    with pytest.raises(OptionError, match="weights: found 1 for 2 models"):
        module().interpolate([model, model], weights=[1])


def test_training_tells_what_happens_and_goes_on(tmp_path, caplog):
    text = FABLES.read_text(encoding="utf-8")[:8000].replace("\n", "\r\n")
    (tmp_path / "book.txt").write_bytes(text.encode())
    events = []
    small = {"hidden_size": 8, "embedding_size": 4, "batch_size": 4, "bptt_length": 16, "precision": "fp32"}
    with caplog.at_level(logging.INFO, logger="charnn"):
        model = module().train("book.txt", steps=12, **small, output="runs/book", on_event=events.append, compile="no")
    assert type(events[-1]).__name__ == "Stopped"
    assert any("CRLF line ends became LF" in record.message for record in caplog.records)
    assert model.path == Path("runs/book")
    with pytest.raises(ModelError, match="holds a finished model"):
        module().train("book.txt", steps=12, **small, output="runs/book")
    assert all(event.sample for event in events if isinstance(event, Evaluated))
    more = module().train(output="runs/book", resume=True, steps=20)
    assert more.score("The fox.").log_prob_nats != model.score("The fox.").log_prob_nats
    stopped = module().train("book.txt", steps=1000, **small, output="runs/stopped", should_stop=lambda: True)
    assert stopped.models[0].path == Path("runs/stopped")


def test_a_bidirectional_model_is_trained_and_loaded_whole(tmp_path):
    (tmp_path / "book.txt").write_text(FABLES.read_text(encoding="utf-8")[:8000], encoding="utf-8")
    model = module().train(
        "book.txt", direction="both", steps=6, hidden_size=8, embedding_size=4, batch_size=4, bptt_length=16
    )
    assert model.is_bidirectional
    backward_only = charnn.load(model.models[1].path)
    assert model.next_tokens("fox", direction="backward") == backward_only.next_tokens("fox")
    assert model.next_tokens("fox") == model.next_tokens("fox", direction="forward") != backward_only.next_tokens("fox")
    with pytest.raises(charnn.OptionError, match="direction both: a prediction requires one network"):
        model.next_tokens("fox", direction="both")
    gap, names = "The ____ slept.", ["fox", "heron"]
    assert [set(model.fill(gap, names, direction=name)[0].scores) for name in ("forward", "backward", "both")] == [
        {"forward"},
        {"backward"},
        {"forward", "backward"},
    ]
    with pytest.raises(charnn.ModelError, match="holds no model of direction both; train one with direction='both'"):
        backward_only.fill(gap, names, direction="both")
    with pytest.raises(charnn.OptionError, match="mix_ngram: cannot be combined with two networks"):
        model.fill(gap, names, mix_ngram=True)
    assert model.path == Path("runs/book")
    forward, backward = (model.score("The fox.", direction=name) for name in ("forward", "backward"))
    both = model.score("The fox.", direction="both")
    assert both.log_prob_nats == pytest.approx((forward.log_prob_nats + backward.log_prob_nats) / 2)
    assert model.score("The fox.").log_prob_nats == forward.log_prob_nats
    assert model.sample("The", length=3, seed=1).text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.sample("The", top_k=0), "top_k: found 0, but it must be at least 1"),
        (lambda model: model.sample("The", stop="x"), "stop: found 'x', but it must be a list"),
        (lambda model: model.sample("Ж"), "is not in the model's vocabulary"),
        (lambda model: model.score("The", dynamic_rate=0.1), "dynamic_rate: has no effect without dynamic"),
        (lambda model: model.fill("no gap"), "found no gap"),
        (lambda model: model.sample("The", temp=3), "temp: no such option; did you mean temperature?"),
        (lambda _: module().train("x.txt", lr=1), "lr: no such option; did you mean learning_rate?"),
        (lambda model: model.sample("The", topk=3), "topk: no such option; did you mean top_k?"),
        (lambda model: model.score("The", by_word=True), "by_word: no such option"),
        (lambda _: module().train("x.txt", minuts=1), "minuts: no such option; did you mean minutes?"),
        (lambda _: module().load("nowhere"), "nowhere"),
        (lambda _: module().train(), "texts: found none"),
        (lambda _: module().train(FABLES, hidden_size=0), "hidden_size: found 0, but it must be at least 1"),
        (lambda _: module().train(FABLES, bptt_length=0), "bptt_length: found 0, but it must be at least 1"),
        (lambda model: model.sample("The", length=0), "length: found 0, but it must be at least 1, or -1 for no limit"),
        (lambda model: model.stream("The", length=0), "length: found 0, but it must be at least 1, or -1 for no limit"),
        (
            lambda _: module().train(FABLES, seed=2**31),
            "seed: found 2147483648, but it must be at least 0 and below 2147",
        ),
        (lambda _: module().train(FABLES, steps=10**400), "its absolute value must be at most 9223372036854775807"),
        (lambda _: module().train(FABLES, steps=np.int64(-1)), "steps: found -1, but it must be at least 1"),
        (lambda _: module().train(FABLES, resume=True, overwrite=True), "resume: cannot be combined with overwrite"),
        (lambda _: module().train(FABLES, resume=True, recipe="x"), "recipe: "),
        (lambda model: module().train(FABLES, output=model.path), "or name another directory with output"),
    ],
)
def test_errors_speak_of_arguments(book, call, message):
    with pytest.raises(CharnnError) as caught:
        call(load(book))
    assert message in str(caught.value)
    assert "--" not in str(caught.value)


def test_errors_name_the_arguments_of_all_options():
    for options in (TextOptions, ModelOptions, TrainingOptions, SampleOptions, ScoreOptions):
        for name, (_, option) in declared_options(options).items():
            flag = flags_of(name, option)[-1]
            assert in_terms_of_arguments(f"{flag}: found 0") == f"{name}: found 0"


@pytest.mark.parametrize(
    ("message", "translated"),
    [
        ("m: ended; resume with: charnn train --resume -o m", "m: ended; resume with: charnn train --resume -o m"),
        ("pandoc -t plain x -o y, or pass --encoding x", "pandoc -t plain x -o y, or pass encoding x"),
        (
            "runs/: no model; name one with -m RUN, or train one",
            "runs/: no model; name one with path RUN, or train one",
        ),
        ("found a-m -0.5 x--y", "found a-m -0.5 x--y"),
    ],
)
def test_commands_in_errors_stay_as_they_are(message, translated):
    assert in_terms_of_arguments(message) == translated


def test_a_cell_of_ones_own_is_trained_and_runs(tmp_path):
    """h' = tanh(W x + b + h), from outside the package."""
    (tmp_path / "book.txt").write_text(FABLES.read_text(encoding="utf-8")[:8000], encoding="utf-8")
    program = (
        "import charnn, sys\n"
        "def shapes(inputs, hidden):\n"
        "    return {'weight_ih': (hidden, inputs), 'bias_ih': (hidden,)}\n"
        "def step(weights, projected_BG, state, xp):\n"
        "    return (xp.tanh(projected_BG + state[0]),)\n"
        "charnn.register_cell('adder', charnn.Cell(shapes, num_gates=1, num_states=1, step=step))\n"
        "options = dict(hidden_size=8, embedding_size=4, batch_size=4, bptt_length=16)\n"
        "model = charnn.train('book.txt', cell='adder', steps=6, output='own', **options)\n"
        "print(len(model.sample('The', length=20, seed=1).ids), model.score('The fox.').num_tokens)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "20 9\n"), done.stderr
    with pytest.raises(ModelError, match=r"has the cell 'adder'.*call charnn.register_cell\('adder', ...\) first"):
        load("own")
    for name in ("lstm", "No"):
        with pytest.raises(OptionError, match="name: found"):
            module().register_cell(name, None)


def test_notebooks_see_surprisal_and_a_card(book):
    model = load(book)
    shown = model.score("The <fox>\n")._repr_html_()
    assert "&lt;" in shown
    assert "bits per character" in shown
    assert shown.count("background:") == 11
    assert "LanguageModel(" in model._repr_html_()
    assert "nats per token" in model._repr_html_()


def load(path):
    return module().load(path)


def module():
    """The package, which the fixture of the command line has the name of in some tests."""
    return sys.modules["charnn"]


@pytest.mark.parametrize("name", ["__init__", "api"])
def test_names_are_looked_up_where_type_checkers_find_them(name):
    path = REPOSITORY / "charnn" / f"{name}.py"
    (block,) = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.If)]
    declared = {alias.name: node.module for node in block.body for alias in node.names if alias.name != "api"}
    found = module() if name == "__init__" else importlib.import_module("charnn.api")
    assert declared == found._MODULES
    for each in declared:
        assert getattr(found, each) is not None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.sample("a", length="5"), "length: found '5', but it must be an integer"),
        (lambda model: model.sample("a", length=5.5), "length: found 5.5, but it must be an integer"),
        (lambda model: model.sample("a", temperature="0.8"), "temperature: found '0.8', but it must be a number"),
        (
            lambda model: model.sample("a", stop=[3]),
            "stop: found (3,), but it must be a list in which each element is a string",
        ),
        (lambda model: model.sample("a", greedy=1), "greedy: found 1, but it must be true or false"),
        (lambda model: model.sample(None), "prompt: found None, but it must be a string"),
        (lambda model: model.score([3]), "text: found 3, but it must be a string, a list of strings or a path"),
        (
            lambda model: charnn.compare("runs/a", model, "x.txt"),
            "first: found 'runs/a', but it must be a model; load it",
        ),
        (lambda _: charnn.interpolate(["a", "b"]), "models: found 'a', but it must be a model; load it"),
        (lambda model: charnn.interpolate([model, model], [0, 0]), "weights: found 0, but each must be above 0"),
        (lambda _: charnn.train(FABLES, steps="3"), "steps: found '3', but it must be an integer"),
        (lambda _: charnn.train(None), "texts: found None, but it must be a string or a path, or a list of these"),
        (lambda _: charnn.train([FABLES, 3]), "texts: found 3, but it must be a string or a path"),
        (lambda _: charnn.train(FABLES, output=3), "output: found 3, but it must be a string or a path"),
        (lambda _: charnn.load(b"m"), "path: found b'm', but it must be a string or a path"),
        (lambda model: model.sample("a", temperature=None), "temperature: found None, but it must be a number"),
        (lambda model: model.sample("a", stop=None), "stop: found None, but it must be a list"),
        (lambda model: model.sample("a", weights=np.arange(2)), "weights: found array([0, 1]), but it must be one of"),
        (lambda model: model.stream("a" * 200, greedy="b" * 200), f"greedy: found '{'b' * 96}..., but it must be"),
        (lambda model: model.stream(3), "prompt: found 3, but it must be a string"),
        (lambda model: model.score(3), "text: found 3, but it must be a string"),
        (lambda model: model.next_tokens(3), "context: found 3, but it must be a string"),
        (lambda model: model.next_tokens("a", top=-1), "top: found -1, but it must be at least 0"),
        (lambda model: model.next_tokens("a", on_unknown=3), "on_unknown: found 3, but it must be one of"),
        (lambda model: model.fill("a ____", "fox"), "candidates: found 'fox', but it must be a list of strings"),
        (lambda model: model.fill("a ____", ["a", 3]), "candidates: found 3, but it must be a string"),
        (lambda model: model.fill("a ____", beam=0), "beam: found 0, but it must be at least 1"),
        (lambda model: model.fill(3, ["a"]), "text: found 3, but it must be a string"),
        (lambda model: model.tokenize(None), "text: found None, but it must be a string"),
        (lambda model: model.log_probs(["a"]), "text: found ['a'], but it must be a string"),
        (lambda model: model.hidden_states(b"a"), "text: found b'a', but it must be a string"),
        (lambda model: charnn.compare(model, model, 3), "texts: found 3, but it must be a string or a path"),
        (lambda model: charnn.compare(model, model, FABLES, seed=None), "seed: found None, but it must be an integer"),
        (lambda model: charnn.interpolate(model), "models: found LanguageModel("),
        (lambda model: charnn.interpolate([model, model], 3), "weights: found 3, but it must be a list of numbers"),
        (lambda model: charnn.interpolate([model, model], [1, float("nan")]), "weights: found nan, but each must be"),
        (lambda _: charnn.register_cell("own", 3), "cell: found 3, but it must be a charnn.Cell, or a function"),
        (lambda _: charnn.register_cell(3, None), "name: found 3, but it must be a string"),
    ],
)
def test_an_argument_of_another_type_is_an_error_of_charnn(run, call, message):
    with pytest.raises(charnn.OptionError) as found:
        call(charnn.load(run))
    assert str(found.value).startswith(message)


def test_numbers_of_numpy_are_numbers(run):
    model = charnn.load(run)
    text = model.sample("The", length=np.int64(5), temperature=np.float32(0.5), seed=np.int32(3)).text
    assert text == model.sample("The", length=5, temperature=0.5, seed=3).text
    sizes = {"steps": np.int64(2), "hidden_size": np.array(8), "dropout": np.float32(0.25), "tie_weights": np.True_}
    (trained,) = charnn.train(FABLES, output="numbers", seed=np.uint8(3), **sizes).models
    assert trained.config.asked.training.dropout == 0.25
    assert trained.config.asked.model == ModelOptions(hidden_size=8, tie_weights=True)
