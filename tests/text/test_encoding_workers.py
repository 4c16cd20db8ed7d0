"""Texts encoded in several processes are those encoded in one, and no process is left behind."""

import gc
import io
import os
import signal
import subprocess
import sys
import time
import weakref

import numpy as np
import pytest

from charnn.config import TextOptions
from charnn.errors import TextError
from charnn.files import sha256_hex
from charnn.text import encoding, encoding_workers, passes
from charnn.text.corpus import prepare_corpus
from charnn.text.encoding_workers import choose_num_workers, encode_in_order
from charnn.text.process_messages import Message, MessageError, read_message, write_message
from charnn.text.splitting import SplitChunk
from charnn.text.tokenizers import load_tokenizer
from tests.conftest import FABLES, REPOSITORY
from tests.notices import collected_notices
from tests.text.doubler import START, Doubler, Number

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


def test_words_that_are_forgotten_take_no_memory(monkeypatch):
    monkeypatch.setattr(encoding, "MAX_NUMBERED_WORDS", 10)
    encode = encoding._WordNumberer(False, "stream")
    gc.disable()
    try:
        encode(SplitChunk("train", [TEXT[:1000]]))
        forgotten = weakref.ref(encode._words), weakref.ref(encode._words._numbers)
        encode(SplitChunk("train", [TEXT[:1000]]))
        assert [words() for words in forgotten] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_errors_name_the_same_line(tmp_path, monkeypatch, num_workers):
    monkeypatch.setattr("charnn.text.decoding.CHUNK_BYTES", 512)
    (tmp_path / "text.txt").write_bytes(TEXT[:9000].encode() + b"\n\xff\n" + TEXT.encode())
    line = TEXT[:9000].count("\n") + 2
    with pytest.raises(TextError, match=rf"text.txt:{line}: byte 0xff at offset 9001 is not UTF-8"):
        prepared(tmp_path / "m", str(tmp_path / "text.txt"), monkeypatch, num_workers, tokenizer="word")


@pytest.fixture
def doubled(monkeypatch):
    """Doubles numbers in two workers."""
    monkeypatch.setattr(encoding_workers, "_START", START)
    return lambda numbers: [
        (number.value, double.value)
        for number, double in encode_in_order(Doubler(), map(Number, numbers), num_workers=2)
    ]


def test_results_come_in_order(doubled):
    assert doubled(range(12)) == [(n, 2 * n) for n in range(12)]
    assert doubled([]) == []


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (13, TextError, r"^13: is no number; name another$"),
        (14, MemoryError, r"^14 is too large$"),
        (
            15,
            RuntimeError,
            r"(?s)^a process that encoded the text failed:\nTraceback .*in __call__.*KeyError: '15 \\udcff'",
        ),
    ],
    ids=["TextError", "MemoryError", "unexpected"],
)
def test_an_error_of_a_worker_is_raised_here(doubled, number, error, message):
    with pytest.raises(error, match=message) as raised:
        doubled([10, 11, number, 12, 16])
    assert type(raised.value) is error


def test_memory_that_an_array_cannot_have_is_a_memory_error():
    def encode(_):
        return np.empty(1 << 60, dtype=np.uint8)

    encode.chunk_type = Number
    answer = encoding_workers._answer(encode, Number(1).to_message())
    error = encoding_workers._raised(answer)
    assert type(error) is MemoryError
    assert "Unable to allocate" in str(error)


def test_an_encoder_that_is_not_in_the_list_is_refused():
    sent, answers = io.BytesIO(), io.BytesIO()
    write_message(sent, Message("os.system", {}))
    sent.seek(0)
    with pytest.raises(MessageError, match=r"found the encoder 'os.system'; known are tokenizer, words$"):
        encoding_workers.work(sent, answers, encoding.ENCODERS)
    assert answers.getvalue() == b""


@pytest.mark.skipif(os.name == "nt", reason="a signal of POSIX")
def test_a_worker_that_is_killed_is_said(doubled):
    with pytest.raises(TextError, match=r"ended with status -9, perhaps for lack of memory; .* OMP_NUM_THREADS=1"):
        doubled([1, 99, 2])


def test_modules_are_found_where_this_process_finds_them(tmp_path, monkeypatch, doubled):
    """Not in the working directory, in which a worker would otherwise look first."""
    (tmp_path / "json.py").write_text("raise ImportError('found in the working directory')")
    monkeypatch.setattr(sys, "path", [str(REPOSITORY), *filter(None, sys.path)])
    monkeypatch.chdir(tmp_path)
    assert doubled([1]) == [(1, 2)]


def sent_and_received(value):
    file = io.BytesIO()
    write_message(file, value.to_message())
    file.seek(0)
    return type(value).from_message(read_message(file))


SURROGATES = "caf\u00e9 \ud83d\ude00 \udc80\udcff \U0001f600\n\ud800 end"


@pytest.mark.parametrize("texts", [[SURROGATES], ["", "a", "", SURROGATES], []], ids=["stream", "units", "none"])
def test_a_chunk_arrives_as_it_was_sent(texts):
    chunk = sent_and_received(SplitChunk("valid", texts))
    assert chunk == SplitChunk("valid", texts)


@pytest.mark.parametrize("options", [{"tokenizer": "word"}, {"tokenizer": "subword", "vocab_size": 300}], ids=str)
def test_a_tokenizer_arrives_as_it_was_sent(tmp_path, monkeypatch, options):
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    files = prepared(tmp_path / "m", str(tmp_path / "text.txt"), monkeypatch, 1, **options)[1]
    encoder = encoding._IdEncoder(load_tokenizer("m", files))
    received = sent_and_received(encoder)
    assert received._tokenizer.files() == files
    chunk = SplitChunk("train", [TEXT[:3000]])
    for encode in (encoder, received):
        result = sent_and_received(encode(chunk))
        assert result.ids.tolist() == encoder(chunk).ids.tolist()
        assert result.ids.dtype == encoder(chunk).ids.dtype
        assert result.sizes == encoder(chunk).sizes


def test_words_arrive_as_they_were_sent():
    encoder = sent_and_received(encoding._WordNumberer(True, "line"))
    chunk = SplitChunk("train", ["a b a", "caf\u00e9 \udc80\udcff \U0001f600"])
    expected = encoder(chunk)
    received = sent_and_received(expected)
    assert received.words == expected.words
    assert "\udc80\udcff" in received.words
    assert received.indices.tolist() == expected.indices.tolist()
    assert received.counts.tolist() == expected.counts.tolist()
    assert received.sizes == expected.sizes


def test_a_long_text_is_encoded_by_as_many_processes_as_there_are_cores(monkeypatch):
    for cores, expected in ((1, 1), (2, 2), (64, encoding_workers.MAX_WORKERS)):
        monkeypatch.setattr(encoding_workers, "available_cores", lambda cores=cores: cores)
        assert choose_num_workers(encoding_workers.MIN_PARALLEL_BYTES) == expected
        assert choose_num_workers(encoding_workers.MIN_PARALLEL_BYTES - 1) == 1


PROGRAM = """
import sys
from charnn.text import encoding_workers
from tests.text.doubler import START, Doubler, Number
encoding_workers._START = START
numbers = map(Number, [1, 2, 3, 4, 5, 6, 7] + [-1] * 9)
for _, number in encoding_workers.encode_in_order(Doubler(), numbers, num_workers=2):
    print(number.value, flush=True)
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
