import json

import pytest

from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.errors import OptionError
from charnn.options import pick
from charnn.recipes import load_recipe, recipe_names

NARROW = {"hidden_size": "--hidden-size", "embedding_size": "--embedding-size"}


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_names_its_source_and_its_options_hold(name):
    recipe = load_recipe(name)
    assert recipe.about
    assert "(20" in recipe.source
    for group in (TextOptions, ModelOptions, TrainingOptions):
        pick(group, recipe.options)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_trains(charnn, tmp_path, name):
    options = load_recipe(name).options
    text = "the cat sat on the mat <unk> .\nthe cats sat\n"
    text = f"X:1\nK:C\n{text}\n" if options.get("unit") == "tune" else text
    (tmp_path / "text.txt").write_text(text * 40, encoding="utf-8")
    widths = [part for field, flag in NARROW.items() if field in options for part in (flag, 8)]
    small = ("--steps", 3, "--batch-size", 4, "--bptt", 10, "--precision", "fp32")
    done = charnn("train", "text.txt", "--recipe", name, *widths, *small, "-o", "m")
    assert done.status == 0, done.err
    assert ("was made for a GPU" in done.err) == load_recipe(name).needs_gpu
    facts = json.loads(charnn("info", "m", "--json").out)
    assert facts["recipe"] == name
    assert facts["cell"] == options["cell"]
    assert facts["optimizer"] == options.get("optimizer", "muon")
    assert facts["bptt_length"] == 10  # the command line overrides the recipe


def test_recipes_are_listed_with_size_and_source(charnn):
    records = [json.loads(line) for line in charnn("recipes", "--json").out.splitlines()]
    assert [record["recipe"] for record in records] == recipe_names()
    sizes = {record["recipe"]: record["num_parameters"] for record in records}
    assert sizes["awd-lstm-ptb"] == pytest.approx(24.2e6, rel=0.01)  # 24 million in the paper
    assert sizes["zaremba-large"] == pytest.approx(66e6, rel=0.01)  # 66 million in the paper
    assert sizes["mogrifier-ptb"] == pytest.approx(24e6, rel=0.03)
    assert sizes["mogrifier-char"] == pytest.approx(24e6, rel=0.03)
    # 512 units that see 137 tokens or the 512 units below, with two biases as torch has them, and the output layer
    assert sizes["folk-rnn"] == 4 * 512 * (137 + 512 + 2) + 2 * 4 * 512 * (512 + 512 + 2) + 137 * (512 + 1)
    table = charnn("recipes").out
    assert "awd-lstm-wt2" in table
    assert "Merity" in table


def test_a_file_of_ones_own_is_a_recipe_too(charnn, tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 60, encoding="utf-8")
    (tmp_path / "mine.toml").write_text(
        '[model]\ncell = "gru"\nhidden-size = 9\n[training]\nsteps = 2\nlearning-rate = 1\n'
    )
    assert charnn("train", "text.txt", "--recipe", "mine.toml", "--precision", "fp32", "-o", "m").status == 0
    facts = json.loads(charnn("info", "m", "--json").out)
    assert (facts["recipe"], facts["cell"], facts["hidden_size"], facts["steps"]) == ("mine", "gru", 9, 2)
    refused = charnn("train", "--resume", "-o", "m", "--recipe", "mine.toml")
    assert "--recipe: cannot be combined with --resume" in refused.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "[model]\nhiden-size = 3\n",
            "mine.toml, [model]: found 'hiden-size', which is not an option of this table; did you mean hidden-size?",
        ),
        ("[model]\nxyzzy = 3\n", "found 'xyzzy', which is not an option of this table; see charnn train --help-all"),
        (
            "[model]\nhidden-size = 'wide'\n",
            "mine.toml, [model]: hidden-size = 'wide', but it must be a whole number; correct it",
        ),
        ("[training]\nbptt-jitter = 1\n", "bptt-jitter = 1, but it must be true or false"),
        ("[training]\ndropout = 'much'\n", "dropout = 'much', but it must be a number"),
        (
            "cell = 'gru'\n",
            "mine.toml: found 'cell', but a recipe has about, source, guess, gpu and the tables text, model, training",
        ),
        ("[model\n", "mine.toml: is not valid TOML"),
        ("gpu = 'yes'\n", "mine.toml: gpu = 'yes', but it must be true or false"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said_in_one_line(tmp_path, content, message):
    (tmp_path / "mine.toml").write_text(content, encoding="utf-8")
    with pytest.raises(OptionError) as error:
        load_recipe("mine.toml")
    assert message in str(error.value)


def test_a_value_out_of_bounds_is_refused_as_on_the_command_line(charnn, tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat\n" * 60, encoding="utf-8")
    (tmp_path / "mine.toml").write_text("[training]\ndropout = 1.5\n")
    refused = charnn("train", "text.txt", "--recipe", "mine.toml")
    assert "--dropout: found 1.5, but it must be at least 0 and below 1" in refused.err


def test_a_recipe_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(OptionError, match=r"--recipe: found 'awd-lstm', but did you mean awd-lstm-"):
        load_recipe("awd-lstm")
    with pytest.raises(OptionError, match=r"it must be one of awd-lstm-char, .*, or a \.toml file"):
        load_recipe("xyzzy")
    with pytest.raises(OptionError, match=r"--recipe: no such file none\.toml"):
        load_recipe("none.toml")
