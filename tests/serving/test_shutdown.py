"""How the server ends: what runs is finished, or ended with an error when that takes too long."""

import contextlib
import json
import threading
import time

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from charnn.config import ServeOptions
from charnn.serving import run as running
from tests.serving.http_client import Client

LONG = {"prompt": "The fox", "max_tokens": 100_000, "seed": 1}


@pytest.fixture
def server(run):
    """A server in a thread, and its client."""
    with running.Server([run], ServeOptions(port=0), key=None) as made:
        thread = threading.Thread(target=made.run)
        thread.start()
        client = Client(int(made.address.rpartition(":")[2]))
        with contextlib.suppress(ConnectionError):
            client.get("/health")
        yield made, client, thread
        made.stop()
        thread.join()


@pytest.fixture
def impatient(server, monkeypatch):
    """The same, if it ends what runs at once."""
    monkeypatch.setattr(running, "SECONDS_TO_FINISH", 0.2)
    return server


def test_streams_end_with_their_reason_and_an_error(impatient):
    made, client, thread = impatient
    fields = {**LONG, "stream": True, "n": 2, "stream_options": {"include_usage": True}}
    events = client.events("/v1/completions", fields)
    received = [next(events)]
    made.stop()
    received += events
    assert received[-1] == "[DONE]"
    *parts, error, usage = [json.loads(event) for event in received[:-1]]
    reasons = {choice["index"]: choice["finish_reason"] for part in parts for choice in part["choices"]}
    assert reasons == {0: "interrupted", 1: "interrupted"}
    assert error["error"]["code"] == 503
    assert error["error"]["message"] == "the server was stopped before this request was complete; send it again"
    assert usage["usage"]["completion_tokens"] > 0
    thread.join()


def test_a_whole_reply_says_that_it_is_not_complete(impatient):
    made, client, thread = impatient
    replies = []
    asking = threading.Thread(target=lambda: replies.append(client.post("/v1/completions", LONG)))
    asking.start()
    while not client.get("/health").json()["samples"]["small"]:
        time.sleep(0.01)
    made.stop()
    asking.join()
    assert replies[0].status == 503
    content = replies[0].json()
    assert content["error"]["code"] == 503
    assert content["choices"][0]["finish_reason"] == "interrupted"
    assert len(content["choices"][0]["text"]) == content["usage"]["completion_tokens"]
    thread.join()


def test_prompts_that_are_being_read_are_ended(impatient):
    made, client, thread = impatient
    replies = []
    body = {"prompt": "The fox " * 100_000, "max_tokens": 0, "echo": True, "logprobs": 0}
    asking = threading.Thread(target=lambda: replies.append(client.post("/v1/completions", body)))
    asking.start()
    while not made._models.workers.num_pending:
        time.sleep(0.001)
    made.stop()
    asking.join()
    assert replies[0].status == 503
    thread.join()


def test_a_client_that_does_not_read_its_reply_does_not_hold_up_the_end(impatient, monkeypatch, capfd):
    monkeypatch.setattr(running, "SECONDS_TO_SEND", 0.2)
    made, client, thread = impatient
    with contextlib.closing(client.connect()) as connection:
        body = {"prompt": "The fox " * 1000, "max_tokens": 0, "echo": True, "logprobs": 50, "stream": True}
        connection.request("POST", "/v1/completions", json.dumps(body).encode(), {"host": "localhost"})
        assert connection.sock.recv(12) == b"HTTP/1.1 200"  # and no more is read
        made.stop()
        thread.join(20)
        assert not thread.is_alive()
    assert "Traceback" not in capfd.readouterr().err
