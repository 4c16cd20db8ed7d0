"""Whatever one field of `config.json` is, a model opens or one line says why it does not."""

import contextlib
import copy
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import charnn
from tests.conftest import bounded

VALUES = [None, True, -1, 0, 1, 2.5, 1e300, 10**9, "", "x", "lstm", [], ["x"], {}, {"x": 1}]


def paths_of(value, path=()):
    """Return the paths of all fields of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [each for key, inner in items for each in ((*path, key), *paths_of(inner, (*path, key)))]


def changed(config, path, value):
    """Return a copy in which a field has another value, or is missing if that is an exception class."""
    other = copy.deepcopy(config)
    place = other
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return other


@pytest.fixture(scope="module")
def trained(_trained, tmp_path_factory):
    return shutil.copytree(_trained, tmp_path_factory.mktemp("damaged") / "run")


@pytest.fixture
def run_command(request):
    """Run the command line in this process; the module's name is taken by the library."""
    return request.getfixturevalue("charnn")


@bounded(12, 1500)
@given(data=st.data())
def test_a_field_that_is_missing_or_odd_is_no_internal_error(run_command, trained, data, tmp_path_factory):
    config = json.loads((trained / "config.json").read_text(encoding="utf-8"))
    path = data.draw(st.sampled_from(paths_of(config)), label="path")
    value = data.draw(st.sampled_from([KeyError, *VALUES]), label="value")
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("odd") / "run"))
    try:
        (run / "config.json").write_text(json.dumps(changed(config, path, value)), encoding="utf-8")
        for command in (
            ("info", run),
            ("score", "-m", run, "--text", "The"),
            ("sample", "-m", run, "-n", 2),
            ("train", "--resume", "-o", run, "--steps", 122),
        ):
            result = run_command(*command)
            assert result.status in (0, 1, 2)
            assert "internal error" not in result.err, (command[0], result.err)
            assert "Traceback" not in result.err
        with contextlib.suppress(charnn.CharnnError):
            charnn.load(run).score("The")
    finally:
        shutil.rmtree(run.parent)


@pytest.mark.parametrize("name", ["embedding_order", "num_layers", "skip", "mogrifier_rounds", "hidden_size"])
def test_an_architecture_beyond_all_bounds_is_refused_at_once(run_command, trained, tmp_path, name):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["architecture"][name] = 10**9
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    result = run_command("info", run)
    assert (result.status, len(result.err.splitlines())) == (1, 1)
    assert str(run) in result.err
