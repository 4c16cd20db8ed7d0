"""How deep the work stands in the stack: frames of the package from a command's own function to what does the work."""

import sys
from pathlib import Path

import pytest
import torch

from charnn import randomness
from charnn.inference import parallel_maps
from charnn.sampling import selection
from charnn.scoring import estimators
from tests.conftest import FABLES, REPOSITORY


def frames_from(command):
    """Return the package's functions on the stack from a command's own one on, outermost first."""
    frame, names = sys._getframe(2), []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(REPOSITORY / "charnn"):
            names.append(frame.f_code.co_name)
            if path.parent.name == "commands" and frame.f_code.co_name == command:
                return names[::-1]
        frame = frame.f_back
    raise AssertionError(f"{command} is not on the stack: {names}")


@pytest.fixture
def stacks(monkeypatch):
    """Note the stack at each call of a function, its own frame included."""
    noted = []

    def note(owner, name, command):
        function = getattr(owner, name)

        def noting(*arguments, **options):
            noted.append([*frames_from(command), name])
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, noting)
        return noted

    return note


@pytest.mark.parametrize(
    ("owner", "name", "options"),
    [
        (randomness, "draw", ()),
        (randomness, "draw", ("-t", 0.7, "--top-p", 0.9)),
        (selection, "draw", ("--num-samples", 3)),
    ],
    ids=["one", "filtered", "batch"],
)
def test_a_token_is_drawn_six_frames_below_the_command(charnn, run, stacks, owner, name, options):
    noted = stacks(owner, name, "sample")
    assert charnn("sample", "-m", run, "-n", 5, "--seed", 1, *options).status == 0
    assert len(noted) >= 5
    assert max(map(len, noted)) <= 6, max(noted, key=len)


@pytest.mark.parametrize("num_cores", [1, 2])
def test_a_text_is_read_seven_frames_below_the_command(charnn, run, stacks, num_cores, monkeypatch):
    monkeypatch.setattr(parallel_maps, "num_cores", lambda: num_cores)
    noted = stacks(estimators._SteppingReader, "read", "score")
    assert charnn("score", "-m", run, "--text", "The fox slept.").status == 0
    assert len(noted) >= 1
    assert max(map(len, noted)) <= 7, max(noted, key=len)


def test_a_gradient_is_taken_six_frames_below_the_command(charnn, stacks):
    noted = stacks(torch.autograd, "grad", "train")
    options = ("--steps", 3, "--hidden-size", 8, "--threads", 1, "--ngram-order", 0, "-o", "m")
    assert charnn("train", FABLES, *options).status == 0
    of_steps = [stack[:-1] for stack in noted if "_networks" not in stack]  # others time the steps beforehand
    assert len(of_steps) >= 3
    assert max(map(len, of_steps)) <= 6, of_steps[0]
