"""A server in a thread of the tests, and a client of the standard library."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from starlette.applications import Starlette

from charnn.serving.application import make_application
from charnn.serving.models import ServedModels


class Reply(NamedTuple):
    """An HTTP response."""

    status: int
    text: str
    content_type: str

    def json(self) -> Any:
        """Return its JSON content."""
        return json.loads(self.text)


class Client:
    """Sends requests to a port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        """Send a request, with a JSON body unless it is of bytes."""
        with contextlib.closing(self.connect()) as connection:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, content, {"host": "localhost", **headers})
            response = connection.getresponse()
            text = response.read().decode("utf-8")
            return Reply(response.status, text, response.headers.get("content-type", ""))

    def get(self, path: str, **headers: str) -> Reply:
        """Send a GET request."""
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: object, **headers: str) -> Reply:
        """Send a POST request."""
        return self.ask("POST", path, body, **headers)

    def events(self, path: str, body: object) -> Iterator[str]:
        """Yield the server-sent events of a reply; the connection ends with the generator."""
        with contextlib.closing(self.connect()) as connection:
            connection.request("POST", path, json.dumps(body).encode(), {"host": "localhost"})
            response = connection.getresponse()
            while line := response.readline():
                if line.strip():
                    yield line.decode("utf-8").strip().removeprefix("data: ")

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)


@contextlib.contextmanager
def running(application: Starlette) -> Iterator[Client]:
    """Serve an application while the block runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield Client(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextlib.contextmanager
def serving(run: Path) -> Iterator[Client]:
    """Serve a model while the block runs."""
    with (
        contextlib.closing(ServedModels([run], max_waiting=1000)) as models,
        running(make_application(models)) as client,
    ):
        yield client
