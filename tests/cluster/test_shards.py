"""A text scored in parts is the same file, byte for byte, as scored in one go; and what is wrong with parts is said."""

import gzip
import json
import os
import random
from pathlib import Path

import pytest

from charnn.cluster.indexing import default_num_parts
from charnn.cluster.parts import FileSums
from charnn.scoring import scorer
from charnn.scoring.scores import Score
from tests.conftest import FABLES

WINDOW = 130
WORDS = [line for line in FABLES.read_text(encoding="utf-8").splitlines()[:400] if line.strip()]


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    """Windows of few lines, so that short texts have several."""
    monkeypatch.setattr(scorer, "LINES_PER_WINDOW", WINDOW)


@pytest.fixture
def text():
    """A file of lines of many lengths, some of them empty."""
    draw = random.Random(3)
    lines = [draw.choice(WORDS)[: draw.randrange(45)] for _ in range(400)]
    Path("text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "text.txt"


def in_words(options):
    return " ".join(map(str, options)) or "plain"


def whole_and_parts(charnn, run, *arguments, num_parts=3):
    """Score in one go and in parts; return both outputs and both commands' messages."""
    whole = charnn("score", *arguments, "-m", run, "-o", "whole", "--summary", "whole.json")
    assert whole.status == 0, whole.err
    for number in random.Random(1).sample(range(1, num_parts + 1), num_parts):
        part = charnn("score", *arguments, "-m", run, "-o", "out", "--shard", f"{number}/{num_parts}")
        assert part.status == 0, part.err
    merged = charnn("score", "--merge", "-o", "out", "--summary", "out.json")
    assert merged.status == 0, merged.err
    assert Path("out.json").read_bytes() == Path("whole.json").read_bytes()
    assert not list(Path().glob("out.part*"))
    return Path("whole").read_bytes(), Path("out").read_bytes(), whole.err, merged.err


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--format", "jsonl"),
        ("--format", "jsonl", "--per-token", "--alternatives", 2),
        ("--format", "tsv", "--mix-ngram"),
        ("--format", "tsv", "--by-word", "--no-eos"),
        ("--format", "kenlm"),
        ("--format", "srilm"),
        ("--format", "lmzoo"),
        ("--format", "neural-complexity"),
        ("--per-token", "--temperature", 1.3),
        ("--by-word", "--exclude-unk"),
        ("--unit", "document", "--format", "jsonl"),
        ("--no-bos", "--log-base", 2, "--unk-penalty", -3),
    ],
    ids=in_words,
)
def test_parts_are_the_whole_in_every_format(charnn, run, text, options):
    whole, parts, said, said_of_parts = whole_and_parts(charnn, run, text, *options)
    assert parts == whole
    kept = [line for line in said_of_parts.splitlines() if "removed 3 parts" not in line]
    assert kept == said.splitlines()


@pytest.fixture(params=["two", "gz", "crlf", "cr", "bom", "utf-16", "latin-1", "no-end", "empty-line-last", "longest"])
def files(request, text):
    """Files of every kind, and the options that read them."""
    content = Path(text).read_text(encoding="utf-8") + "füñf\n"
    if request.param == "two":
        Path("a.txt").write_text(content, encoding="utf-8")
        Path("b.txt").write_text(content[:3000], encoding="utf-8")
        return ["a.txt", "b.txt", text]
    if request.param == "gz":
        Path("a.gz").write_bytes(gzip.compress(content.encode()))
        return ["a.gz", text]
    ends = {"crlf": "\r\n", "cr": "\r"}
    content = content.replace("\n", ends.get(request.param, "\n"))
    content = {
        "bom": "\ufeff" + content,
        "no-end": content.removesuffix("\n"),
        "empty-line-last": content + "\n",
        "longest": content + "the fox " * 1000 + "\n" + content,
    }.get(request.param, content)
    encoding = request.param if request.param in ("utf-16", "latin-1") else "utf-8"
    Path("text.txt").write_bytes(content.encode(encoding))
    return [text, *(["--encoding", encoding] if encoding == "latin-1" else [])]


def test_parts_are_the_whole_for_every_kind_of_file(charnn, run, files, monkeypatch):
    monkeypatch.setattr(scorer, "CHARS_PER_WINDOW", 5_000)
    whole, parts, *_ = whole_and_parts(charnn, run, *files, "--format", "jsonl", num_parts=4)
    assert parts == whole


def cell(draw):
    """Return a cell of two lines, or an empty one."""
    text = draw.choice(WORDS)[:20].replace('"', "")
    return f'"{text}\nand"' if draw.random() < 0.7 else ""


@pytest.mark.parametrize(
    "options", [("--column", "b"), ("--column", "b", "--column", "a", "--by-region")], ids=" ".join
)
@pytest.mark.parametrize("form", ["tsv", "jsonl", "table"])
def test_parts_of_tables_are_the_whole(charnn, run, options, form):
    draw = random.Random(4)
    for name, columns in (("one.csv", "id,a,b"), ("two.csv", "b,id,a")):
        rows = [",".join(cell(draw) for _ in range(3)) for _ in range(250)]
        Path(name).write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    whole, parts, *_ = whole_and_parts(charnn, run, "one.csv", "two.csv", *options, "--format", form)
    assert parts == whole


