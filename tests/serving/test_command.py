"""`charnn serve` as a process: its address, its key, and how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from tests.serving.http_client import Client


@pytest.fixture
def server(run):
    """Start a server, whose process and port are returned by a function of further arguments."""
    processes = []

    def start(*arguments, **environment):
        command = [sys.executable, "-m", "charnn", "serve", "-m", str(run), "--port", "0", *arguments]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
        processes.append(process)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stderr.readline())
        return process, Client(int(found[1]))

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_samples_in_progress_are_finished_before_the_server_ends(server, number):
    process, client = server()
    replies = []
    body = {"prompt": "The", "max_tokens": 3000, "seed": 1, "mix_ngram": True}
    asking = threading.Thread(target=lambda: replies.append(client.post("/v1/completions", body)))
    asking.start()
    while not client.get("/health").json()["samples"]["small"]:
        pass
    process.send_signal(number)
    asking.join()
    assert replies[0].json()["usage"]["completion_tokens"] == 3000
    assert process.wait() in (128 + number, -number)
    assert "Traceback" not in process.stderr.read()


def test_the_key_of_the_environment_is_needed(server):
    _, client = server(CHARNN_API_KEY="secret")
    assert client.get("/v1/models").status == 401
    assert client.get("/v1/models", authorization="Bearer secret").status == 200


def test_a_port_in_use_and_a_missing_extra_are_one_line(charnn, run, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = charnn("serve", "-m", run, "--port", port)
    assert (refused.status, len(refused.err.splitlines())) == (1, 1)
    assert f"--port {port}: is in use; choose another one, or 0 for any that is free" in refused.err
    monkeypatch.setitem(sys.modules, "charnn.serving.run", None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    missing = charnn("serve", "-m", run)
    assert missing.status == 1
    assert "is not installed; in the clone, run pip install -e '.[serve]'" in missing.err


def test_a_model_named_twice_is_one_line(charnn, run):
    refused = charnn("serve", "-m", run, "-m", run, "--port", 0)
    assert (refused.status, json.dumps(refused.err).count("\\n")) == (1, 1)
    assert f"{run}: is named twice; name each model once" in refused.err


def test_an_address_of_another_machine_is_one_line(charnn, run):
    refused = charnn("serve", "-m", run, "--host", "192.0.2.1", "--port", 0)
    warning, error = refused.err.splitlines()
    assert "set --api-key" in warning
    assert (refused.status, error) == (
        1,
        "charnn: error: --host 192.0.2.1: is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all interfaces",
    )


def test_a_second_signal_ends_the_samples_at_once_and_properly(server):
    process, client = server()
    events = client.events("/v1/completions", {"prompt": "The", "max_tokens": 100_000, "seed": 1, "stream": True})
    received = [next(events)]
    process.send_signal(signal.SIGINT)
    assert "finishing 1 sample" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    received += events
    assert received[-1] == "[DONE]"
    assert any('"finish_reason":"interrupted"' in event.replace(" ", "") for event in received)
    assert process.wait() in (130, -signal.SIGINT)
    assert "Traceback" not in process.stderr.read()
