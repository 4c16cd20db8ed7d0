"""`charnn train` through its entry point: budgets, resuming, refusals."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from charnn.cli.output.training_screen import LiveScreen, headline
from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.interrupts import INTERRUPTS
from charnn.storage.checkpoint import packed_tensors, read_tensors
from charnn.storage.locking import exclusive
from charnn.storage.model_directory import read_model
from charnn.training.events import Evaluated, Progressed, RolledBack
from charnn.training.run import session as training
from charnn.training.run.create import create_run, minutes_to_learn
from tests.conftest import FABLES

SMALL = ("--hidden-size", 16, "--embedding-size", 8, "--precision", "fp32", "--batch-size", 4, "--bptt", 16)
TEXT = "the fox with the lantern asked the heron what it cost.\nthree coppers and a story.\n" * 40


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_what_was_chosen_and_why_is_said(charnn, text):
    small = ("--embedding-size", 8, "--precision", "fp32", "--batch-size", 4, "--bptt", 16, "-o", "m")
    said = charnn("train", text, "--steps", 2, *small).err
    assert "auto: hidden size 128 (from 2,952 tokens), dropout 0 (about 0.0 epochs), n-gram dropout 0" in said
    said = charnn("train", text, "--epochs", 12, "--hidden-size", 4, "--ngram-order", 0, *small, "--overwrite").err
    assert "auto: dropout 0.1 (about 12 epochs), n-gram dropout 0.25 (about 12 epochs); timed:" in said
    given = ("--hidden-size", 16, "--dropout", 0.2, "--embedding-order", 1)
    said = charnn("train", text, "--steps", 2, *given, *small, "--overwrite").err
    assert "charnn: timed: " in said
    assert "auto:" not in said


def test_stretches_are_of_streams_alone(charnn, text):
    said = charnn("train", text, "--steps", 2, *SMALL, "--unit", "line", "--carry", 64)
    assert said.status == 2
    assert "--carry: has no effect without --unit stream" in said.err
    charnn("train", text, "--steps", 2, *SMALL, "--carry", 48, "-o", "m")
    assert read_model(Path("m")).config.training.carry_length == 48
    refused = charnn("train", "--resume", "-o", "m", "--steps", 4, "--carry", 64)
    assert "--carry: found 64, but the run to resume was started with 48; leave it out" in refused.err


def test_a_resumed_run_is_evaluated_at_its_end_however_seldom_it_is(charnn, text):
    charnn("train", text, "--steps", 8, *SMALL, "-o", "m")
    config = json.loads(Path("m/config.json").read_text(encoding="utf-8"))
    config["plan"]["evaluation_interval"] = 0.5
    Path("m/config.json").write_text(json.dumps(config), encoding="utf-8")
    assert charnn("train", "--resume", "-o", "m", "--steps", 10).status == 0
    events = [json.loads(line) for line in Path("m/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    evaluated = [event for event in events if event["event"] == "evaluated"]
    assert evaluated[-1]["step"] == 10
    assert [len(event["sample"]) for event in evaluated] == [160] * len(evaluated)


def test_a_run_of_an_older_charnn_goes_on_as_it_was_begun(charnn, text):
    """Before there were stretches, and moves of several steps, neither stood in a checkpoint."""
    charnn("train", text, "--steps", 4, *SMALL, "-o", "m")
    config = json.loads(Path("m/config.json").read_text(encoding="utf-8"))
    del config["options"]["training"]["carry_length"], config["options_given"]["training"]["carry_length"]
    Path("m/config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors, header = read_tensors(Path("m/training.safetensors"))
    old = {name: array for name, array in tensors.items() if not re.fullmatch(r"optimizer\.0\.\d+\.step", name)}
    assert len(old) < len(tensors)
    Path("m/training.safetensors").write_bytes(b"".join(packed_tensors(old, header)))
    assert "started with no such option" in charnn("train", "--resume", "-o", "m", "--steps", 8, "--carry", 64).err
    assert charnn("train", "--resume", "-o", "m", "--steps", 8).status == 0
    assert facts(charnn, "m")["steps"] == 8


def facts(charnn, run):
    return json.loads(charnn("info", run, "--json").out)


def test_training_by_steps_makes_a_model_under_runs(charnn, text):
    result = charnn("train", text, "--steps", 30, *SMALL)
    assert result.status == 0, result.err
    assert result.out == ""
    assert "lstm 1 x 16, embedding 8" in result.err
    assert "(best)" in result.err
    assert "sample from it: charnn sample -m runs/text" in result.err
    found = facts(charnn, "runs/text")
    assert found["steps"] == 30
    assert found["stopped"] == "budget"
    assert found["valid_loss_nats"] < 3.2
    assert found["valid_bits_per_char"] == pytest.approx(found["valid_loss_nats"] / 0.6931471805599453)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--tokenizer", "byte", "--cell", "gru"), id="byte-gru"),
        pytest.param(("--tokenizer", "word", "--cell", "rnn", "--optimizer", "sgd"), id="word-rnn-sgd"),
        pytest.param(("--tokenizer", "subword", "--vocab-size", 60, "--optimizer", "adamw"), id="subword-adamw"),
        pytest.param(("--tokenizer", "word", "--pretokenized", "--unit", "line"), id="pretokenized-lines"),
        pytest.param(("--unit", "document", "--valid-fraction", 0), id="document"),
        pytest.param(("--num-layers", 2, "--dropout", 0.5, "--precision", "bf16"), id="two-layers-bf16"),
    ],
)
def test_every_kind_of_model_trains_writes_and_scores(charnn, text, options):
    result = charnn("train", text, "--steps", 12, *SMALL, *options, "-o", "m")
    assert result.status == 0, result.err
    sampled = charnn("sample", "-m", "m", "-n", 20, "--seed", 1)
    assert sampled.status == 0, sampled.err
    scored = charnn("score", "-m", "m", "--text", "the heron", "--format", "jsonl")
    assert json.loads(scored.out)["log_prob"] < 0


def test_tied_weights_and_epochs(charnn, text):
    result = charnn("train", text, "--epochs", 0.5, *SMALL[4:], "--hidden-size", 16, "--tie-weights", "-o", "m")
    assert result.status == 0, result.err
    found = facts(charnn, "m")
    assert found["tie_weights"]
    assert found["embedding_size"] == 16
    assert found["steps"] == round(0.5 * -(-len(TEXT) * 0.9 // (4 * 16)))


def test_a_time_budget_is_kept(charnn, text):
    begun = time.monotonic()
    assert charnn("train", text, "--minutes", 0.05, *SMALL).status == 0
    assert 1 < time.monotonic() - begun < 20


@pytest.mark.parametrize("content", ["one line of text", "ab", "x\n"])
def test_the_shortest_texts_train(charnn, tmp_path, content):
    (tmp_path / "short.txt").write_text(content)
    result = charnn("train", "short.txt", "--steps", 3, *SMALL)
    assert result.status == 0, result.err
    assert charnn("sample", "-m", "runs/short", "-n", 5, "--seed", 1).status == 0


def test_a_text_shorter_than_a_batch_says_that_the_batch_shrinks(charnn, tmp_path):
    (tmp_path / "short.txt").write_text("only a hundred characters or so, " * 3)
    result = charnn("train", "short.txt", "--steps", 2, "--batch-size", 64)
    assert result.status == 0
    assert "charnn: the text is short (89 tokens): --batch-size reduced from 64 to 1\n" in result.err


def test_a_finished_model_is_never_destroyed_unasked(charnn, text):
    assert charnn("train", text, "--steps", 3, *SMALL).status == 0
    before = Path("runs/text/model.safetensors").read_bytes()
    again = charnn("train", text, "--steps", 3, *SMALL)
    assert again.status == 1
    assert again.err.endswith(
        "charnn: error: runs/text: holds a finished model; replace it with --overwrite, train it further with --resume and a "
        "larger budget, or name another directory with -o\n"
    )
    failed = charnn("train", "missing.txt", "-o", "runs/text", "--overwrite")
    assert failed.status == 1
    assert Path("runs/text/model.safetensors").read_bytes() == before
    assert charnn("train", text, "--steps", 3, *SMALL, "--overwrite", "--seed", 2).status == 0
    assert Path("runs/text/model.safetensors").read_bytes() != before


def test_another_directory_is_never_overwritten(charnn, text, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    result = charnn("train", text, "-o", "mine", "--overwrite", "--steps", 1)
    assert (result.status, result.err.splitlines()[-1]) == (
        1, "charnn: error: mine: exists and is not a charnn model; name another directory with -o"
    )  # fmt: skip
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_equal_seeds_give_equal_models(charnn, text):
    for name in ("a", "b"):
        assert charnn("train", text, "--steps", 12, *SMALL, "-o", name, "--dropout", 0.2, "--seed", 5).status == 0
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()


@pytest.mark.parametrize("unit", ["stream", "line"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(charnn, text, unit, monkeypatch):
    options = ("train", text, "--steps", 60, *SMALL, "--dropout", 0.2, "--unit", unit)
    assert charnn(*options, "-o", "whole").status == 0
    real, calls = training.run, []

    def interrupted(session, *, should_stop, write_sample):
        for event in real(session, write_sample=write_sample, should_stop=should_stop):
            calls.append(isinstance(event, Evaluated))
            if calls[-1] and sum(calls) == 1:
                os.kill(os.getpid(), signal.SIGINT)
            yield event

    monkeypatch.setattr(training, "run", interrupted)
    stopped = charnn(*options, "-o", "parts")
    assert stopped.status == 130
    assert "; resume with: charnn train --resume -o parts\n" in stopped.err
    half = facts(charnn, "parts")
    assert half["stopped"] == "interrupted"
    assert 0 < half["steps"] < 60
    monkeypatch.setattr(training, "run", real)
    resumed = charnn("train", "--resume", "-o", "parts")
    assert resumed.status == 0, resumed.err
    assert Path("parts/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    steps = [json.loads(line)["step"] for line in Path("parts/metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_resuming_wants_a_run_and_the_options_that_it_was_begun_with(charnn, text):
    nothing = charnn("train", "--resume", "-o", "runs/none")
    assert nothing.err.endswith("error: runs/none: found no run to resume; leave --resume out to start one\n")
    assert charnn("train", text, "--steps", 4, *SMALL).status == 0
    done = charnn("train", "--resume")
    assert done.status == 1
    assert "charnn: resuming the newest run, runs/text" in done.err
    assert "error: runs/text: has spent its budget (4 steps, " in done.err
    assert done.err.endswith("to extend it, resume with a larger one, e.g. --resume --steps 8\n")
    other = charnn("train", "--resume", "--cell", "gru")
    assert other.status == 2
    assert "--cell: found gru, but the run to resume was started with lstm; leave it out" in other.err
    more = charnn("train", "--resume", "--steps", 10)
    assert more.status == 0, more.err
    assert facts(charnn, "runs/text")["steps"] == 10
    assert "charnn: resumed at step 4; total budget now --steps 10\n" in more.err
    assert "auto:" not in more.err


def test_a_text_that_is_not_there_is_refused_before_torch_is_imported(tmp_path):
    (tmp_path / "text.txt").write_text("some text\n")
    program = (
        "import sys; from charnn.cli.main import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit as exit_: print(exit_.code, 'torch' in sys.modules)"
    )
    for arguments in (["nosuch.txt"], ["text.txt", "nosuch.txt"], ["text.txt", "--valid", "nosuch.txt"]):
        command = [sys.executable, "-c", program, "train", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.stdout == "1 False\n"
        assert result.stderr.startswith("charnn: error: nosuch.txt: no such file or directory (looked in ")
        assert len(result.stderr.splitlines()) == 1


def test_a_loss_that_is_not_finite_ends_in_one_line_and_what_was_saved_stays(charnn, text):
    result = charnn(
        "train",
        text,
        "--steps",
        40,
        *SMALL,
        "--optimizer",
        "sgd",
        "--learning-rate",
        1e38,
        "--clip-norm",
        0,
        "--weight-decay",
        0.01,
    )
    assert result.status == 1
    assert "the loss was not finite; rolled back to step" in result.err
    last = result.err.splitlines()[-1]
    assert last.startswith("charnn: error: step ")
    assert last.endswith("restart with a lower --learning-rate; the files saved in runs/text are intact")
    assert read_model(Path("runs/text")).config.results.stopped is None


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("train",), 2, "TEXT: found none; name the text to train on: charnn train book.txt"),
        (("train", "missing.txt"), 1, "missing.txt: no such file or directory"),
        (("train", "empty.txt"), 1, "empty.txt: is empty; there is nothing to learn from"),
        (("train", "blank.txt"), 1, "blank.txt: contains only white space; there is nothing to learn from"),
        (("train", "cp1252.txt"), 1, "cp1252.txt:1: byte 0x92 at offset 2 is not UTF-8; pass the --encoding of the text, such as cp1252, cp1251 or gbk"),
        (("train", "binary"), 1, "binary: is binary (a zero byte at offset 1), not text"),
        (("train", "folder"), 1, "folder: contains no text"),
        (("train", "text.txt", "--dropout", 1), 2, "--dropout: found 1, but it must be at least 0 and below 1"),
        (("train", "text.txt", "--minutes", 0), 2, "--minutes: found 0, but it must be above 0"),
        (("train", "text.txt", "--resume", "--overwrite"), 2, "--resume: cannot be combined with --overwrite"),
        (("train", "text.txt", "--encoding", "klingon"), 2, "--encoding: found 'klingon', which is not a known text encoding"),
        (("train", "text.txt", "--encoding", "idna"), 2, "--encoding: found 'idna', which is not a known text encoding"),
        (("train", "text.txt", "--encoding", "\udcff"), 2, "--encoding: found '\\xff', which is not a known text encoding"),
        (("train", "text.txt", "--valid", "missing.txt"), 1, "missing.txt: no such file or directory"),
        (("train", "text.txt", "--tokenizer", "subword", "--vocab-size", 5), 2, "--vocab-size: found 5, but this text needs"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing_behind(charnn, text, tmp_path, arguments, status, message):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "blank.txt").write_text(" \n\n\t\n")
    (tmp_path / "cp1252.txt").write_bytes(b"it\x92s")
    (tmp_path / "binary").write_bytes(b"\1\0\2")
    (tmp_path / "folder").mkdir()
    result = charnn(*arguments)
    assert result.status == status
    (line,) = [line for line in result.err.splitlines() if "error" in line]
    assert line.startswith("charnn: error: " + message)
    assert "Traceback" not in result.err
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


@pytest.mark.skipif("torch" in sys.modules and sys.modules["torch"].cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(charnn, text):
    result = charnn("train", text, "--device", "cuda")
    assert (result.status, "error: --device cuda: found no CUDA device" in result.err) == (1, True)


def test_a_file_size_limit_stops_training_with_one_line_and_a_whole_model(text):
    """The limit stands in for a full disk: it lets the first, small files through and stops the larger ones."""
    pytest.importorskip("resource", reason="there are no limits for a process")
    program = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); from charnn.cli.main import main; main()"
    )
    command = [sys.executable, "-c", program, "train", str(text), "--steps", "50", "--hidden-size", "64", "-o", "m"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "cannot be written: the file would exceed the size limit of this process" in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("m").exists()


def test_a_disk_that_fills_up_in_training_loses_nothing(charnn, text, monkeypatch):
    import errno

    from charnn import files

    real = files._write_through
    written = []

    def fill_up(path, content):
        written.append(path)
        if len(written) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(files, "_write_through", fill_up)
    monkeypatch.setattr("charnn.training.run.saving.FINAL_WAIT_SECONDS", 0.01)
    monkeypatch.setattr("charnn.training.run.saving.FINAL_INTERVAL_SECONDS", 0.01)
    result = charnn("train", text, "--steps", 100, *SMALL, "--save-every", 0.001, "-o", "m")
    assert result.status == 1
    last = result.err.splitlines()[-1]
    assert "cannot be written: no space is left on the disk" in last
    assert last.endswith("the files saved in m are intact; resume with: charnn train --resume -o m")
    monkeypatch.setattr(files, "_write_through", real)
    assert read_model(Path("m")).weights
    resumed = charnn("train", "--resume", "-o", "m", "--steps", 110)
    assert resumed.status == 0, resumed.err


@pytest.fixture
def unprivileged():
    """Give up root's right to write anywhere, for the length of a test."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


