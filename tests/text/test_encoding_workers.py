"""Texts encoded in several processes are those encoded in one, and no process is left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from charnn.config import TextOptions
from charnn.errors import TextError
from charnn.files import sha256_hex
from charnn.text import encoding, encoding_workers, passes
from charnn.text.corpus import prepare_corpus
from charnn.text.encoding_workers import choose_num_workers, encode_in_order
from tests.conftest import FABLES, REPOSITORY
from tests.notices import collected_notices
from tests.text.doubler import Doubler

TEXT = (FABLES.read_text(encoding="utf-8")[:60_000] + "Caf\u00e9 \u2019tis  one\tmore\u3000line\r\n\n") * 2


def prepared(directory, name, monkeypatch, num_workers, **options):
    monkeypatch.setattr(passes, "choose_num_workers", lambda _: num_workers)
    directory.mkdir()
    with collected_notices() as notes:
        corpus = prepare_corpus(directory, [name], TextOptions(**options), seed=1)
    files = {path.name: sha256_hex(path.read_bytes()) for path in directory.iterdir()}
    return files, corpus.tokenizer.files(), corpus.train, corpus.valid, corpus.spelling_examples, notes


@pytest.mark.parametrize(
    "options",
    [
        {"tokenizer": "word"},
        {"tokenizer": "word", "unit": "document", "min_count": 1},
        {"tokenizer": "word", "unit": "line", "pretokenized": True},
        {"tokenizer": "subword", "vocab_size": 300},
    ],
    ids=["word", "documents", "pretokenized", "subword"],
)
def test_the_number_of_processes_makes_no_difference(tmp_path, monkeypatch, options):
    monkeypatch.setattr("charnn.text.decoding.CHUNK_BYTES", 4096)
    monkeypatch.setattr("charnn.text.splitting.UNITS_PER_CHUNK", 64)
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    results = [
        prepared(tmp_path / str(number), str(tmp_path / "text.txt"), monkeypatch, number, **options)
        for number in (1, 2, 4)
    ]
    assert results[0][0].keys() == {"train.bin", "valid.bin"}
    assert "4 CRLF line ends became LF" not in results[0][-1]
    assert results[1] == results[0]
    assert results[2] == results[0]


def test_words_are_the_same_where_few_are_remembered(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    monkeypatch.setattr("charnn.text.decoding.CHUNK_BYTES", 4096)
    results = []
    for limit in (1 << 18, 10):
        monkeypatch.setattr(encoding, "MAX_NUMBERED_WORDS", limit)
        results.append(prepared(tmp_path / str(limit), str(tmp_path / "text.txt"), monkeypatch, 1, tokenizer="word"))
    assert results[0] == results[1]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_errors_name_the_same_line(tmp_path, monkeypatch, num_workers):
    monkeypatch.setattr("charnn.text.decoding.CHUNK_BYTES", 512)
    (tmp_path / "text.txt").write_bytes(TEXT[:9000].encode() + b"\n\xff\n" + TEXT.encode())
    line = TEXT[:9000].count("\n") + 2
    with pytest.raises(TextError, match=rf"text.txt:{line}: byte 0xff at offset 9001 is not UTF-8"):
        prepared(tmp_path / "m", str(tmp_path / "text.txt"), monkeypatch, num_workers, tokenizer="word")


def test_results_come_in_order():
    assert list(encode_in_order(Doubler(), iter(range(12)), num_workers=3)) == [(n, 2 * n) for n in range(12)]
    assert list(encode_in_order(Doubler(), iter([]), num_workers=2)) == []


def test_an_error_of_a_worker_is_raised_here():
    with pytest.raises(TextError, match="13: is no number; name another"):
        list(encode_in_order(Doubler(), iter(range(10, 20)), num_workers=2))


@pytest.mark.skipif(os.name == "nt", reason="a signal of POSIX")
def test_a_worker_that_is_killed_is_said():
    with pytest.raises(TextError, match=r"ended with status -9, perhaps for lack of memory; .* OMP_NUM_THREADS=1"):
        list(encode_in_order(Doubler(), iter([1, 99, 2]), num_workers=2))


def test_a_long_text_is_encoded_by_as_many_processes_as_there_are_cores(monkeypatch):
    for cores, expected in ((1, 1), (2, 2), (64, encoding_workers.MAX_WORKERS)):
        monkeypatch.setattr(encoding_workers, "available_cores", lambda cores=cores: cores)
        assert choose_num_workers(encoding_workers.MIN_PARALLEL_BYTES) == expected
        assert choose_num_workers(encoding_workers.MIN_PARALLEL_BYTES - 1) == 1


PROGRAM = """
import sys
from charnn.text.encoding_workers import encode_in_order
from tests.text.doubler import Doubler
for _, number in encode_in_order(Doubler(), iter([1, 2, 3, 4, 5, 6, 7] + [-1] * 9), num_workers=2):
    print(number, flush=True)
"""


def children(process):
    """Return the processes that another one has started, those that are still there."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def is_there(process):
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return status.stdout.strip() not in ("", "Z", "Zs")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ps of Linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_no_worker_outlives_the_process(number):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"2\n"
    workers = children(process.pid)
    assert len(workers) == 2
    process.send_signal(number)
    deadline = time.monotonic() + 90
    while any(map(is_there, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.communicate()
