"""`charnn serve`: an HTTP server with an OpenAI-compatible API."""

import os
from typing import Annotated

import typer

import charnn
from charnn.cli.options import COMMON, Overrides, with_options
from charnn.cli.output import console
from charnn.config import ServeOptions
from charnn.config.serving import KEY_VARIABLE
from charnn.errors import CharnnError, OptionError
from charnn.interrupts import terminated_like_interrupted
from charnn.options import pick


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
    """Serve models over HTTP with an OpenAI-compatible API: charnn serve -m runs/a --port 8000.

    POST /v1/completions and /v1/score, GET /v1/models. All samples in progress are generated together. Ctrl-C or SIGTERM
    lets them finish, for at most 30 s; a second one ends them. Needs the extra `serve`: pip install -e '.[serve]'.
    """
    options = pick(ServeOptions, overrides)
    key = options.api_key or os.environ.get(KEY_VARIABLE) or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise OptionError(
            f"--api-key or {KEY_VARIABLE}: must consist of printable ASCII characters; choose another key"
        )
    try:
        from charnn.serving.run import Server
    except ModuleNotFoundError as error:
        raise CharnnError(
            f"serve: {error.name} is not installed; in the clone, run pip install -e '.[serve]'"
        ) from None
    paths = [charnn.api.find_model(each) for each in models or []]
    if not paths:
        paths = [charnn.api.find_model(None)]
        console.notice(f"using the newest model, {paths[0]}")
    if not options.is_local and key is None:
        console.notice(
            f"--host {options.host}: anyone who can reach this machine can use the models; set --api-key to prevent that"
        )
    with terminated_like_interrupted(), Server(paths, options, key=key) as server:
        console.notice(f"serving {', '.join(server.names)} at {server.address} (web page; API under /v1); Ctrl-C stops")
        server.run()