def test_a_read_only_directory_is_one_line(charnn, tmp_path, request):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    (tmp_path / "readable.txt").write_text(TEXT)
    for path in (tmp_path, *tmp_path.parents[:-1]):
        if path.stat().st_uid == os.geteuid() and path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)
    request.getfixturevalue("unprivileged")
    result = charnn("train", tmp_path / "readable.txt", "-o", locked / "run", "--steps", 2)
    assert result.status == 1
    assert "cannot be written: permission denied; choose a writable location" in result.err


def session_of(text, tmp_path, **options):
    return create_run(
        tmp_path / "run",
        [str(text)],
        text_options=TextOptions(),
        model_options=ModelOptions(hidden_size=8),
        training_options=TrainingOptions(**{"steps": 10, "precision": "fp32", **options}),
        overwrite=False,
        started=time.monotonic(),
    )


@pytest.mark.parametrize(("width", "row"), [(20, "validation  2.1000"), (40, "validation  2.1000 nats/token  step 30")])
def test_the_live_screen_keeps_to_a_narrow_terminal(text, tmp_path, width, row):
    terminal = Console(file=io.StringIO(), force_terminal=False, width=width)
    screen = LiveScreen(session_of(text, tmp_path, minutes=1.0), terminal)
    screen.show(Progressed(30, 0.25, 15.0, 1.5, 4096, 2.0, 12_345.0, 0.004, 0.7, 0.25))
    screen.show(Evaluated(30, 0.25, 15.0, 2.1, 300, 1.0, True, "once upon a tide"))
    terminal.print(screen)
    shown = [line.rstrip() for line in terminal.file.getvalue().splitlines()]
    assert max(map(len, shown)) <= width
    assert row in shown


