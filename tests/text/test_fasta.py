"""FASTA: records as lines, letters, both strands, and files that are none."""

import gzip
import importlib.util
import os
from collections import deque
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import TextOptions
from charnn.errors import OptionError, TextError, UnusedOptionError
from charnn.text.corpus import prepare_corpus
from charnn.text.fasta import Fasta, Record, alphabet_of, fasta_text, is_fasta_name
from charnn.text.fasta_sources import sequences_of
from charnn.text.kept_tokenizer import KeptTokenizer
from charnn.text.labels import read_labels
from charnn.text.located import read_located
from charnn.text.reading import read_text
from charnn.text.selection import Selection
from charnn.text.sources import find_sources
from charnn.text.strands import reverse_complement
from charnn.text.tokenizers import CharTokenizer, decode, load_tokenizer
from charnn.text.vocabulary import Vocabulary
from tests.conftest import REPOSITORY
from tests.notices import collected_notices

DNA = ">a first one\nACGTA\nacgtNNNN\nNNRYAC\n\n>b\nGG CC\n"
SEQUENCES = {("upper", "collapse"): "ACGTAACGTNAC\nGGCC\n", ("keep", "keep"): "ACGTAacgtNNNNNNRYAC\nGGCC\n"}
SEQUENCES |= {("upper", "skip"): "ACGTAACGTAC\nGGCC\n", ("upper", "keep"): "ACGTAACGTNNNNNNRYAC\nGGCC\n"}
PROTEINS = ">p1\nMKVLWEE\n>p2\nMFFQPLXX*\n"
TEN = "".join(f">r{number}\n{'ACGTT' * number}\n" for number in range(1, 11))


def written(tmp_path, name, content):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(tmp_path / name)


def prepared(tmp_path, *files, **options):
    return prepare_corpus(tmp_path, [*files], TextOptions(**{"valid_fraction": 0, **options}), seed=1)


def text_of(corpus, split="train"):
    return decode(corpus.tokenizer, corpus.ids(split).tolist())


