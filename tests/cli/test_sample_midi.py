"""What `charnn sample --midi` refuses; tests/clients reads what it writes."""

import sys

import pytest

from tests.conftest import REPOSITORY

TUNES = (REPOSITORY / "corpora" / "tunes.abc").read_text(encoding="utf-8")[:3000]
SMALL = ("--steps", 1, "--batch-size", 2, "--bptt", 16, "--hidden-size", 8)


def test_a_model_of_other_text_is_refused(charnn, run):
    refused = charnn("sample", "-m", run, "-n", 3, "--midi", "out.mid")
    assert (refused.status, refused.out) == (2, "")
    wanted = "a model with --unit stream, but only tunes can be played; leave it out, or train on ABC notation with --unit tune"
    assert f"--midi: found {run}, {wanted}" in refused.err


def test_a_missing_library_is_named_before_anything_is_written(charnn, tmp_path, monkeypatch):
    (tmp_path / "tunes.abc").write_text(TUNES, encoding="utf-8")
    assert charnn("train", "tunes.abc", "--unit", "tune", *SMALL, "-o", "m").status == 0
    monkeypatch.setitem(sys.modules, "music21", None)
    monkeypatch.delitem(sys.modules, "charnn.export.midi", raising=False)
    done = charnn("sample", "-m", "m", "-n", 3, "--midi", "out.mid")
    assert (done.status, done.out) == (1, "")
    assert "sample --midi: music21 is not installed; in the clone, run pip install -e '.[music]'" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--load-state", "x"), "--midi: cannot be combined with --load-state"),
        (("--interactive",), "--midi: cannot be combined with --interactive"),
        (("-n", 0, "--save-state", "x"), "--midi: cannot be combined with --length 0"),
        (("-o", "out.mid"), "--midi: found out.mid, which --output writes to as well; name two files"),
    ],
)
def test_what_it_cannot_be_combined_with(charnn, run, options, message):
    refused = charnn("sample", "-m", run, "--midi", "out.mid", *options)
    assert refused.status == 2
    assert message in refused.err