def test_the_live_screen_shows_progress_losses_and_a_sample(text, tmp_path):
    session = session_of(text, tmp_path, minutes=1.0)
    terminal = Console(file=io.StringIO(), force_terminal=False, width=110)
    screen = LiveScreen(session, terminal)
    terminal.print(screen)
    screen.show(Progressed(30, 0.25, 15.0, 1.5, 4096, 2.0, 12_345.0, 0.004, 0.7, 0.25))
    screen.show(Evaluated(20, 0.2, 12.0, 1.9, 300, 1.0, True))
    screen.show(Evaluated(30, 0.25, 15.0, 2.1, 300, 1.0, False, "once upon a tide"))
    screen.show(RolledBack(31, 20, 0.002))
    terminal.print(screen)
    shown = terminal.file.getvalue()
    for part in (
        " 25%  0:4",
        " left  12,345 tokens/s",
        "2.0000 nats/token, 2.885 bits/char",
        "1.9000 nats/token, 2.741 bits/char",
        "rate 0.004, gradient norm 0.70, clipped 25%",
        "once upon a tide",
        "sample at step 30",
        "rolled back to step 20, peak learning rate halved to 0.002",
    ):
        assert part in shown
    assert headline(session)[1].startswith("lstm 1 x 8, embedding")
    assert re.search(r"\d parameters \+ [\d,]+ in n-gram embeddings; ", headline(session)[1])
    files = session.config.corpus.files
    session.config.corpus = replace(session.config.corpus, files=files * 5)
    assert f"{files[0].name} and 2 others -> " in headline(session)[0]


