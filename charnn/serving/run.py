"""Running the server until it is told to stop."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import uvicorn

from charnn.config import ServeOptions
from charnn.config.serving import LOOPBACK
from charnn.errors import CharnnError
from charnn.serving.access import Access
from charnn.serving.application import make_application
from charnn.serving.models import ServedModels

MAX_WAITING = 4096
SECONDS_TO_FINISH = 30
"""How long a server that is told to stop goes on with the requests in progress."""
SECONDS_TO_SEND = 5
"""How long clients may take to read the last of their replies."""


class _ListeningServer(uvicorn.Server):
    """Ends requests properly when the time to finish them is over: the samples with an error, connections after that.

    Args:
        interrupt: ends what is being generated.
    """

    def __init__(self, config: uvicorn.Config, interrupt: Callable[[], None]) -> None:
        super().__init__(config)
        self._interrupt = interrupt

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for the requests in progress."""
        loop = asyncio.get_running_loop()
        timers = [
            loop.call_later(SECONDS_TO_FINISH, self._interrupt),
            loop.call_later(SECONDS_TO_FINISH + SECONDS_TO_SEND, self._disconnect),
        ]
        try:
            await super().shutdown(sockets)
        finally:
            for timer in timers:
                timer.cancel()

    def _disconnect(self) -> None:
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()


class Server:
    """Listens at an address; a context manager that ends the models' threads.

    Args:
        paths: the models' directories.
        key: that clients must send; None for none.

    Raises:
        CharnnError: if it cannot listen at the address, or a directory is no model.

    Example:
        >>> with Server([charnn.api.find_model(None)], ServeOptions(port=0), key=None) as server:
        ...     print(len(server.names))
        1
    """

    def __init__(self, paths: Sequence[Path], options: ServeOptions, *, key: str | None) -> None:
        self._listener = _listener(options)
        try:
            self._models = ServedModels(paths, max_waiting=MAX_WAITING)
        except BaseException:
            self._listener.close()
            raise
        access = Access(key, frozenset(LOOPBACK) if options.is_local else frozenset())
        config = uvicorn.Config(
            make_application(self._models, access),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=SECONDS_TO_FINISH + 2 * SECONDS_TO_SEND,
        )
        self._listening = _ListeningServer(config, self._models.interrupt)

    @property
    def names(self) -> list[str]:
        """The names of the models."""
        return list(self._models.by_name)

    @property
    def address(self) -> str:
        """The URL at which it listens."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self) -> None:
        """Answer requests until a signal says to stop, or `stop` is called; requests in progress end first.

        After SECONDS_TO_FINISH, samples end as they are, with an error.
        """
        self._listening.run(sockets=[self._listener])

    def stop(self) -> None:
        """Stop as on a signal."""
        self._listening.should_exit = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._models.close()
        self._listener.close()


def _listener(options: ServeOptions) -> socket.socket:
    """Return a socket bound to the address. Raises CharnnError."""
    where = f"--host {options.host} --port {options.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CharnnError(f"{where}: {error.strerror or error}; use an address of this machine") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise CharnnError(
            f"{where}: {error.strerror or error}; use an address of this machine, and another port (0 picks a free one)"
        ) from error
    return listener