@pytest.mark.parametrize("unit", ["stream", "line"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(("case", "ambiguous"), SEQUENCES)
def test_each_record_is_a_line(tmp_path, case, ambiguous, packed, unit):
    content = gzip.compress(DNA.encode(), mtime=0) if packed else DNA.replace("\n", "\r\n")
    path = written(tmp_path, "x.FNA.gz" if packed else "x.fasta", content)
    corpus = prepared(tmp_path, path, fasta_case=case, ambiguous=ambiguous, unit=unit)
    assert text_of(corpus) == SEQUENCES[case, ambiguous]
    assert corpus.tokenizer.fasta == Fasta("DNA", case, ambiguous)
    assert load_tokenizer("t", corpus.tokenizer.files()).fasta == corpus.tokenizer.fasta


def slowly(text, one="N"):
    """Return the records of FASTA, line by line and letter by letter."""
    sequences = []
    for line in text.split("\n"):
        if line.startswith(">"):
            sequences.append("")
        elif line.strip():
            sequences[-1] += "".join(line.split()).upper()
    lines = []
    for sequence in sequences:
        kept = ""
        for letter in sequence:
            is_certain = letter in "ACGTU"
            kept += letter if is_certain else "" if kept.endswith(one) else one
        lines.append(kept + "\n")
    return "".join(lines)


LINE = st.text("ACGTacgtNnR", min_size=1, max_size=7)
RECORDS = st.lists(
    st.tuples(st.text("ab >c", max_size=4), st.lists(LINE, min_size=1, max_size=4)), min_size=1, max_size=4
)


@given(records=RECORDS, ending=st.sampled_from(["", "\n", "\n\n"]), cuts=st.lists(st.integers(0, 80), max_size=6))
def test_chunks_end_anywhere(records, ending, cuts):
    text = "\n".join(">" + name + "\n" + "\n".join(lines) for name, lines in records) + ending
    bounds = [0, *sorted(cuts), len(text)]
    chunks = [text[first:last] for first, last in pairwise(bounds)]
    found: deque[Record] = deque()
    assert "".join(fasta_text("x.fa", iter(chunks), Fasta(), records=found)) == slowly(text)
    starts = [number for number, line in enumerate(text.split("\n"), start=1) if line.startswith(">")]
    assert [record.line for record in found] == starts


def test_what_was_read_is_said(tmp_path):
    path = written(tmp_path, "x.fa", DNA)
    with collected_notices() as notices:
        prepared(tmp_path, path)
    assert notices[0] == (
        f"{path}: 2 records of 23 bases; 4 lower-case letters became upper case (--fasta-case keep keeps them); "
        "1 run of N and the like (8 letters) became one N each (--ambiguous)"
    )


def test_proteins_are_found_by_their_letters(tmp_path):
    corpus = prepared(tmp_path, written(tmp_path, "p.faa", PROTEINS))
    assert text_of(corpus) == "MKVLWEE\nMFFQPLX*\n"
    assert corpus.tokenizer.fasta is not None
    assert (corpus.tokenizer.fasta.alphabet, corpus.tokenizer.fasta.letter) == ("protein", "residue")


@pytest.mark.parametrize(
    ("sequence", "alphabet"),
    [
        ("NNNNNNACGTR", "DNA"),
        ("ACGUN", "RNA"),
        ("acgt", "DNA"),
        ("NRYSWKMB", "DNA"),
        ("RSWL", "protein"),
        ("MKVLACG", "protein"),
    ],
)
def test_alphabets(sequence, alphabet):
    assert alphabet_of("x.fa", f"\n>name with ACGT\n{sequence}\n") == alphabet


def test_a_name_may_say_that_short_sequences_are_proteins():
    assert [alphabet_of(name, ">p\nMKVDSTRAG\n") for name in ("p.FAA.gz", "p.fa")] == ["protein", "DNA"]


@pytest.mark.parametrize("name", ["a.fa", "A.FASTA", "b.fna.gz", "c.faa.zst", "d.ffn.xz", "e.frn"])
def test_names(name):
    assert is_fasta_name(name)
    assert not is_fasta_name(name + ".txt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.fa",
            "A Persian book\n",
            ":1: found 'A Persian book', but FASTA begins with a line such as >name; if it is plain",
        ),
        ("x.fa", "\n\nACGT\n>a\nA\n", ":3: found 'ACGT', but FASTA begins"),
        ("x.fa", ">a\n\n>b\nACGT\n", ":1: found no sequence after >a; complete it"),
        ("x.fa", ">a\nACGT\n>b second\n", ":3: found no sequence after >b; complete it"),
        ("x.fa", ">a\nACGT\n>b\nACGT\nAC1T\n", ":5: found '1' in >b, which is not a base (ACGTU, or a code of IUPAC)"),
        ("x.fa", f">a\n{'ACGT' * 20}\n>p\nMKVL\n", ":4: found 'L' in >p, which is not a base"),
        ("x.faa", ">p\nMKVLF\n\nMK;L\n", ":4: found ';' in >p, which is not an amino acid, * or -; correct it"),
        ("x.fa", ">a\nACGTé\n", ":2: found 'é' in >a"),
        ("x.fa", "", ": is empty"),
        ("x.fa.gz", gzip.compress(DNA.encode() * 99, mtime=0)[:-20], ": is damaged or cut short"),
        ("x.fa", b">a\nAC\xff\n", ":2: byte 0xff at offset 5 is not UTF-8"),
    ],
)
def test_what_is_no_fasta_is_named(tmp_path, name, content, message):
    path = written(tmp_path, name, content)
    with pytest.raises(TextError) as error:
        prepared(tmp_path, path)
    assert str(error.value).startswith(f"{path}{message}")


def test_options_for_fasta_alone(tmp_path):
    fasta, text = written(tmp_path, "x.fa", DNA), written(tmp_path, "x.txt", DNA)
    proteins = written(tmp_path, "p.fa", PROTEINS)
    for options in ({"fasta_case": "keep"}, {"ambiguous": "skip"}, {"reverse_complement": True}):
        with pytest.raises(UnusedOptionError, match=r"FASTA \(\.fa, \.fasta"):
            prepared(tmp_path, text, **options)
        with pytest.raises(UnusedOptionError, match="--tokenizer char"):
            TextOptions(tokenizer="byte", **options)
    with pytest.raises(
        OptionError, match=r"--unit document: found FASTA, .*x\.fa, which has no documents; use --unit line"
    ):
        prepared(tmp_path, fasta, unit="document")
    for tokenizer in ("word", "bins"):
        with pytest.raises(
            OptionError, match=rf"--tokenizer {tokenizer}: found FASTA, .*x\.fa.*; use --tokenizer char"
        ):
            prepared(tmp_path, fasta, tokenizer=tokenizer)
    with pytest.raises(OptionError, match="--column: found FASTA"):
        prepared(tmp_path, fasta, column="a")
    with pytest.raises(
        TextError, match=r"x\.txt: is not FASTA by its name, but .*x\.fa is; train on files of one kind"
    ):
        prepared(tmp_path, fasta, text)
    with pytest.raises(OptionError, match=r"--reverse-complement: found letters in .*p\.fa that are not bases"):
        prepared(tmp_path, proteins, reverse_complement=True)
    assert text_of(prepared(tmp_path, fasta, tokenizer="byte")) == DNA


