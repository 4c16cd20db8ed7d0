import hashlib
import io
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from charnn.config import TextOptions
from charnn.errors import TextError
from charnn.text import decoding, encoding, overlap, passes, selection
from charnn.text.corpus import prepare_corpus
from charnn.text.facts import TextFile
from charnn.text.tokenizers import decode
from tests.notices import collected_notices


def prepared(tmp_path, text, *, seed=1, notes=None, **options):
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    with collected_notices(notes):
        return prepare_corpus(tmp_path, [str(path)], TextOptions(**options), seed=seed)


def texts(corpus):
    return [decode(corpus.tokenizer, corpus.ids(split)) for split in ("train", "valid")]


def test_the_end_of_a_stream_is_held_out(tmp_path):
    text = "".join(f"line {number}\n" for number in range(200))
    corpus = prepared(tmp_path, text)
    cut = int(len(text) * 0.9)
    assert texts(corpus) == [text[:cut], text[cut:]]
    assert (corpus.train.num_tokens, corpus.valid.num_chars) == (cut, len(text) - cut)


@pytest.mark.parametrize("kind", ["char", "byte", "subword"])
def test_all_tokenizers_hold_out_the_same_text(tmp_path, kind):
    text = "the fox said no.\nthe heron wrote it down.\n" * 60
    corpus = prepared(tmp_path, text, tokenizer=kind, vocab_size=None if kind != "subword" else 60)
    assert texts(corpus)[1] == text[int(len(text) * 0.9) :]


def test_the_vocabulary_is_made_from_the_training_part_alone(tmp_path):
    corpus = prepared(tmp_path, "a" * 90 + "b" * 10)
    assert "b" not in corpus.tokenizer.vocabulary.ids
    assert corpus.valid.num_unknown == 10
    assert corpus.valid.num_tokens == 10


def test_whole_lines_are_held_out_by_the_seed(tmp_path):
    all_lines = [f"name{number}" for number in range(100)]
    text = "\n".join(all_lines) + "\n"
    train, valid = (part.splitlines() for part in texts(prepared(tmp_path, text, unit="line")))
    assert len(valid) == 10
    assert sorted(train + valid) == sorted(all_lines)
    again = texts(prepared(tmp_path, text, unit="line"))[1].splitlines()
    other = texts(prepared(tmp_path, text, unit="line", seed=2))[1].splitlines()
    assert valid == again != other


def test_blank_lines_are_no_units(tmp_path):
    corpus = prepared(tmp_path, "a\n\n  \nb\n", unit="line", valid_fraction=0)
    assert texts(corpus)[0] == "a\nb\n"
    assert corpus.train.num_units == 2


@pytest.mark.parametrize("kind", ["char", "byte", "word", "subword"])
def test_documents_end_with_their_boundary(tmp_path, kind):
    text = "one one\none\n\n\ntwo two\n\nthree three three\n\n" * 5
    corpus = prepared(
        tmp_path, text, unit="document", tokenizer=kind, valid_fraction=0, vocab_size=30 if kind == "subword" else None
    )
    ids = corpus.ids("train")
    boundary = corpus.tokenizer.vocabulary.boundary_id
    assert np.count_nonzero(ids == boundary) == corpus.train.num_units == 15
    assert ids[-1] == boundary
    first = ids[: int(np.flatnonzero(ids == boundary)[0])]
    assert decode(corpus.tokenizer, first) == "one one\none"


def test_a_validation_file_leaves_all_of_the_text_for_training(tmp_path):
    (tmp_path / "valid.txt").write_text("held out\n")
    for unit in ("stream", "line"):
        corpus = prepared(tmp_path, "all held out\n" * 9, valid=str(tmp_path / "valid.txt"), unit=unit)
        assert texts(corpus) == ["all held out\n" * 9, "held out\n"]
    assert [file.num_bytes for file in corpus.files] == [13 * 9, 9]


def test_the_files_facts_are_kept(tmp_path):
    corpus = prepared(tmp_path, "text\n")
    assert corpus.files == [TextFile(str(tmp_path / "text.txt"), 5, hashlib.sha256(b"text\n").hexdigest())]


@pytest.mark.parametrize(
    ("text", "options", "held_out"),
    [
        ("one line of text only", {}, True),
        ("short", {}, True),
        ("a", {}, False),
        ("only one\n", {"unit": "line"}, False),
    ],
)
def test_the_shortest_texts_still_train(tmp_path, text, options, held_out):
    notes = []
    corpus = prepared(tmp_path, text, notes=notes, **options)
    assert corpus.train.num_tokens > 0
    assert (corpus.valid.num_tokens > 0) == held_out
    assert any("training without validation" in note for note in notes) != held_out


@pytest.mark.parametrize("unit", ["stream", "line", "document"])
@pytest.mark.parametrize(("text", "message"), [("", "is empty"), (" \n\t\n", "contains only white space")])
def test_a_text_without_text_is_refused(tmp_path, unit, text, message):
    with pytest.raises(TextError) as error:
        prepared(tmp_path, text, unit=unit)
    assert str(error.value) == f"{tmp_path / 'text.txt'}: {message}; there is nothing to learn from"


@pytest.mark.parametrize("kind", ["char", "word"])
@pytest.mark.parametrize("unit", ["stream", "line"])
def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch, unit, kind):
    monkeypatch.setattr(decoding, "CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr(selection, "BLOCK_BYTES", 1 << 14)
    monkeypatch.setattr(encoding, "BLOCK_NUMBERS", 1 << 12)
    monkeypatch.setattr(overlap, "BLOCK_TOKENS", 1 << 12)
    monkeypatch.setattr(passes, "KEPT_BYTES", 1 << 14)
    line = "a line of text, as long as many another one is\n"

    def peak(num_lines):
        (tmp_path / "big.txt").write_text(line * num_lines)
        tracemalloc.start()
        prepare_corpus(tmp_path, [str(tmp_path / "big.txt")], TextOptions(unit=unit, tokenizer=kind), seed=1)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1000)  # imports and caches
    assert peak(50_000) - peak(10_000) < 40_000 * 12  # a few bytes a line at most, a line having 47


def test_the_validation_file_is_left_out_of_a_directory_of_training_text(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_text("train on this\n")
    (tmp_path / "d" / "v.txt").write_text("not on this\n")
    options = TextOptions(valid=str(tmp_path / "d" / "v.txt"))
    with collected_notices() as notes:
        corpus = prepare_corpus(tmp_path, [str(tmp_path / "d")], options, seed=1)
    assert texts(corpus) == ["train on this\n", "not on this\n"]
    assert notes[:2] == [f"{tmp_path / 'd'}: reading 2 files", "the validation file is left out of the training text"]


def test_a_copy_of_standard_input_that_cannot_be_removed_hides_no_error(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "the file is in use")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"not UTF-8: \x92\n")))
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(TextError, match="byte 0x92 at offset 11 is not UTF-8"):
        prepare_corpus(tmp_path, ["-"], TextOptions(), seed=1)