def test_the_learned_unk_is_no_longer_where_it_began(charnn, text):
    assert charnn("train", text, "--epochs", 8, *SMALL, "-o", "m").status == 0
    trained = read_model(Path("m")).weights
    assert charnn("train", text, "--steps", 1, *SMALL, "-o", "begun", "--learning-rate", 1e-12).status == 0
    begun = read_model(Path("begun")).weights
    assert abs(trained["embedding.weight"][0] - begun["embedding.weight"][0]).max() > 1e-3


def test_standard_input_trains(tmp_path):
    command = [sys.executable, "-m", "charnn", "train", "-", "--steps", "2", "-o", "m"]
    result = subprocess.run(command, input=FABLES.read_bytes()[:3000], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in Path("m").iterdir()) == [
        "config.json", "metrics.jsonl", "model.safetensors", "ngram.safetensors", "tokenizer.json", "train.bin", "training.json",
        "training.safetensors", "valid.bin",
    ]  # fmt: skip


def evaluations(run):
    events = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return [(event["step"], event["valid_loss_nats"]) for event in events if event["event"] == "evaluated"]


def test_naming_the_same_options_again_resumes_the_same_run(charnn, text, monkeypatch):
    options = ("train", text, "--steps", 24, *SMALL, "--batch-size", 999)
    assert charnn(*options, "-o", "whole").status == 0
    real = training.run

    def interrupted(session, *, should_stop, write_sample):
        return real(session, write_sample=write_sample, should_stop=lambda: session.trainer.position.step >= 10)

    monkeypatch.setattr(training, "run", interrupted)
    assert charnn(*options, "-o", "parts").status == 130
    monkeypatch.setattr(training, "run", real)
    again = charnn(*options, "-o", "parts", "--resume")
    assert again.status == 0, again.err
    assert "TEXT is not read again" in again.err
    assert evaluations("parts") == evaluations("whole")
    assert Path("parts/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()


def test_a_damaged_encoded_text_is_not_trained_on(charnn, text):
    assert charnn("train", text, "--steps", 4, *SMALL, "-o", "m").status == 0
    content = Path("m/train.bin").read_bytes()
    Path("m/train.bin").write_bytes(content[:100])
    result = charnn("train", "--resume", "-o", "m", "--steps", 8)
    assert result.status == 1
    assert f"m/train.bin: holds 100 tokens, the run was started with {len(content):,}; restore the file" in result.err
    Path("m/train.bin").unlink()
    assert "holds 0 tokens" in charnn("train", "--resume", "-o", "m", "--steps", 8).err


def test_an_interrupt_before_the_first_evaluation_keeps_what_was_learned(charnn, text, monkeypatch):
    real = training.run

    def interrupted(session, *, should_stop, write_sample):
        return real(session, write_sample=write_sample, should_stop=lambda: session.trainer.position.step >= 5)

    monkeypatch.setattr(training, "run", interrupted)
    assert charnn("train", text, "--steps", 500, *SMALL, "-o", "m").status == 130
    assert charnn("train", text, "--steps", 500, *SMALL, "-o", "n", "--learning-rate", 1e-9).status == 130
    assert abs(read_model(Path("m")).weights["output.bias"]).max() > 1e-4
    assert abs(read_model(Path("n")).weights["output.bias"]).max() < 1e-4


def test_a_run_needs_a_directory_of_its_own(charnn, text):
    result = charnn("train", text, "-o", ".", "--steps", 1)
    assert result.status == 2
    assert "-o: found '.', but a run needs a directory of its own; name one such as runs/mine" in result.err


def test_two_trainings_do_not_share_a_directory(charnn, text):
    with exclusive(Path("runs/text")):
        result = charnn("train", text, "--steps", 1, *SMALL)
    assert result.status == 1
    assert result.err.endswith(
        "error: runs/text: another charnn is training here; wait for it, or name another directory with -o\n"
    )
    assert charnn("train", text, "--steps", 1, *SMALL).status == 0
    assert [path.name for path in Path("runs").iterdir()] == ["text"]


@pytest.mark.parametrize("number", INTERRUPTS)
def test_a_signal_while_the_text_is_read_changes_nothing(charnn, text, monkeypatch, number):
    def interrupted(*_args, **_options):
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.setattr("charnn.training.run.create.prepare_corpus", interrupted)
    result = charnn("train", text, "-o", "runs/m")
    assert result.status == 128 + number
    assert result.err.endswith("charnn: interrupted before training began; nothing was changed\n")
    assert not list(Path("runs").iterdir())


@pytest.mark.parametrize("number", INTERRUPTS)
def test_a_signal_while_it_trains_saves_first(charnn, text, monkeypatch, number):
    real = training.run

    def interrupted(session, *, should_stop, write_sample):
        for event in real(session, write_sample=write_sample, should_stop=should_stop):
            if isinstance(event, Progressed):
                os.kill(os.getpid(), number)
            yield event

    monkeypatch.setattr(training, "run", interrupted)
    result = charnn("train", text, "--steps", 500, *SMALL, "-o", "m")
    assert result.status == 128 + number
    assert "interrupted and saved at step" in result.err
    monkeypatch.setattr(training, "run", real)
    assert charnn("train", "--resume", "--steps", 502, "-o", "m").status == 0


def test_a_default_name_is_one_that_every_system_takes(charnn, text):
    Path("what?.txt").write_bytes(text.read_bytes())
    assert charnn("train", "what?.txt", "--steps", 1, *SMALL).status == 0
    assert [path.name for path in Path("runs").iterdir()] == ["what-"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", 2**31], "--seed: found 2147483648, but it must be at least 0 and below 2147483648"),
        (["--steps", "9" * 400], f"--steps: found {'9' * 400}, but its absolute value must be at most {2**63 - 1}"),
        (["--carry", 9, "--unit", "line"], "--carry: has no effect without --unit stream; add that or leave this out"),
        (["--direction", "both", "--steps", 0], "--steps: found 0, but it must be at least 1"),
    ],
)
@pytest.mark.parametrize("name", ["text.txt", "missing.txt"])
def test_wrong_usage_is_reported_before_what_is_wrong_with_files(charnn, name, text, run, options, message):
    result = charnn("train", name, "-o", run, *options)
    assert (result.status, result.err) == (2, f"charnn: error: {message}\n")


