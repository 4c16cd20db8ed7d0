"""Tests of the page of gradients: what it says, that names are escaped, and that its tables are the arrays."""

import re
from dataclasses import replace

import numpy as np
import pytest

from charnn.analysis.clipping import Clipping
from charnn.analysis.effective_memory import ContextLosses
from charnn.analysis.gate_saturation import GateSaturation
from charnn.analysis.gradient_norms import StateGradients
from charnn.analysis.gradients import Decay, Gradients, RunGradients
from charnn.report.gradients import sections
from charnn.report.page import render
from charnn.report.sections import Picture

HOSTILE = "<img src=x onerror=alert(1)> $x_{1}$"


def decay(run, weights, part, factor, layer=1):
    median = factor ** np.arange(9.0)
    norms = np.stack((median / 2, median, median * 2), axis=1)
    norms[0] = norms[0] if part == "hidden" else np.nan
    quartiles = np.stack((median * 0.75, median, median * 1.5))
    quartiles[:, 0] = quartiles[:, 0] if part == "hidden" else np.nan
    return Decay(run, "lstm", weights, StateGradients(layer, part, norms), quartiles)


def run_gradients(run, *, num_layers=1):
    decays = [
        decay(run, weights, part, factor, layer)
        for weights, factor in (("untrained", 0.9), ("trained", 0.5))
        for layer in range(1, num_layers + 1)
        for part in ("hidden", "memory")
    ]
    gate = GateSaturation(1, "forget", np.array([0.0, 0.5]), np.array([1.0, 0.25]))
    clipping = Clipping(1.0, np.array([10, 20]), np.array([2.0, 0.5]), np.array([0.4, 0.0]), 0.2)
    network = ContextLosses("network", (1, 2, None), np.array([3.0, 2.105, 2.1]), np.array([0.1, 0.01, 0]), (9, 9, 9))
    ngrams = replace(network, model="7-gram", losses_nats=np.array([3.5, 2.5, 2.5]))
    gates = {"untrained": [gate], "trained": [gate]}
    return RunGradients(run, "lstm", decays, gates, clipping, [network, ngrams])


@pytest.fixture(scope="module")
def page():
    return render("Inside", sections(Gradients([run_gradients("runs/a"), run_gradients(HOSTILE, num_layers=2)])))


def test_names_are_escaped_and_literal(page):
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt; $x_{1}$" in page
    assert "trained &lt;img src=x onerror=alert(1)&gt; $x_{1}$ (lstm)" in page  # in a legend, where it is no formula


def test_no_id_occurs_twice_and_nothing_is_requested(page):
    found = re.findall(r'\sid="([^"]+)"', page)
    assert len(found) == len(set(found))
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)


def test_the_page_says_what_was_found(page):
    assert "Dashed: the n-gram model of the run" in page
    assert page.count("clipped above 1") == 1
    assert "with the last 2 tokens, the loss is within 0.01 nats of the 2.1000 nats per token" in page
    assert "the gradient was scaled down to a norm of 1 in 20.0% of the training steps" in page
    assert "The layers of &lt;img" in page  # of the model with two
    assert "The layers of runs/a" not in page
    assert "norm of d loss(t) / d memory cell(t − k)" in page


def test_the_tables_behind_the_pictures_are_the_arrays():
    run = run_gradients("runs/a")
    found = [part for section in sections(Gradients([run])) for part in section.parts if isinstance(part, Picture)]
    hidden, memory, gates, contexts, excess, clipping = (picture.table for picture in found)
    assert [row[3] for row in hidden.rows] == [0, 1, 2, 4, 8] * 2
    assert [row[4] for row in hidden.rows[:5]] == pytest.approx([1, 0.9, 0.81, 0.9**4, 0.9**8])
    assert [row[3] for row in memory.rows] == [1, 2, 4, 8] * 2
    assert gates.rows == [("untrained", 1, "forget", 0.25, 0.625), ("trained", 1, "forget", 0.25, 0.625)]
    assert [row[2:4] for row in contexts.rows] == [(1, 3.0), (2, 2.105), (None, 2.1), (1, 3.5), (2, 2.5), (None, 2.5)]
    assert excess.rows == contexts.rows
    assert clipping.rows == [("runs/a", 10, 2.0, 0.4), ("runs/a", 20, 0.5, 0.0)]


def test_a_model_without_gates_metrics_or_clipping():
    run = run_gradients("runs/a")
    bare = replace(run, cell="rnn", gates={"untrained": [], "trained": []}, clipping=None, contexts=run.contexts[:1])
    bare = replace(bare, decays=[each for each in run.decays if each.gradients.part == "hidden"])
    html = render("Inside", sections(Gradients([bare])))
    assert "n-gram" not in html
    assert "runs/a: the cell rnn has no gates." in html
    assert "Gradient clipping" not in html
    unclipped = replace(run, clipping=replace(run.clipping, clip_norm=None, clipped_fraction=0.0))
    assert "runs/a: gradients were not clipped." in render("Inside", sections(Gradients([unclipped])))


def test_a_model_that_needs_all_of_its_context():
    run = run_gradients("runs/a")
    network = replace(run.contexts[0], losses_nats=np.array([3.0, 2.5, 2.1]))
    html = render("Inside", sections(Gradients([replace(run, contexts=[network])])))
    assert "no context that was tried is enough; with all of it, the loss is 2.1000 nats per token" in html
