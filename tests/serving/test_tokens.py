"""Tokens as clients see them join to the text, with every tokenizer."""

import contextlib
import json

import pytest

from tests.conftest import train_quietly

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from charnn.serving.spelling import visible
from tests.serving.http_client import serving

TEXT = "The fox said: 'no', and left (at 5 o'clock). Été — the heron's tide\tcame in, 3.5 feet high!\n" * 60
PROMPT = "The fox said: Été"
KINDS = {
    "char": (),
    "byte": (),
    "word": (),
    "subword": ("--vocab-size", 60),
    "pretokenized": ("--tokenizer", "word", "--pretokenized"),
}


@contextlib.contextmanager
def client_of(kind, directory):
    """Serve a model with a tokenizer."""
    options = KINDS[kind]
    options = options if "--tokenizer" in options else ("--tokenizer", kind, *options)
    run = train_quietly(directory, TEXT, "--steps", 8, "--batch-size", 4, *options)
    with serving(run) as made:
        yield made


@pytest.fixture(scope="module", params=KINDS)
def client(request, tmp_path_factory):
    with client_of(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


def check(choice, logprobs):
    found = choice["logprobs"]
    assert "".join(found["tokens"]) == choice["text"]
    length = 0
    for token, offset in zip(found["tokens"], found["text_offset"], strict=True):
        assert offset == length
        length += len(token)
    assert len(found["token_logprobs"]) == len(found["tokens"])
    if not logprobs:
        assert found["top_logprobs"] is None
        return
    for token, log_prob, top in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True):
        assert len(top) == logprobs
        assert token not in top or top[token] == log_prob


def joined(events):
    """Return the choices of a stream as they would be if they were not streamed."""
    wholes = {}
    for event in events[:-1]:
        for part in json.loads(event)["choices"]:
            whole = wholes.setdefault(part["index"], part)
            if whole is part:
                continue
            assert set(part["logprobs"]) == set(whole["logprobs"])
            whole["text"] += part["text"]
            whole["finish_reason"] = part["finish_reason"]
            for name, values in part["logprobs"].items():
                if values:
                    whole["logprobs"][name] = (whole["logprobs"][name] or []) + values
    return [wholes[index] for index in sorted(wholes)]


@pytest.mark.parametrize(
    "options",
    [
        {"logprobs": 3, "echo": True, "max_tokens": 25},
        {"logprobs": 0, "max_tokens": 25, "temperature": 1.5},
        {"logprobs": 2, "max_tokens": 60, "stop": ["e", "t", " ", "0"], "temperature": 2.0},
        {"logprobs": 4, "max_tokens": 0, "echo": True},
        {"logprobs": 1, "max_tokens": 60, "until": "sentence"},
    ],
    ids=["echo", "plain", "stop", "prompt", "sentence"],
)
def test_tokens_join_to_the_text_whole_and_streamed(client, options):
    fields = {"prompt": PROMPT, "n": 4, "seed": 11, "on_unknown": "unk", **options}
    reply = client.post("/v1/completions", fields)
    assert reply.status == 200, reply.text
    choices = reply.json()["choices"]
    for choice in choices:
        check(choice, options["logprobs"])
    if options.get("echo") and "<unk>" not in choices[0]["text"]:
        assert all(choice["text"].startswith(PROMPT) for choice in choices)
    if "stop" in options:
        assert any(choice["finish_reason"] == "stop" for choice in choices)
    streamed = list(client.events("/v1/completions", {**fields, "stream": True}))
    assert joined(streamed) == choices


def test_a_byte_model_returns_characters_with_their_last_byte(tmp_path):
    broken = [0xC3, 0xA9, 0x41, 0xE2, 0x82, 0x42, 0xFF, 0xC3]
    fields = {"prompt": broken, "max_tokens": 0, "echo": True, "logprobs": 2}
    with client_of("byte", tmp_path) as client:
        (choice,) = client.post("/v1/completions", fields).json()["choices"]
    assert choice["text"] == "éA\ufffdB\ufffd\ufffd"
    assert choice["logprobs"]["tokens"] == ["", "é", "A", "", "", "\ufffdB", "\ufffd", "\ufffd"]
    check(choice, 2)


def test_visible_text_has_no_bytes_that_are_not_utf_8():
    assert visible("a\udcff\udce9") == "a\ufffd\ufffd"
    assert visible("é") == "é"
