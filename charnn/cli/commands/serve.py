"""`charnn serve`: an HTTP server with OpenAI's completions protocol."""

import os
import socket
from typing import Annotated

import typer

import charnn
from charnn.cli.options import COMMON, Overrides, with_options
from charnn.cli.output import console
from charnn.config import ServeOptions
from charnn.config.serving import KEY_VARIABLE
from charnn.errors import CharnnError, OptionError
from charnn.options import pick

MAX_WAITING = 4096
SECONDS_TO_FINISH = 30
"""How long a server that is told to stop goes on with the samples in progress."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@with_options(ServeOptions)
def serve(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            metavar="RUN",
            help="A model's directory; may be repeated.",
            show_default="the newest under runs/",
        ),
        COMMON,
    ] = None,
    *,
    overrides: Overrides,
) -> None:
    """Serve models over HTTP, to OpenAI-style clients: charnn serve -m runs/a --port 8000.

    POST /v1/completions and /v1/score, GET /v1/models. All samples in progress are generated together. Ctrl-C and SIGTERM let
    them end first. Needs the extra `serve`: pip install 'charnn[serve]'.
    """
    options = pick(ServeOptions, overrides)
    try:
        import uvicorn

        from charnn.serving.application import Access, make_application
        from charnn.serving.models import ServedModels
    except ModuleNotFoundError as error:
        raise CharnnError(f"serve: {error.name} is not installed; run pip install 'charnn[serve]'") from None
    paths = [charnn.api.find_model(each) for each in models or [None]]
    if not models:
        console.notice(f"using the newest model, {paths[0]}")
    key = options.api_key or os.environ.get(KEY_VARIABLE) or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise OptionError("--api-key: must be of printable ASCII characters, since it is sent in a header")
    is_local = options.host in LOOPBACK
    if not is_local and key is None:
        console.notice(
            f"--host {options.host}: anyone who can reach this machine can use the models; set --api-key to prevent that"
        )
    listener = _listen(options)
    served = ServedModels(paths, max_waiting=MAX_WAITING)
    access = Access(key, frozenset(LOOPBACK) if is_local else frozenset())
    application = make_application(served, access)
    config = uvicorn.Config(
        application, log_level="warning", access_log=False, timeout_graceful_shutdown=SECONDS_TO_FINISH
    )
    host, port = listener.getsockname()[:2]
    shown_host = f"[{host}]" if ":" in host else host
    console.notice(f"serving {', '.join(served.by_name)} at http://{shown_host}:{port}/v1; Ctrl-C stops")
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        served.close()


def _listen(options: ServeOptions) -> socket.socket:
    """Return a listening socket. Raises CharnnError."""
    try:
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CharnnError(
            f"--host {options.host} --port {options.port}: {reason}; choose another port, or 0 for any free one"
        ) from error
    return listener
