import os
import shutil

import pytest
import torch

from charnn.config import Architecture, TrainingOptions
from charnn.errors import OptionError
from charnn.training.network import compilation
from charnn.training.network.compilation import compilable_layers, compile_steps, should_compile
from charnn.training.network.layers import EquationLayer
from charnn.training.network.network import Network
from tests.conftest import seeded
from tests.notices import collected_notices

COMPILERS = [name for name in (os.environ.get("CXX", "g++"), "clang++") if shutil.which(name)]


def network(cell="leaky", **options):
    torch.manual_seed(0)
    return Network(Architecture(cell, 11, 4, 6, 1, **options))


def compiled(made, notices, **options):
    chosen = TrainingOptions(batch_size=3, compile="yes", **options)
    with collected_notices(notices):
        return compile_steps(made, chosen, unit="stream", device="cpu", precision="fp32")


@pytest.mark.skipif(not COMPILERS, reason="no C++ compiler on this machine")
@pytest.mark.filterwarnings("ignore")
def test_compiled_steps_are_the_equations(monkeypatch):
    monkeypatch.setattr(EquationLayer, "CHUNK", 2)
    plain, made, notices = network(), network(), []
    before = torch.get_rng_state()
    assert compiled(made, notices)
    assert torch.equal(torch.get_rng_state(), before)
    assert notices == ["compiling the steps of each layer, which takes a minute or so; --compile no does without"]
    ids = torch.arange(15).reshape(5, 3) % 11
    results = []
    for each in (plain, made):
        logits, state = each(ids, each.initial_state(3), seeded())
        logits.square().sum().backward()
        gradients = [weight.grad.to_dense() for weight in each.named_weights().values()]
        results.append([logits, state[0][0], *gradients])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_without_a_compiler_the_steps_run_uncompiled(monkeypatch):
    monkeypatch.setattr(compilation, "_has_compiler", lambda: False)
    made, notices = network(), []
    assert not compiled(made, notices)
    assert notices == [
        "found no C++ compiler (g++, clang++ or $CXX): the steps run uncompiled; install one, or pass --compile no"
    ]
    made(torch.zeros(9, 3, dtype=torch.int64), made.initial_state(3))


def test_if_compilation_fails_the_steps_run_uncompiled(monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("no space left\nand more")

    monkeypatch.setattr(compilation, "_has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", fail)
    made, notices = network(), []
    assert not compiled(made, notices)
    assert notices[-1] == "compiling failed (RuntimeError: no space left): the steps run uncompiled"
    made(torch.zeros(9, 3, dtype=torch.int64), made.initial_state(3))


@pytest.mark.parametrize(
    ("options", "unit", "expected"),
    [
        ({"minutes": 10}, "stream", True),
        ({"minutes": 9}, "stream", False),
        ({"minutes": 60}, "line", False),
        ({"steps": 10**6}, "stream", False),
        ({"minutes": 60, "compile": "no"}, "stream", False),
        ({"steps": 3, "compile": "yes"}, "line", True),
    ],
)
def test_by_default_only_long_runs_of_one_shape_are_compiled(options, unit, expected):
    made = network()
    layers = compilable_layers(made)
    assert len(layers) == 1
    assert should_compile(made.architecture, TrainingOptions(**options), unit=unit, layers=layers) == expected


@pytest.mark.parametrize("cell", ["lstm", "mingru"])
def test_fused_layers_and_scans_have_nothing_to_compile(cell):
    assert compilable_layers(network(cell)) == []
    with pytest.raises(OptionError, match="--compile: has no effect without a cell that runs token by token"):
        compiled(network(cell), [])
