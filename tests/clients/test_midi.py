"""`charnn sample --midi`: the notes that music21 reads in the file are those of the tunes."""

import re

import pytest

from charnn.cli.output.midi_output import MidiOutput
from charnn.errors import TextError
from charnn.sampling.streams import Sample
from charnn.storage.model_directory import read_model
from tests.clients.conftest import INSTALL
from tests.conftest import REPOSITORY, train_quietly

music21 = pytest.importorskip("music21", reason=INSTALL)
midi = pytest.importorskip("charnn.export.midi", reason=INSTALL)

TUNES = (REPOSITORY / "corpora" / "tunes.abc").read_text(encoding="utf-8")
SHORT = "X:1\nM:2/4\nL:1/8\nK:G\n|:GA Bc|1 d2 G2:|2 d4|]"
SHORT_PLAYED = ["G4", "A4", "B4", "C5", "D5", "G4", "G4", "A4", "B4", "C5", "D5"]
SMALL = ("--steps", 2, "--batch-size", 2, "--bptt", 16, "--hidden-size", 8)


@pytest.fixture(scope="module")
def of_tunes(tmp_path_factory):
    """A model of tunes."""
    return train_quietly(tmp_path_factory.mktemp("tunes"), TUNES[:3000], "--unit", "tune", *SMALL)


def notes_of(content):
    """The names and starts of the notes in a MIDI file."""
    notes = list(music21.midi.translate.midiStringToStream(content).flatten().notes)
    return [note.pitch.nameWithOctave for note in notes], [float(note.offset) for note in notes]


def test_tunes_are_played_one_after_the_other_with_repeats_and_endings():
    music = midi.music_of([SHORT, "M:4/4\nL:1/4\nK:D\nf c d2|"])
    assert music.refused == {}
    names, starts = notes_of(music.content)
    assert names == [*SHORT_PLAYED, "F#5", "C#5", "D5"]
    assert starts[:6] == [0, 0.5, 1, 1.5, 2, 3]
    assert starts[11:] == [8 + midi.PAUSE + beat for beat in (0, 1, 2)]


def test_each_tune_has_its_tempo():
    four = "M:4/4\nL:1/4\n{}K:C\nCDEF|"
    music = midi.music_of([four.format("Q:1/4=200\n"), four.format(""), four.format("Q:3/8=40\n")])
    marks = music21.midi.translate.midiStringToStream(music.content).flatten().getElementsByClass("MetronomeMark")
    assert [(mark.offset, round(mark.getQuarterBPM())) for mark in marks] == [(0, 200), (8, midi.TEMPO), (16, 60)]


def test_all_voices_are_played_with_their_repeats():
    music = midi.music_of(["M:2/4\nL:1/4\nK:C\nV:1\n|:CD|EF|EF:|\nV:2\n|:GA|Bc|Bc:|"])
    played = music21.midi.translate.midiStringToStream(music.content).flatten().notes
    found = [(each.offset, {pitch.nameWithOctave for pitch in each.pitches}) for each in played]
    bars = [{"C4", "G4"}, {"D4", "A4"}, {"E4", "B4"}, {"F4", "C5"}]
    assert found == list(enumerate(2 * (bars + bars[2:])))


def test_without_metre_and_length_a_note_is_an_eighth():
    assert notes_of(midi.music_of(["X:1\nK:C\nCE2G|"]).content) == (["C4", "E4", "G4"], [0, 0.5, 1.5])


def test_a_tune_without_bars_is_played_as_it_is_written():
    names, _ = notes_of(midi.music_of(["X:1\nL:1/8\nK:C\nC E G"]).content)
    assert names == ["C4", "E4", "G4"]


def test_the_spaces_of_folk_rnn_are_removed():
    music = midi.music_of(["M:2/4\nK:Cdor\nE 2 B, C |"], is_spaced=True)
    assert notes_of(music.content) == (["E-4", "B-3", "C4"], [0, 1, 1.5])


def test_what_is_no_music_is_refused_with_its_reason():
    music = midi.music_of(["X:1\nK:C\n", SHORT, "X:1\nL:one\nK:C\nC|"])
    assert music.refused[0] == "it has no note"
    assert sorted(music.refused) == [0, 2]
    assert notes_of(music.content)[0] == SHORT_PLAYED
    assert midi.music_of(["X:1\nK:C\n"]).content == b""