def test_more_parts_than_windows_are_the_whole(charnn, run, text):
    whole, parts, *_ = whole_and_parts(charnn, run, text, "--format", "kenlm", num_parts=9)
    assert parts == whole


def test_a_window_of_few_lines_is_the_whole(charnn, run):
    Path("text.txt").write_text("\n".join(WORDS[:20]), encoding="utf-8")
    whole, parts, *_ = whole_and_parts(charnn, run, "text.txt", "--format", "jsonl", num_parts=2)
    assert parts == whole


@pytest.mark.parametrize("hidden_size", [24, 80], ids=lambda size: f"hidden-{size}")
def test_scores_of_several_batches_do_not_depend_on_the_number_of_cores(charnn, hidden_size, monkeypatch):
    """Neither in one go nor in parts."""
    Path("text.txt").write_text("\n".join(WORDS), encoding="utf-8")
    options = ("--steps", 1, "--batch-size", 4, "--bptt", 8, "--ngram-order", 0, "--precision", "fp32")
    assert charnn("train", "text.txt", "--hidden-size", hidden_size, *options, "-o", "m").status == 0
    command, found = ("score", "text.txt", "-m", "m", "--format", "jsonl"), set()
    for cores, other in ((1, 2), (2, 3), (3, 1)):
        monkeypatch.setattr("charnn.inference.parallel_maps.num_cores", lambda cores=cores: cores)
        assert charnn(*command, "-o", "all").status == 0
        assert charnn(*command, "-o", "out", "--shard", "1/2").status == 0
        monkeypatch.setattr("charnn.inference.parallel_maps.num_cores", lambda cores=other: cores)
        assert charnn(*command, "-o", "out", "--shard", "2/2").status == 0
        assert charnn("score", "--merge", "-o", "out").status == 0
        found |= {Path("all").read_bytes(), Path("out").read_bytes()}
    assert len(found) == 1


def test_a_finished_part_is_not_done_again(charnn, run, text):
    arguments = ("score", text, "-m", run, "-o", "out", "--shard", "2/3")
    assert charnn(*arguments).status == 0
    part = Path("out.part-00002-of-00003")
    before = part.stat().st_mtime_ns
    again = charnn(*arguments)
    assert "out.part-00002-of-00003: is finished already" in again.err
    assert part.stat().st_mtime_ns == before
    marker = json.loads(Path("out.part-00002-of-00003.done").read_text(encoding="utf-8"))
    assert marker["part"] == "2 of 3"
    assert marker["files"] == [
        {"name": text, "num_bytes": Path(text).stat().st_size, "changed_ns": Path(text).stat().st_mtime_ns}
    ]
    assert marker["options"] == {}
    part.write_bytes(part.read_bytes()[:-5])  # damaged: done again
    assert "is finished, " in charnn(*arguments).err


def test_what_killed_processes_left_is_removed_by_merging(charnn, run, text):
    for number in (1, 2):
        assert charnn("score", text, "-m", run, "-o", "out", "--shard", f"{number}/2").status == 0
    for name in (
        "out.part-00001-of-00002.new",
        "out.part-00002-of-00002.2.new",
        "out.parts.json.new",
        "out.part-00001-of-00002.done.new",
    ):
        Path(name).write_text("cut sho")
    Path("out.partly").write_text("mine")
    assert charnn("score", "--merge", "-o", "out").status == 0
    assert sorted(path.name for path in Path().glob("out*")) == ["out", "out.partly"]


def test_a_merge_that_was_killed_while_it_removed_parts_is_completed(charnn, run, text, monkeypatch):
    assert charnn("score", text, "-m", run, "-o", "out", "--shard", "1/1").status == 0
    with monkeypatch.context() as patch:
        patch.setattr("charnn.cluster.merging.remove_parts", str)
        assert charnn("score", "--merge", "-o", "out").status == 0
    Path("out.part-00001-of-00001.done").unlink()
    again = charnn("score", "--merge", "-o", "out")
    assert (again.status, again.err) == (0, "charnn: out: is complete already; what was left of its parts is removed\n")
    assert sorted(path.name for path in Path().glob("out*")) == ["out"]


