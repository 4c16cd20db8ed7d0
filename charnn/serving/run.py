"""Running the server until it is told to stop."""

import asyncio
import errno
import socket
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Self

import uvicorn

from charnn.config import ServeOptions
from charnn.config.serving import LOOPBACK
from charnn.errors import CharnnError
from charnn.notices import notice_logger
from charnn.serving.access import Access
from charnn.serving.application import make_application
from charnn.serving.models import ServedModels

logger = notice_logger(__name__)
MAX_WAITING = 4096
SECONDS_TO_FINISH = 30
"""How long a server that is told to stop goes on with the requests in progress."""
SECONDS_TO_SEND = 5
"""How long clients may take to read the last of their replies."""
SECONDS_PER_LOOK = 0.1
"""How often a server that finishes looks whether it was told again."""


class _ListeningServer(uvicorn.Server):
    """Ends requests properly when the time to finish them is over: the samples with an error, connections after that.

    Args:
        models: what generates.
    """

    def __init__(self, config: uvicorn.Config, models: ServedModels) -> None:
        super().__init__(config)
        self._models = models
        self._was_told_twice = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on a signal; on a second one, without time to finish."""
        if self.should_exit:
            self._was_told_twice = True
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for the requests in progress."""
        num_samples = sum(model.generation.num_streams for model in self._models.by_name.values())
        if num_samples:
            samples = "1 sample" if num_samples == 1 else f"{num_samples:,} samples"
            logger.info(f"finishing {samples} first, for at most {SECONDS_TO_FINISH} s; Ctrl-C again ends them now")
        ending = asyncio.ensure_future(self._end())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def _end(self) -> None:
        """End the samples when the time to finish them is over, and then the connections of clients that do not read."""
        seconds = 0.0
        while seconds < SECONDS_TO_FINISH and not self._was_told_twice:
            await asyncio.sleep(SECONDS_PER_LOOK)
            seconds += SECONDS_PER_LOOK
        self._models.interrupt()
        await asyncio.sleep(SECONDS_TO_SEND)
        self._disconnect()

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
        self._models = ServedModels(paths, max_waiting=MAX_WAITING)
        try:
            self._listener = _listener(options)
        except BaseException:
            self._models.close()
            raise
        access = Access(key, frozenset(LOOPBACK) if options.is_local else frozenset())
        config = uvicorn.Config(
            make_application(self._models, access),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=SECONDS_TO_FINISH + 2 * SECONDS_TO_SEND,
        )
        self._listening = _ListeningServer(config, self._models)

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
        raise CharnnError(_unusable(options, error)) from error
    return listener


def _unusable(options: ServeOptions, error: OSError) -> str:
    """Return what is wrong with an address at which a server cannot listen, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"--port {options.port}: is in use; choose another one, or 0 for any that is free"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {options.host}: is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all interfaces"
    return f"--host {options.host} --port {options.port}: {error.strerror or error}; choose another address or port"
