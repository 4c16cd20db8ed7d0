"""Tests of the models that are inspected, and the text that each reads."""

from pathlib import Path

import numpy as np
import pytest

from charnn.analysis.subjects import read_subjects
from charnn.config import InspectOptions
from charnn.errors import ModelError, TextError
from charnn.text.corpus import open_ids
from tests.conftest import train_quietly


def test_a_model_reads_its_held_out_text(run):
    (subject,) = read_subjects([run], InspectOptions())
    stored = open_ids(run / "valid.bin", subject.model.tokenizer)
    np.testing.assert_array_equal(subject.ids, stored)
    assert subject.origin == "held-out text"
    assert subject.inputs[0] == subject.model.tokenizer.vocabulary.boundary_id
    np.testing.assert_array_equal(subject.inputs[1:], stored[:-1])
    (shorter,) = read_subjects([run], InspectOptions(tokens=5))
    np.testing.assert_array_equal(shorter.ids, stored[:5])


def test_a_file_is_read_as_the_model_reads_text(run, line_run):
    Path("two.txt").write_text("ab ab\nb", encoding="utf-8")
    stream, lines = read_subjects([run, line_run], InspectOptions(file="two.txt"))
    assert stream.tokens(stream.ids) == list("ab␣ab⏎b")
    boundary = lines.model.tokenizer.vocabulary.boundary_id
    assert lines.tokens([id for id in lines.ids if id != boundary]) == ["a", "b", "<unk>", "a", "b", "b"]
    assert np.flatnonzero(lines.ids == boundary).tolist() == [5, 7]
    assert stream.origin == "two.txt"


@pytest.mark.parametrize(("unit", "expected"), [("stream", "⏎b⏎ba␣ab"), ("line", "ba␣ab b ")])
def test_a_backward_model_reads_a_file_backward(tmp_path, unit, expected):
    text = "ab\nabb\na b\n" * 60
    run = train_quietly(tmp_path, text, "--steps", 2, "--unit", unit, "--direction", "backward", "--hidden-size", 8)
    Path("two.txt").write_text("ba ab\nb\n", encoding="utf-8")
    (subject,) = read_subjects([run], InspectOptions(file="two.txt"))
    boundary = subject.model.tokenizer.vocabulary.boundary_id
    shown = subject.tokens(subject.ids)
    if unit == "line":
        shown = [" " if id == boundary else token for id, token in zip(subject.ids, shown, strict=True)]
    assert "".join(shown) == expected


def test_what_cannot_be_read_is_named(run):
    Path("empty.txt").touch()
    with pytest.raises(TextError, match=r"empty.txt: "):
        read_subjects([run], InspectOptions(file="empty.txt"))
    (run / "valid.bin").unlink()
    with pytest.raises(ModelError, match="has no held-out text to read; name a text with --file"):
        read_subjects([run], InspectOptions())
    (subject,) = read_subjects([run], InspectOptions(), needs_text=False)
    assert len(subject.ids) == 0