def test_missing_parts_are_named(charnn, run, text):
    assert charnn("score", text, "-m", run, "-o", "out", "--shard", "2/4").status == 0
    result = charnn("score", "--merge", "-o", "out")
    assert result.status == 1
    assert "out: 3 of 4 parts are missing: 1, 3, 4; score them: charnn score FILE -o out --shard 1/4" in result.err
    none = charnn("score", "--merge", "-o", "other")
    assert (
        "other: found no parts of it, since there is no other.parts.json; score them first: charnn score FILE"
        in none.err
    )


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            "text",
            (),
            "was begun with text.txt, which has changed since; to begin anew, remove out.part* first",
        ),
        ("model", (), "was begun with another model than"),
        ("", ("--format", "tsv"), "was begun with no --format, but this command has --format tsv; to begin anew"),
        ("", ("--shard", "1/4"), "was begun with 3 parts, not 4; to begin anew"),
        ("name", (), "was begun with other texts (text.txt); to begin anew"),
        ("damage", (), "out.parts.json: is damaged ("),
    ],
    ids=["text", "model", "option", "number", "name", "damage"],
)
def test_parts_of_something_else_are_refused(charnn, run, line_run, text, change, options, message):
    assert charnn("score", text, "-m", run, "-o", "out", "--shard", "1/3").status == 0
    kept = Path("out.part-00001-of-00003").read_bytes()
    if change == "text":
        os.utime(text, ns=(1, 1))
    if change == "name":
        text = Path(text).rename("other.txt")
    if change == "damage":
        Path("out.parts.json").write_text("{}")
    model = line_run if change == "model" else run
    shard = () if "--shard" in options else ("--shard", "2/3")
    result = charnn("score", text, "-m", model, "-o", "out", *shard, *options)
    assert result.status in (1, 2)
    assert message in result.err
    assert Path("out.part-00001-of-00003").read_bytes() == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--unit", "stream"), "--unit stream: cannot be combined with --shard; leave one out"),
        (("--unit", "file"), "--unit file: cannot be combined with --shard"),
        (("--state", "carry"), "--state carry: cannot be combined with --shard"),
        (("--dynamic",), "--dynamic: cannot be combined with --shard"),
        (("--cache",), "--cache: cannot be combined with --shard"),
        (
            ("--temperature", "fit"),
            "--temperature fit: cannot be combined with --shard, since each part would be fitted anew",
        ),
        (("--fit-weights", "text.txt"), "--fit-weights: cannot be combined with --shard, since each part"),
        (("--summary", "s.json"), "--summary: cannot be combined with --shard; pass it to --merge"),
        (("--ray",), "--ray: cannot be combined with --shard"),
        (("--merge",), "--shard: cannot be combined with --merge"),
        (("-",), "standard input: can be read only once, but --shard reads a text again for each part; name files"),
        (("--shard", "0/3"), "--shard: found '0/3', but it must be I/N, the number of a part from 1"),
        (("--shard", "4/3"), "--shard: found '4/3', but it must be I/N"),
        (("--shard", "3"), "--shard: found '3', but it must be I/N"),
        (("-o", "-"), "--shard: needs a file for the records; name one with -o FILE"),
        (("-o", os.devnull), "but parts need a file beside them"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "message",
)
def test_what_cannot_be_divided_is_refused_in_one_line(charnn, run, text, arguments, message):
    files = () if arguments == ("-",) else (text,)
    result = charnn("score", *files, "-m", run, "-o", "out", "--shard", "1/2", *arguments)
    assert result.status == (1 if arguments == ("-",) else 2)
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not list(Path().glob("out*"))


def test_an_empty_text_has_no_parts(charnn, run):
    Path("empty.txt").write_text("")
    result = charnn("score", "empty.txt", "-m", run, "-o", "out", "--shard", "1/2")
    assert result.status == 1
    assert "empty.txt: is empty; there is nothing to score" in result.err


def test_texts_are_checked_before_any_part_is_scored(charnn, run):
    Path("bad.txt").write_bytes(b"good\n" * 1000 + b"\xff\n")
    result = charnn("score", "bad.txt", "-m", run, "-o", "out", "--shard", "1/2")
    assert result.status == 1
    assert "bad.txt:1001: byte 0xff at offset 5000 is not UTF-8" in result.err
    assert not list(Path().glob("out*"))


def test_sums_are_those_of_one_unit_after_the_other():
    draw = random.Random(5)
    scores = [Score(log_prob_nats=-draw.random() * 10 ** draw.randrange(9), num_tokens=2) for _ in range(999)]
    total, by_part = Score(), Score()
    for first in range(0, 999, 100):
        sums = FileSums()
        for score in scores[first : first + 100]:
            total += score
            sums.add(score)
        by_part = FileSums.from_json(json.loads(json.dumps(sums.to_json()))).added_to(by_part)
    assert by_part == total


def test_parts_are_many_thousand_lines_each_and_enough_for_many_workers():
    assert [default_num_parts(number) for number in (1, 10, 64, 488, 100_000, 1_000_000)] == [
        1,
        10,
        64,
        70,
        10_000,
        10_000,
    ]


def test_an_address_follows_ray_only_if_it_is_one(charnn):
    from charnn.cli.values import with_empty_values

    assert with_empty_values(["--ray", "text.txt"]) == ["--ray", "", "text.txt"]
    assert with_empty_values(["text.txt", "--ray"]) == ["text.txt", "--ray", ""]
    for address in ("auto", "local", "10.0.0.1:6379", "ray://head:10001"):
        assert with_empty_values(["--ray", address, "-o"]) == ["--ray", address, "-o"]
