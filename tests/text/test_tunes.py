"""Tunes in ABC notation as units of text, and the corpus of them."""

import json
import re
import shutil
import subprocess
import sys
from fractions import Fraction

import pytest

from charnn.errors import TextError
from charnn.text.tunes import numbered_tunes, tunes
from charnn.text.unit_kinds import has_own_boundary, separator_of
from tests.conftest import REPOSITORY

TUNES = REPOSITORY / "corpora" / "tunes.abc"
FILE = """%abc-2.1
% about the file

X:1
T:One
K:G
|:GABc d4:|% a comment
% another one
X: 2
T:Two
K:D
d8|

Text between tunes,
on two lines

M:3/4
K:Cmaj
C 2 E 2 G 2 |

M:4/4
L:1/8
"""


def test_a_tune_begins_with_its_number_and_ends_before_a_blank_line_or_the_next_number():
    notes = []
    found = list(numbered_tunes(iter([FILE[:60], FILE[60:]]), "file.abc", notes))
    assert found == [
        (4, "X:1\nT:One\nK:G\n|:GABc d4:|% a comment\n% another one"),
        (9, "X: 2\nT:Two\nK:D\nd8|"),
        (17, "M:3/4\nK:Cmaj\nC 2 E 2 G 2 |"),  # as folk-rnn's files have them, without a number
    ]
    assert notes == [
        "file.abc: 3 blocks of text that are not tunes (no X: at the beginning) are left out; the first, in line 1: '%abc-2.1'"
    ]


def test_one_block_that_is_left_out_is_shown_shortened():
    notes = []
    text = "X:1\nK:C\nC|\n\n" + "A long line of prose that goes on, and on, and on\n"
    assert list(tunes(iter([text]), "t.abc", notes)) == ["X:1\nK:C\nC|"]
    assert notes == [
        "t.abc: 1 block of text that is not a tune (no X: at the beginning) is left out; the first: "
        "'A long line of prose that goes on, an...'"
    ]


@pytest.mark.parametrize("line", ["Q: who is there?", "|: A B :|", "the X:1", " X:1", "A:|", "M:4/4"])
def test_other_text_is_no_tune(line):
    with pytest.raises(TextError, match=re.escape(f"t.txt:3: found {line.strip()!r}, but a tune")):
        list(tunes(iter(["\n\n" + line + "\nmore\n"]), "t.txt"))


def test_which_units_have_a_boundary_of_their_own():
    assert [unit for unit in ("stream", "line", "document", "tune", "file") if has_own_boundary(unit)] == [
        "document",
        "tune",
    ]
    assert (separator_of("file"), separator_of("document")) == ("\n", "\n\n")


@pytest.mark.parametrize("tokenizer", ["char", "byte", "word", "subword"])
def test_a_model_of_tunes_scores_samples_and_resumes(charnn, tmp_path, tokenizer):
    """The same tunes as documents give the same model: only what is left out differs."""
    text = "\n".join(TUNES.read_text(encoding="utf-8").split("\n\n")[:30])
    (tmp_path / "tunes.abc").write_text("%abc-2.1\n\n" + text, encoding="utf-8")
    (tmp_path / "documents.txt").write_text(text.replace("\nX:", "\n\nX:"), encoding="utf-8")
    small = ("--steps", 2, "--batch-size", 2, "--bptt", 16, "--hidden-size", 8, "--precision", "fp32")
    options = ("--tokenizer", tokenizer, *(("--vocab-size", 120) if tokenizer == "subword" else ()), *small)
    done = charnn("train", "tunes.abc", "--unit", "tune", *options, "-o", "m")
    assert done.status == 0, done.err
    assert "tunes.abc: 1 block of text that is not a tune" in done.err
    assert "(27 tunes)" in done.err
    assert charnn("train", "documents.txt", "--unit", "document", *options, "-o", "d").status == 0
    facts, of_documents = (json.loads(charnn("info", model, "--json").out) for model in "md")
    assert facts["valid_loss_nats"] == of_documents["valid_loss_nats"]
    assert facts["valid_protocol"] == "--unit tune --state reset"
    records = charnn("score", "tunes.abc", "-m", "m", "--unit", "tune", "--format", "jsonl").out.splitlines()
    assert len(records) == 30
    assert json.loads(records[1])["num_chars"] == len(text.split("\nX:2")[1].split("\nX:3")[0]) + 4