def test_the_tunes_of_the_corpus_are_music():
    tunes = TUNES.split("\n\n")[:12]
    assert midi.music_of(tunes).refused == {}


@pytest.mark.parametrize("search", [(), ("--beam", 2)], ids=["drawn", "beam"])
def test_samples_are_written_as_music(charnn, of_tunes, tmp_path, search):
    options = ("-n", 1, "--allow", "|", "--midi", "out.mid", *search)
    done = charnn("sample", SHORT, "-m", of_tunes, *options)
    assert done.status == 0, done.err
    assert done.out.rstrip("|\n") == SHORT.rstrip("|")  # a beam may close the tune at once
    assert "wrote 1 tune to out.mid" in done.err
    assert notes_of((tmp_path / "out.mid").read_bytes())[0] == SHORT_PLAYED


def test_samples_that_are_no_music_are_left_out(charnn, of_tunes, tmp_path, capfd):
    done = charnn(
        "sample", "X:1\nK:C\n", "-m", of_tunes, "-n", 1, "--allow", "|", "--num-samples", 2, "--midi", "out.mid"
    )
    assert done.status == 1
    assert done.out.count("K:C") == 2  # the text is shown all the same
    wanted = "--midi: none of the 2 samples can be played; the first: it has no note"
    assert wanted in done.err
    assert not (tmp_path / "out.mid").exists()
    written = MidiOutput(read_model(of_tunes), ["X:1\nK:C\n", SHORT], 1, str(tmp_path / "out.mid"))
    for number, ended in enumerate(("unit", "length")):
        written.take(number, Sample(1, ended=None))
        written.take(number, Sample(1, ended=ended))
    written.write()
    notices = capfd.readouterr().err
    assert f"sample 1: cannot be played: it has no note; left out of {tmp_path / 'out.mid'}" in notices
    assert "wrote 1 tune to" in notices
    assert notes_of((tmp_path / "out.mid").read_bytes())[0] == SHORT_PLAYED


@pytest.mark.parametrize(
    ("tune", "reason"),
    [
        ("X:1\nL:one\nK:C\nC|", "found 'L:one', but a note length is written as in L:1/8"),
        ("X:1\nM:152/\nK:C\nC|", "found 'M:152/', but a metre is written as in M:6/8"),
        ("X:1\nM:6/8\nQ:1/152/\nK:C\nC|", "found 'Q:1/152/', but a tempo is written as in Q:1/4=120"),
        ("X:1\nM:6/8\nK:C\nC [CE", "a chord is not closed with ]"),
        ("X:1\nM:6/8\nK:C\nC/0", "its notes are not valid ABC notation"),
    ],
)
def test_what_cannot_be_read_is_said_in_terms_of_the_notation(tune, reason, capfd):
    assert midi.music_of([tune]).refused == {0: reason}
    assert capfd.readouterr() == ("", "")


def test_a_length_after_the_notes_is_none_of_the_header():
    names, starts = notes_of(midi.music_of(["X:1\nK:C\nAB\nL:1/8\nc"]).content)
    assert (names, starts) == (["A4", "B4", "C5"], [0, 0.5, 1])


@pytest.mark.parametrize(
    ("reasons", "advice"),
    [
        (("length", "length"), "it has no note (cut off by --length); nothing is written; raise --length"),
        (("unit", "length"), "it has no note; nothing is written; sample again, or lower --temperature"),
    ],
)
def test_of_tunes_that_were_cut_off_more_are_advised(of_tunes, tmp_path, capfd, reasons, advice):
    written = MidiOutput(read_model(of_tunes), ["X:1\nK:C\n"] * 2, 1, str(tmp_path / "out.mid"))
    for number, ended in enumerate(reasons):
        written.take(number, Sample(1, ended=ended))
    with pytest.raises(TextError, match=re.escape(f"none of the 2 samples can be played; the first: {advice}") + "$"):
        written.write()
    mixed = MidiOutput(read_model(of_tunes), ["X:1\nK:C\n", SHORT], 1, str(tmp_path / "out.mid"))
    for number in range(2):
        mixed.take(number, Sample(1, ended="length"))
    mixed.write()
    wanted = (
        f"sample 1: cannot be played: it has no note (cut off by --length); left out of {tmp_path / 'out.mid'}; raise"
    )
    assert wanted in capfd.readouterr().err