def test_a_working_directory_that_was_removed_is_named(charnn, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    with contextlib.chdir(gone):
        try:
            gone.rmdir()
        except OSError:
            pytest.skip("this system keeps a working directory")
        results = [charnn("train", FABLES, "--steps", 1), charnn("sample"), charnn("score", "x.txt", "-m", "m")]
    message = "the working directory no longer exists; change to another one with cd, and run the command again"
    assert [(result.status, result.err) for result in results] == [(1, f"charnn: error: {message}\n")] * 3


def test_an_impossible_size_is_one_line(charnn, text):
    result = charnn("train", text, "--hidden-size", 10**7, "--steps", 1)
    assert result.status == 1
    assert re.fullmatch(
        r"charnn: error: --hidden-size: found 10,000,000, but the parameters, their average, gradients and the state of the "
        r"optimizer would take at least [\d.,]+ GB, and this machine has [\d.,]+ GB; use a smaller value",
        result.err.splitlines()[-1],
    )


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("train", "use a smaller --hidden-size, --batch-size, --bptt or, for words and subwords, --vocab-size"),
        ("sample", "close other programs, or leave out --device cuda"),
    ],
)
def test_a_gpu_with_too_little_memory_is_one_line(charnn, text, run, monkeypatch, command, remedy):
    def exhausted(*arguments, **options):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr("charnn.training.run.networks.networks", exhausted)
    monkeypatch.setattr("charnn.sampling.build.build_sampler", exhausted)
    result = charnn(command, *([text, "--steps", 1] if command == "train" else ["-m", run]))
    assert (result.status, result.err.splitlines()[-1]) == (
        1,
        f"charnn: error: there is not enough GPU memory; {remedy}",
    )