def test_held_out_tunes_may_be_a_file(charnn, tmp_path):
    content = TUNES.read_text(encoding="utf-8").split("\n\n")
    (tmp_path / "a.abc").write_text("\n\n".join(content[:20]), encoding="utf-8")
    (tmp_path / "b.abc").write_text("% header\n\n" + "\n\n".join(content[20:23]), encoding="utf-8")
    (tmp_path / "prose.txt").write_text("The fox slept.\n", encoding="utf-8")
    train = ("train", "a.abc", "--unit", "tune", "--steps", 1, "--hidden-size", 8, "--batch-size", 2, "--bptt", 16)
    done = charnn(*train, "--valid", "b.abc", "-o", "m")
    assert done.status == 0, done.err
    assert "b.abc: 1 block of text that is not a tune" in done.err
    assert "held out (3 tunes)" in done.err
    refused = charnn(*train, "--valid", "prose.txt", "-o", "other")
    assert refused.status == 1
    wanted = (
        "found 'The fox slept.', but a tune in ABC notation begins with a line such as X:1; name files in ABC notation"
    )
    assert f"prose.txt:1: {wanted}" in refused.err
    for command in (
        ("train", "prose.txt", "--unit", "tune", "-o", "other"),
        ("score", "prose.txt", "-m", "m", "--unit", "tune"),
        ("compare", "m", "m", "prose.txt", "--unit", "tune"),
        ("inspect", "gradients", "m", "--file", "prose.txt"),
    ):
        done = charnn(*command)
        assert (done.status, f"prose.txt:1: {wanted}" in done.err) == (1, True), done.err


def test_the_report_of_a_model_of_tunes_reads_a_file_of_them(charnn, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra report")
    (tmp_path / "a.abc").write_text(TUNES.read_text(encoding="utf-8")[:6000], encoding="utf-8")
    train = ("train", "a.abc", "--unit", "tune", "--steps", 1, "--hidden-size", 8, "--batch-size", 2, "--bptt", 16)
    assert charnn(*train, "-o", "m").status == 0
    for options in ((), ("--file", "a.abc")):
        done = charnn("report", "m", *options, "-o", "page.html")
        assert done.status == 0, done.err


def test_the_corpus_is_what_its_script_makes(tmp_path):
    shutil.copy(REPOSITORY / "corpora" / "make_tunes.py", tmp_path)
    subprocess.run([sys.executable, tmp_path / "make_tunes.py"], check=True)
    assert (tmp_path / "tunes.abc").read_bytes() == TUNES.read_bytes()


def fields_and_music(tune):
    lines = tune.splitlines()
    fields = {line[0]: line[2:] for line in lines if re.match("[A-Z]:", line)}
    return fields, "".join(line for line in lines if not re.match("[A-Z]:", line))


def length_in_eighths(bar):
    """The length of a bar, by a reading of its notes that knows nothing of the script."""
    lengths = []
    for note in bar.split():
        while note:
            match = re.match(r"\^?[A-Ga-g][,']*(\d*)(/?)", note)
            assert match, bar
            lengths.append(Fraction(int(match[1] or 1), 2 if match[2] else 1))
            note = note[match.end() :]
    return sum(lengths)


def test_every_bar_of_the_corpus_has_the_length_of_its_metre():
    found = list(tunes(iter([TUNES.read_text(encoding="utf-8")]), "tunes.abc"))
    assert len(found) >= 300
    assert {fields_and_music(tune)[0]["R"] for tune in found} == {"reel", "jig", "waltz", "polka"}
    assert len({fields_and_music(tune)[0]["T"] for tune in found}) == len(found)
    for number, tune in enumerate(found, start=1):
        fields, music = fields_and_music(tune)
        assert "".join(fields) == "XTRMLK"
        assert (fields["X"], fields["L"]) == (str(number), "1/8")
        whole = Fraction(fields["M"]) * 8
        for part in re.findall(r"\|:(.*?)(?::\|(?!2)|\|\])", music):
            body, *endings = re.split(r"\|1 |:\|2 ", part)
            bars = [length_in_eighths(bar) for bar in body.split("|")]
            lasts = [length_in_eighths(bar) for bar in endings] or [bars.pop()]
            pickup = bars.pop(0) if bars[0] < whole else 0
            assert bars == [whole] * 7, tune
            assert all(last + pickup == whole for last in lasts), tune
        assert music.count("|:") == music.count(":|") >= 2


def test_a_model_of_tunes_scores_abc_files_tune_by_tune_unless_a_unit_is_chosen(charnn, tmp_path):
    text = "\n\n".join(TUNES.read_text(encoding="utf-8").split("\n\n")[1:12])
    (tmp_path / "tunes.abc").write_text(text, encoding="utf-8")
    options = ("--steps", 1, "--batch-size", 2, "--bptt", 16, "--hidden-size", 8)
    assert charnn("train", "tunes.abc", "--unit", "tune", *options, "-o", "m").status == 0
    assert charnn("train", "tunes.abc", *options, "-o", "running").status == 0
    for name in ("mine.abc", "mine.txt"):
        (tmp_path / name).write_text("X:1\nK:C\nCDE|\n\nX:2\nK:G\nGAB|\n", encoding="utf-8")
    for model, name, chosen, wanted in (
        ("m", "mine.abc", (), "2 tunes,"),
        ("m", "mine.abc", ("--unit", "line"), "7 lines,"),
        ("m", "mine.txt", (), "7 lines,"),
        ("running", "mine.abc", (), "7 lines,"),
    ):
        shown = charnn("score", name, "-m", model, *chosen)
        assert shown.status == 0, shown.err
        assert shown.out.splitlines()[-1].startswith(wanted)
    import charnn as library

    assert [score.text for score in library.load("m").score(tmp_path / "mine.abc")] == [
        "X:1\nK:C\nCDE|",
        "X:2\nK:G\nGAB|",
    ]