@pytest.mark.parametrize("unit", ["stream", "line"])
@pytest.mark.parametrize("block", [3, 1 << 20])
def test_both_strands_of_the_training_text_alone(tmp_path, monkeypatch, unit, block):
    monkeypatch.setattr("charnn.text.strands.BLOCK_TOKENS", block)
    path = written(tmp_path, "x.fa", TEN)
    one = prepared(tmp_path, path, unit=unit, valid_fraction=0.2)
    train, valid, sizes = text_of(one), text_of(one, "valid"), one.train
    both = prepared(tmp_path, path, unit=unit, valid_fraction=0.2, reverse_complement=True)
    given = train.removesuffix("\n").split("\n")
    expected = [*given, *(reverse_complement(sequence) for sequence in reversed(given))]
    assert text_of(both).removesuffix("\n").split("\n") == expected
    assert text_of(both, "valid") == valid
    assert both.train.num_tokens == len(both.ids("train"))
    assert both.train.num_tokens >= 2 * sizes.num_tokens


def test_the_other_strand_of_a_record_has_its_label(tmp_path):
    files = [
        written(tmp_path, f"{name}.fa", TEN.replace("ACGTT", base)) for name, base in (("a", "AAAAG"), ("c", "CG"))
    ]
    options = {"unit": "line", "label_from": "file", "valid_fraction": 0.2, "reverse_complement": True}
    corpus = prepared(tmp_path, *files, **options)
    sequences = text_of(corpus).removesuffix("\n").split("\n")
    expected = [corpus.labels[number - 1].name for number in read_labels(tmp_path, "train")]
    assert ["c" if set(sequence) == set("CG") else "a" for sequence in sequences] == expected
    assert {each.name: each.num_train for each in corpus.labels} == {name: expected.count(name) for name in "ac"}
    assert len(read_labels(tmp_path, "valid")) == corpus.valid.num_units == 4


def test_subwords_of_lower_case_are_those_of_the_training_text(tmp_path):
    path, options = written(tmp_path, "x.fa", TEN), {"tokenizer": "subword", "vocab_size": 16}
    folded, kept = (prepared(tmp_path, path, **options, fasta_case=case).tokenizer for case in ("upper", "keep"))
    assert folded.encode("acgtt").tolist() == folded.encode("ACGTT").tolist() == kept.encode("ACGTT").tolist()
    assert kept.vocabulary.unknown_id in kept.encode("acgtt")


def test_reverse_complements():
    assert reverse_complement("AACGTRYKMBVDHSWNX-acg") == "cgt-XNWSDHBVKMRYACGTT"
    assert reverse_complement("AACGU", is_rna=True) == "ACGUU"


def test_strands_of_rna(tmp_path):
    path = written(tmp_path, "x.frn", ">a\nAACGU\n")
    assert text_of(prepared(tmp_path, path, reverse_complement=True)) == "AACGU\nACGUU\n"