def test_a_budget_spent_before_the_first_step_is_said(charnn, text):
    result = charnn("train", text, "--minutes", 1e-6, *SMALL)
    found = re.search(
        r"before the first step: the model is untrained; train it with --minutes (\S+) or more", result.err
    )
    assert float(found[1]) > 0


def test_the_minutes_that_are_enough_follow_from_what_was_measured(text, tmp_path):
    session = session_of(text, tmp_path, minutes=1.0)
    config = session.config
    config.plan = replace(config.plan, training_tokens_per_second=100, evaluation_seconds=2.0)
    config.training = replace(config.training, batch_size=10, bptt_length=50)
    config.results.seconds = 9.0
    assert minutes_to_learn(session) == 2.0  # 9 + 20 * 5 + 1.5 + 4 * 2 = 118.5 s


def test_an_empty_validation_file_is_one_line(charnn, text):
    Path("empty.txt").touch()
    result = charnn("train", text, "--valid", "empty.txt", "--steps", 1)
    assert (result.status, "empty.txt: contains no text to validate on" in result.err) == (1, True)


def test_dropout_of_ngrams_that_are_not_embedded_is_refused(charnn, text):
    result = charnn("train", text, "--steps", 2, *SMALL, "--embedding-order", 1, "--ngram-dropout", 0.5)
    assert result.status == 2
    assert "--ngram-dropout: has no effect without --embedding-order 2 or more" in result.err
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
    assert charnn("train", text, "--steps", 2, *SMALL, "--embedding-order", 1, "-o", "m").status == 0
    assert facts(charnn, "m")["ngram_dropout"] == 0


