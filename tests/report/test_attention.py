"""The page of attention: a map of each text with its weights behind it, and nothing of a text is markup."""

import re

import numpy as np
import pytest

import charnn as library
from charnn.analysis.attention import Attention, AttentionSummary
from charnn.report.attention import sections
from charnn.report.page import render
from charnn.report.sections import Picture
from tests.analysis.attention_models import add_attention


def pictures_of(found):
    return [part for section in found for part in section.parts if isinstance(part, Picture)]


@pytest.mark.parametrize("text", ["A $x$ <i>fox</i>", "a", "A fox and a crow. " * 9], ids=["hostile", "short", "long"])
def test_the_map_has_the_tokens_and_the_weights(run, text):
    found = library.inspect("attention", add_attention(run), text=text, tokens=100)
    made = sections(found)
    page = render("Inside", made)
    assert "<i>" not in page
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    bars, heat_map = pictures_of(made)
    assert [row[3] for row in bars.table.rows] == [band[2] for band in found.summaries[0].bands()]
    (text_found,) = found.texts
    assert [row[2] for row in heat_map.table.rows] == np.diag(text_found.weights).tolist()
    assert all(len(row) == len(heat_map.table.columns) for row in heat_map.table.rows)
    written = re.findall(r">([^<>]+)</text>", heat_map.svg)
    for step in text_found.steps:
        assert written.count(step.token.replace("<", "&lt;").replace(">", "&gt;")) >= 2
    assert 'class="wide map" style="--size:' in heat_map.svg
    *_, tokens = made[-1].parts
    assert [row[3] for row in tokens.rows] == [step.log_prob_nats for step in text_found.steps]


def summary(run, window, loss):
    weights = np.full(window, 1 / window)
    return AttentionSummary(run, window, 100, weights, weights, 2.0, 3.0, 0.25, 1.5, loss)


def test_the_figures_stand_in_sentences_and_models_side_by_side():
    worth, distances = sections(Attention([summary("a", 8, 1.75), summary("_<b>", 5, 1.25)], []))
    assert worth.parts[0].startswith(
        "Over 100 tokens, the loss of a is 1.5000 nats per token, and 1.7500 if what attention adds is left out: 0.2500 more."
    )
    assert "25% as long as the output" in worth.parts[0]
    assert "as concentrated as 4.0 equal ones, of 8.0 positions" in worth.parts[0]
    assert "is left out: 0.2500 less." in worth.parts[1]
    (picture,) = distances.parts
    assert "4–7" in picture.svg
    assert "if all positions were weighted equally" in picture.svg
    assert [row[:3] for row in picture.table.rows][-1] == ("_<b>", 4, 4)


def test_without_a_text_to_average_over_there_is_only_the_map(run):
    (add_attention(run) / "valid.bin").unlink()
    (section,) = sections(library.inspect("attention", run, text="A fox"))
    assert section.title == f"Attention: {run} reads “A fox”"
