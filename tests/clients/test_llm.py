"""charnn's plugin of llm, through llm's own command line."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("llm", reason="needs the extra clients: pip install -e '.[clients]'")

import llm
from click.testing import CliRunner
from llm.cli import cli

import charnn
from charnn.llm_plugin import CharnnModel, model_directories
from tests.conftest import REPOSITORY


@pytest.fixture
def run_llm(tmp_path, monkeypatch):
    """Run llm's command line in this process, with its settings and logs in a directory of the test."""
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    return lambda *arguments: CliRunner().invoke(cli, [str(each) for each in arguments])


def directory_of_model(path):
    """Make a directory look like a model's to what only lists it."""
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def test_llm_continues_a_text_with_a_model_under_runs(run):
    command = [
        sys.executable,
        "-m",
        "llm",
        "-m",
        "charnn/small",
        "The fox",
        "-o",
        "max_tokens",
        "40",
        "-o",
        "seed",
        "7",
    ]
    environment = {**os.environ, "LLM_USER_PATH": "llm"}
    result = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert result.stderr == ""
    assert result.stdout == charnn.load(run).sample("The fox", length=40, seed=7).text + "\n"


def test_llm_lists_models_and_their_options_as_sample_describes_them(run_llm, run):
    listed = run_llm("models", "--options", "-m", "charnn/small").output
    assert "CharnnModel: charnn/small" in listed
    assert "streaming" in listed
    assert "Softmax temperature; 0 is equivalent to greedy." in listed
    assert "--" not in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("The fox 慶",), "Error: prompt: character '慶' (U+6176) at position 9 is not in the model's vocabulary"),
        (("The", "-s", "Be nice."), "Error: system prompts: found one, but charnn's models only continue a text"),
        (("The", "-o", "match", "("), "Error: match: found '(', which is no regular expression"),
        (("The", "-o", "temperature", "-1"), "Error: temperature\n  Input should be greater than or equal to 0"),
        (("The", "-o", "heat", "1"), "Error: heat\n  Extra inputs are not permitted"),
    ],
    ids=["unknown", "system", "regex", "range", "option"],
)
def test_errors_are_llms_own(run_llm, run, arguments, message):
    result = run_llm("-m", "charnn/small", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "--on-unknown" not in result.stderr


def test_the_text_comes_piece_by_piece(run):
    pieces = list(CharnnModel("small", run).prompt("The fox", max_tokens=20, seed=3))
    assert len(pieces) == 20
    assert "".join(pieces) == charnn.load(run).sample("The fox", length=20, seed=3).text


def test_lists_may_be_one_text_or_several(run):
    model = CharnnModel("small", run)
    for stop in ("e", ["e", "o"]):
        text = model.prompt("The fox", seed=3, stop=stop, on_unknown="skip").text()
        assert text == charnn.load(run).sample("The fox", seed=3, stop=[*stop]).text
    unknown = model.prompt("The 慶fox", seed=3, max_tokens=9, on_unknown="skip").text()
    assert unknown == model.prompt("The fox", seed=3, max_tokens=9).text()


def test_a_conversation_goes_on_with_the_whole_text(run):
    conversation = llm.Conversation(model=CharnnModel("small", run))
    first = conversation.prompt("The fox", max_tokens=9, seed=1).text()
    second = conversation.prompt("The hen", max_tokens=9, seed=2).text()
    assert second == charnn.load(run).sample(f"The fox{first}\nThe hen", length=9, seed=2).text


def test_a_conversation_goes_on_from_the_log(run_llm, run):
    options = ("-o", "max_tokens", 9, "-o", "seed", 1)
    first = run_llm("-m", "charnn/small", "The fox", *options).stdout.removesuffix("\n")
    second = run_llm("-c", "The hen", *options)
    assert second.stderr == ""
    expected = charnn.load(run).sample(f"The fox{first}\nThe hen", length=9, seed=1).text
    assert second.stdout == expected + "\n"


def test_models_are_found_by_name_and_by_path(tmp_path, monkeypatch):
    here = directory_of_model(tmp_path / "runs" / "book")
    other, named = directory_of_model(tmp_path / "shelf" / "book"), directory_of_model(tmp_path / "far" / "letters")
    directory_of_model(tmp_path / "runs" / ".hidden")
    (tmp_path / "runs" / "no-model").mkdir()
    assert model_directories() == {"book": here.relative_to(tmp_path)}
    monkeypatch.setenv(
        "CHARNN_MODELS", os.pathsep.join(map(str, (tmp_path / "shelf", named, tmp_path / "missing", named)))
    )
    assert model_directories() == {"book": here.relative_to(tmp_path), str(other): other, "letters": named}


def test_only_a_prompted_model_is_loaded(tmp_path):
    """Each command of llm loads its plugins, which must neither slow it down nor fail for a damaged model."""
    directory_of_model(tmp_path / "runs" / "damaged")
    program = (
        "import sys, llm\n"
        "names = [each.model.model_id for each in llm.get_models_with_aliases()]\n"
        "print('charnn/damaged' in names, *{name for name in sys.modules if name.startswith(('charnn.s', 'charnn.i', 'torch'))})"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("True\n", "")
    program = "import sys, charnn, charnn.api\nprint('llm' in sys.modules, 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False False\n"


def test_a_damaged_model_is_one_line(run_llm, tmp_path):
    damaged = directory_of_model(tmp_path / "runs" / "damaged")
    result = run_llm("-m", "charnn/damaged", "The")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert str(damaged) in result.stderr


def test_the_plugin_is_installed_by_an_entry_point():
    assert 'charnn = "charnn.llm_plugin"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