def test_a_short_run_is_measured_on_pieces_of_the_held_out_text(charnn):
    short = charnn("train", FABLES, "--steps", 8, "--hidden-size", 8, "--seed", 1, "-o", "m")
    found = re.search(r"best validation loss (\S+) ± (\S+) nats per token at step 8, on ([\d,]+) of 14,228", short.err)
    info = json.loads(charnn("info", "m", "--json").out)
    assert info["valid_num_tokens"] == int(found[3].replace(",", "")) < 14_228
    assert info["valid_loss_nats"] == pytest.approx(float(found[1]), abs=1e-4)
    assert info["valid_margin_nats"] == pytest.approx(float(found[2]), abs=1e-4)
    Path("held_out.txt").write_text(FABLES.read_text(encoding="utf-8")[-14_228:], encoding="utf-8")
    charnn("score", "-m", "m", "held_out.txt", "--unit", "stream", "--summary", "s.json")
    whole = json.loads(Path("s.json").read_text(encoding="utf-8"))
    assert abs(whole["nats"] / -whole["num_tokens"] - info["valid_loss_nats"]) < 2 * info["valid_margin_nats"]


def test_a_run_of_an_older_version_that_evaluated_a_beginning_selects_anew(charnn):
    charnn("train", FABLES, "--steps", 8, "--hidden-size", 8, "--seed", 1, "-o", "m")
    path = Path("m/config.json")
    config = json.loads(path.read_text(encoding="utf-8"))
    del config["plan"]["final_valid_tokens"], config["results"]["selection_loss_nats"]
    config["results"]["valid_loss_nats"] = 0.001  # of an easy beginning: no loss over pieces would be better
    path.write_text(json.dumps(config), encoding="utf-8")
    resumed = charnn("train", "--resume", "-o", "m", "--steps", 16)
    assert "at step 16" in resumed.err.splitlines()[-3]


def test_a_text_named_on_resuming_must_be_that_of_the_run(charnn, text):
    assert charnn("train", text, "--steps", 2, *SMALL, "-o", "m").status == 0
    Path("other.txt").write_text("another text\n" * 50)
    refused = charnn("train", "--resume", "-o", "m", "--steps", 4, "other.txt")
    assert (refused.status, refused.err) == (
        2,
        f"charnn: error: TEXT: found other.txt, but m was trained on {text}; omit this argument to resume m with {text}, or train a "
        "new run on it: leave --resume out and name another directory with -o\n",
    )
    refused = charnn("train", "--resume", "-o", "m", "--steps", 4, "--valid", "other.txt")
    assert refused.err.startswith(f"charnn: error: --valid: found other.txt, but m was trained on {text}; ")
    Path("moved.txt").write_bytes(text.read_bytes())
    assert charnn("train", "--resume", "-o", "m", "--steps", 4, "moved.txt").status == 0
    text.write_text(TEXT + "more\n")
    refused = charnn("train", "--resume", "-o", "m", "--steps", 6, text)
    assert f"TEXT: found {text}, which has changed since or is not all of the text; omit this argument" in refused.err
    assert facts(charnn, "m")["steps"] == 4


def test_one_of_two_texts_is_not_the_text_of_the_run(charnn, text):
    Path("second.txt").write_text("a second text\n" * 50)
    assert charnn("train", text, "second.txt", "--steps", 2, *SMALL, "-o", "m").status == 0
    refused = charnn("train", "--resume", "-o", "m", "--steps", 4, "second.txt")
    assert "TEXT: found second.txt, which has changed since or is not all of the text" in refused.err
    assert charnn("train", "--resume", "-o", "m", "--steps", 4, text, "second.txt").status == 0


def test_one_duration_is_shown_everywhere(charnn, text):
    done = charnn("train", text, "--steps", 3, *SMALL, "-o", "m")
    seconds = facts(charnn, "m")["seconds"]
    assert f"m: trained for {seconds:.0f} s, 3 steps" in done.err
    assert json.loads(Path("m/training.json").read_text())["seconds"] == pytest.approx(seconds, abs=0.01)
    assert f"has spent its budget (3 steps, {seconds:.0f} s)" in charnn("train", "--resume", "-o", "m").err


@pytest.mark.parametrize("moved", [True, False], ids=["moved", "deleted"])
def test_a_directory_that_vanishes_in_training_is_not_said_to_be_intact(charnn, text, monkeypatch, moved):
    real = training.run

    def vanishing(session, *, should_stop, write_sample):
        for event in real(session, write_sample=write_sample, should_stop=should_stop):
            if session.directory.exists() and isinstance(event, Evaluated):
                Path("m").rename("elsewhere")
                if not moved:
                    shutil.rmtree("elsewhere")
            yield event

    monkeypatch.setattr(training, "run", vanishing)
    result = charnn("train", text, "--steps", 40, *SMALL, "-o", "m")
    last = result.err.splitlines()[-1]
    assert result.status == 1
    assert last.startswith("charnn: error: m/metrics.jsonl: cannot be written: there is no such directory; ")
    assert "m was moved or deleted during training: what was learned up to step " in last
    assert "intact" not in last
    monkeypatch.setattr(training, "run", real)
    if moved:
        assert charnn("train", "--resume", "-o", "elsewhere").status == 0


