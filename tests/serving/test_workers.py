"""The work of requests in threads: turns, limits, and clients that go away."""

import asyncio
import contextlib
import json
import threading
import time

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from charnn.serving import limits
from charnn.serving.application import make_application
from charnn.serving.bodies import RequestError
from charnn.serving.models import ServedModels
from charnn.serving.workers import Turns, Workers, WorkStoppedError
from tests.serving.http_client import running


@pytest.fixture
def served(run):
    models = ServedModels([run], max_waiting=100)
    yield models
    models.close()


@pytest.fixture
def client(served):
    with running(make_application(served)) as made:
        yield made


@pytest.fixture
def made():
    threads = Workers(max_pending=2)
    yield threads
    threads.close()


def eventually(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("the condition never held")


def test_turns_go_around_in_the_order_of_asking():
    turns, order, number_ready = Turns(1), [], []

    def work(name):
        number_ready.append(name)
        turns.take()
        for _ in range(3):
            order.append(name)
            turns.pass_on()
        turns.give()

    turns.take()
    threads = []
    for name in "abc":
        threads.append(threading.Thread(target=work, args=(name,)))
        threads[-1].start()
        eventually(lambda: len(turns._waiting) == len(threads))
    turns.give()
    for thread in threads:
        thread.join()
    assert "".join(order) == "abcabcabc"


def test_work_beyond_the_limit_is_refused_and_stops_when_nobody_waits(made):
    started, stopped = [], []

    def endless(check):
        started.append(True)
        try:
            while True:
                check()
                time.sleep(0.001)
        except WorkStoppedError:
            stopped.append(True)
            raise

    async def ask():
        tasks = [asyncio.ensure_future(made.run(endless)) for _ in range(2)]
        while len(started) < 2:
            await asyncio.sleep(0.001)
        with pytest.raises(RequestError, match="2 requests are being read already, as many as may be") as error:
            await made.run(lambda _: None)
        assert error.value.status == 429
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        while made.num_pending:
            await asyncio.sleep(0.001)
        assert await made.run(lambda _: 5) == 5

    asyncio.run(ask())
    assert stopped == [True, True]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/completions", {"max_tokens": 5}),
        ("/v1/completions", {"max_tokens": 0, "echo": True, "logprobs": 0}),
        ("/v1/score", {}),
    ],
    ids=["prompt", "echo", "score"],
)
def test_abandoned_requests_do_not_block_the_others(client, served, path, fields):
    text = "The fox " * 30_000
    body = json.dumps({**fields, "text" if path == "/v1/score" else "prompt": text}).encode()
    connections = [client.connect() for _ in range(60)]
    for connection in connections:
        connection.request("POST", path, body, {"host": "localhost"})
    eventually(lambda: served.workers.num_pending == 60)
    for connection in connections:
        connection.close()
    eventually(lambda: served.workers.num_pending == 0)
    assert client.post("/v1/completions", {"prompt": "The", "max_tokens": 2}).status == 200


def test_a_short_prompt_does_not_wait_for_long_ones(client, served):
    scoring = json.dumps({"text": "The fox " * 100_000}).encode()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            connection = stack.enter_context(contextlib.closing(client.connect()))
            connection.request("POST", "/v1/score", scoring, {"host": "localhost"})
        eventually(lambda: served.workers.num_pending == 4)
        assert client.post("/v1/completions", {"prompt": "The", "max_tokens": 2}).status == 200
        assert served.workers.num_pending == 4


def test_limits_of_requests_and_bodies(client, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BYTES", 1000)
    refused = client.post("/tokenize", {"prompt": "The fox " * 200})
    assert (refused.status, refused.json()["error"]["code"]) == (429, 429)
    assert refused.json()["error"]["message"].startswith("requests of 1,000 bytes are in progress, as many as may be")
    assert client.post("/tokenize", {"prompt": "The fox"}).status == 200
    monkeypatch.setattr(limits, "MAX_REQUESTS", 0)
    refused = client.get("/v1/models")
    assert refused.status == 429
    assert refused.json()["error"]["message"] == "0 requests are in progress, as many as may be; try again later"


def test_a_body_that_does_not_arrive_is_refused(client, monkeypatch):
    monkeypatch.setattr(limits, "SECONDS_FOR_BODY", 0.1)
    with contextlib.closing(client.connect()) as connection:
        connection.putrequest("POST", "/tokenize", skip_host=True)
        connection.putheader("host", "localhost")
        connection.putheader("content-length", "100")
        connection.endheaders()
        response = connection.getresponse()
        assert response.status == 408
        message = json.loads(response.read())["error"]["message"]
        assert message == "the body did not arrive within 0.1 seconds"
