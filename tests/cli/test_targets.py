"""No command destroys a file that somebody needs: sources, models, other files of a directory."""

import hashlib
from pathlib import Path

import pytest

SMALL = ("--hidden-size", 8, "--embedding-size", 4, "--batch-size", 4, "--bptt", 16, "--steps", 2)


@pytest.fixture
def place(run):
    """A directory with a model, texts and links, and the digests of its files."""
    Path("prompts.txt").write_text("The fox\nThe cat\n", encoding="utf-8")
    Path("link").symlink_to(run / "model.safetensors")
    Path("other").mkdir()
    (Path("other") / "config.json").write_bytes((run / "config.json").read_bytes())
    (Path("other") / "model.safetensors").write_bytes(b"weights")
    return run


def digests(run):
    files = [*run.rglob("*"), *Path().glob("*.txt"), *Path("other").glob("*")]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{run}/model.safetensors", "belongs to a model"),
        ("{run}/config.json", "belongs to a model"),
        ("other/model.safetensors", "belongs to a model"),
        ("link", "belongs to a model"),
        ("prompts.txt", "which the command reads from; name another file"),
        ("out.txt.gz", "but the output is not compressed; name it without .gz"),
        ("other", "is a directory"),
        ("nowhere/out.txt", "there is no directory"),
    ],
)
@pytest.mark.parametrize("command", ["sample -o", "sample --save-state", "score -o", "score --summary"])
def test_an_output_file_never_takes_the_place_of_one_that_is_needed(charnn, place, command, target, message):
    before = digests(place)
    name, flag = command.split()
    target = target.format(run=place)
    if (name == "score" and target.startswith(str(place))) or (name == "score" and target == "link"):
        message = "which the command reads from"
    texts = ("prompts.txt",) if name == "score" else ("--prompt-file", "prompts.txt", "--on-unknown", "unk", "-n", 3)
    result = charnn(name, "-m", place, *texts, flag, target)
    assert result.status in (1, 2)
    assert message in result.err
    assert result.err.count("\n") == result.err.count("charnn: ")
    assert digests(place) == before


@pytest.mark.parametrize(
    "arguments",
    [("sample", "-n", 3, "-o", "x", "--save-state", "x"), ("score", "--text", "The fox", "-o", "x", "--summary", "x")],
    ids=["sample", "score"],
)
def test_two_outputs_in_one_file_are_refused(charnn, run, arguments):
    result = charnn(*arguments, "-m", run)
    assert result.status == 2
    assert "x" in result.err
    assert not Path("x").exists()


def test_a_state_may_be_updated_in_place(charnn, run):
    assert charnn("sample", "The", "-m", run, "-n", 0, "--save-state", "s").status == 0
    assert charnn("sample", " cat", "-m", run, "-n", 0, "--load-state", "s", "--save-state", "s").status == 0
    assert charnn("sample", "-m", run, "-n", 3, "--load-state", "s", "-o", "s").status == 2


@pytest.mark.parametrize("others", [("book.txt",), ("book.txt", "notes/ideas.md")])
def test_overwriting_a_model_deletes_nothing_else(charnn, others):
    Path("t.txt").write_text("the cat sat on the mat\n" * 60, encoding="utf-8")
    assert charnn("train", "t.txt", "-o", "m", *SMALL).status == 0
    for name in others:
        (Path("m") / name).parent.mkdir(exist_ok=True)
        (Path("m") / name).write_text("the cat sat on the mat\n" * 60, encoding="utf-8")
    before = digests(Path("m"))
    result = charnn("train", "m/book.txt", "-o", "m", "--overwrite", *SMALL)
    more = " and 1 more" if len(others) > 1 else ""
    assert (result.status, result.err.splitlines()[-1]) == (
        1,
        f"charnn: error: m: --overwrite would delete book.txt{more}, which is not part of the model; move it elsewhere, or name "
        "another directory with -o",
    )
    assert digests(Path("m")) == before
    for name in others:
        (Path("m") / name).unlink()
    Path("m/.DS_Store").touch()
    assert charnn("train", "t.txt", "-o", "m", "--overwrite", *SMALL).status == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [("sample", "-n", 3, "-o"), ("score", "--text", "The fox", "--summary")])
def test_a_full_device_is_one_line(charnn, run, arguments):
    result = charnn(*arguments, "/dev/full", "-m", run)
    assert result.status == 1
    assert "error: " in result.err
    assert "no space is left on the disk" in result.err.lower() or "space" in result.err