@pytest.mark.parametrize(
    ("name", "value"), [("step", "x"), ("seconds", None), ("losses", [None]), ("rate_scale", []), ("epoch", 1.5)]
)
def test_a_mistyped_position_is_named(charnn, run, name, value):
    content = json.loads((run / "training.json").read_text())
    (run / "training.json").write_text(json.dumps({**content, name: value}))
    refused = charnn("train", "--resume", "-o", run, "--steps", 130)
    assert (refused.status, len(refused.err.splitlines())) == (1, 1)
    assert (
        f"{run}/training.json: is damaged (unknown {name.replace('_', ' ')} {value!r}); restore the file" in refused.err
    )


@pytest.mark.parametrize("name", ["batch_size", "dropout"])
def test_a_run_without_an_option_that_was_resolved_is_refused(charnn, run, name):
    content = json.loads((run / "config.json").read_text())
    content["options"]["training"][name] = None
    (run / "config.json").write_text(json.dumps(content))
    refused = charnn("train", "--resume", "-o", run, "--steps", 130)
    assert f"{run}/config.json: found no {name} in options.training, so the run cannot be resumed" in refused.err
    assert charnn("score", "-m", run, "--text", "The").status == 0


@pytest.mark.parametrize("prefix", ["network.", "optimizer.", "recurrent."])
def test_a_checkpoint_without_some_tensors_is_one_line(charnn, run, prefix):
    tensors, header = read_tensors(run / "training.safetensors")
    del tensors[min(name for name in tensors if name.startswith(prefix) and not name.endswith(".step"))]
    (run / "training.safetensors").write_bytes(b"".join(packed_tensors(tensors, header)))
    refused = charnn("train", "--resume", "-o", run, "--steps", 122)
    assert (refused.status, len(refused.err.splitlines())) == (1, 1)
    assert f"{run}/training.safetensors: does not fit this model" in refused.err


@pytest.mark.parametrize("name", ["config.json", "training.json"])
def test_no_damaged_value_is_an_internal_error(charnn, run, name):
    """A few of each kind: every part of the file is dropped, or replaced by a string or a negative number."""
    content = json.loads((run / name).read_text())
    for key in content:
        for damaged in (
            {other: value for other, value in content.items() if other != key},
            {**content, key: "x"},
            {**content, key: -1},
        ):
            (run / name).write_text(json.dumps(damaged))
            commands = [("score", "-m", run, "--text", "The"), ("info", run)] if name == "config.json" else []
            for command in (*commands, ("train", "--resume", "-o", run, "--steps", 3)):  # its budget is spent
                result = charnn(*command)
                assert result.status in (0, 1), (key, result.err)
                assert "internal error" not in result.err, (key, command, result.err)


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_a_slim_run_keeps_what_samples_and_scores_need(charnn, text, direction):
    options = ("--direction", direction, "--unit", "line", "-o", "m")
    assert charnn("train", text, "--steps", 4, *SMALL, *options, "--slim").status == 0
    assert {file.name for file in Path("m").rglob("*") if file.is_file()} == {
        *("config.json", "tokenizer.json", "model.safetensors", "ngram.safetensors", "metrics.jsonl")
    }
    assert charnn("sample", "-m", "m", "-n", 5).status == 0
    assert charnn("score", "-m", "m", "--text", "The", "--mix-ngram", "--direction", "forward").status == 0
    refused = charnn("train", "--resume", "-o", "m", "--steps", 8)
    assert (refused.status, refused.err) == (
        1,
        "charnn: error: m: was trained with --slim, which keeps nothing to resume from; train a new run\n",
    )
    assert charnn("train", text, "--steps", 2, *SMALL, *options, "--overwrite").status == 0


def test_an_interrupted_slim_run_can_be_resumed(charnn, text, monkeypatch):
    real = training.run

    def interrupted(session, *, should_stop, write_sample):
        for event in real(session, write_sample=write_sample, should_stop=should_stop):
            os.kill(os.getpid(), signal.SIGTERM)
            yield event

    monkeypatch.setattr(training, "run", interrupted)
    assert charnn("train", text, "--steps", 500, *SMALL, "-o", "m", "--slim").status == 128 + signal.SIGTERM
    monkeypatch.setattr(training, "run", real)
    assert charnn("train", "--resume", "-o", "m", "--steps", 40).status == 0
    assert not Path("m/training.safetensors").exists()


@pytest.mark.parametrize("flag", ["--clip-value", "--clip-norm", "--learning-rate", "--weight-decay"])
def test_a_number_beyond_single_precision_is_refused(charnn, text, flag):
    refused = charnn("train", text, flag, "1e300")
    assert (refused.status, refused.err) == (
        2,
        f"charnn: error: {flag}: found 1e+300, but its absolute value must be at most 3e+38\n",
    )