def test_of_a_beginning_whole_lines_are_read(tmp_path):
    (source,) = find_sources([written(tmp_path, "x.fa", TEN)])
    source = replace(source, fasta=Fasta(), num_bytes=len(TEN) // 2)
    beginning = "".join(read_text([source], "utf-8"))
    assert slowly(TEN).startswith(beginning.removesuffix("\n"))
    assert 0.3 * len(slowly(TEN)) < len(beginning) < 0.7 * len(slowly(TEN))


def test_the_name_is_part_of_the_key_of_the_cache(tmp_path):
    paths = [written(tmp_path, name, DNA) for name in ("x.fa", "x.txt")]
    keys = []
    for path, fasta in zip(paths, (Fasta(), None), strict=True):
        (source,) = find_sources([path])
        text = Selection([replace(source, fasta=fasta)], [], TextOptions(), 1)
        keys.append(text.cache_key(text.facts()))
    assert keys[0] != keys[1]


def test_a_model_of_fasta_reads_it_everywhere(tmp_path):
    named, other = written(tmp_path, "x.fa", DNA), written(tmp_path, "renamed.txt", DNA)
    plain, tokenizer = written(tmp_path, "plain.txt", "ACGT\n"), prepared(tmp_path, named).tokenizer
    read = sequences_of(find_sources([named, other, plain]), tokenizer)
    assert [source.fasta for source in read] == [tokenizer.fasta, tokenizer.fasta, None]
    assert all(source.fasta is None for source in sequences_of(read[:0] + find_sources([named]), tokenizer_of_text()))
    found = read_located([named, plain], tokenizer, unit="line", encoding="utf-8")
    (group,) = found.groups
    rows = [
        (text, *(lambda origin: (origin.cells["record"], origin.line))(group.next_origin())) for text in group.texts()
    ]
    assert rows == [("ACGTAACGTNAC", "a", 1), ("GGCC", "b", 6), ("ACGT", "", 1)]
    assert found.kept == ["record"]
    with pytest.raises(OptionError, match="--unit document: found FASTA"):
        read_located([named], tokenizer, unit="document", encoding="utf-8")


def tokenizer_of_text():
    return CharTokenizer(Vocabulary(("<unk>", "\n", "A"), (0, 1, 1), boundary_id=1, unknown_id=0), "stream")


def test_long_sequences_of_lines_are_no_doubt(tmp_path):
    with collected_notices() as notices:
        prepared(tmp_path, written(tmp_path, "x.fa", ">a\n" + "ACGT" * 5000 + "\n"), unit="line")
    assert not any("too long for a sentence" in notice for notice in notices)


def test_a_tokenizer_is_kept_for_other_sequences(tmp_path):
    tokenizer = prepared(tmp_path, written(tmp_path, "x.fa", DNA)).tokenizer
    other = written(tmp_path, "y.fa", ">c\nACGTNN\n")
    options = TextOptions(valid_fraction=0)
    corpus = prepare_corpus(tmp_path, [other], options, seed=1, kept=KeptTokenizer(tokenizer, "runs/x"))
    assert corpus.tokenizer.fasta == tokenizer.fasta
    assert np.array_equal(corpus.ids("train"), tokenizer.encode("ACGTN\n"))


def test_the_genome_is_what_its_script_writes(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("make_genome", REPOSITORY / "corpora" / "make_genome.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    module.main()
    for name in ("genome.fa", "genes.fa"):
        assert (tmp_path / name).read_bytes() == (REPOSITORY / "corpora" / name).read_bytes()


@given(st.integers(1, 60))
def test_lines_that_begin_with_a_semicolon_are_comments(size):
    content = ";old\n>a ;x\nAC\n;mid >dle\n;\nGT\n>b\n;other\nGG\n;end"
    notes = []
    chunks = iter([content[at : at + size] for at in range(0, len(content), size)])
    records = deque()
    assert "".join(fasta_text("c.fa", chunks, Fasta(), notes=notes, records=records)) == "ACGT\nGG\n"
    assert list(records) == [Record("a", 2), Record("b", 7)]
    assert notes == ["c.fa: 2 records of 6 bases; 5 comment lines (;) left out"]
    assert alphabet_of("c.fa", content) == "DNA"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.fastq", "@r1\nACGT\n+\nIIII\n", "holds FASTQ, and is read as plain text, names and qualities included"),
        (
            "x.txt",
            ">r1 one\nACGT\nACG\n",
            "looks like FASTA, and is read as plain text, headers and line ends included",
        ),
        ("x.txt", "> he said\nthat is so\n", None),
        ("x.txt", ">From the south\nThe wind came.\n", None),
    ],
)
def test_sequences_that_are_read_as_plain_text_are_named(tmp_path, name, content, said):
    path = written(tmp_path, name, content * 3)
    with collected_notices() as notices:
        prepared(tmp_path, path)
    found = [notice for notice in notices if "is read as plain text" in notice]
    assert [notice.startswith(f"{path}: {said};") for notice in found] == ([True] if said else [])
    with collected_notices() as notices:
        prepared(tmp_path, path, tokenizer="byte")
    assert not any("plain text" in notice for notice in notices)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_named_pipe_is_not_opened_to_see_whether_it_is_fasta(tmp_path):
    """Opening it would wait for a writer, and what was read of it would be lost."""
    tokenizer = prepared(tmp_path, written(tmp_path, "x.fa", DNA)).tokenizer
    os.mkfifo(tmp_path / "pipe")
    with collected_notices() as notices:
        (source,) = sequences_of(find_sources([str(tmp_path / "pipe")]), tokenizer)
    assert source.fasta is None
    assert notices == [
        f"{tmp_path / 'pipe'}: is a pipe, and is read as plain text; if it is FASTA, pipe it into - instead"
    ]
