"""Limits on requests: how many at once, how long, how slow."""

import asyncio
import json
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charnn.serving.access import error_response
from charnn.serving.bodies import Body, RequestError

Result = TypeVar("Result")
MAX_BODY_BYTES = 8 << 20
MAX_REQUESTS = 1024
"""Requests that may be in progress at the same time."""
MAX_BYTES = 256 << 20
"""Maximum total size of their bodies."""
SECONDS_FOR_BODY = 60.0


class LimitsMiddleware:
    """Refuses requests beyond the numbers and sizes that may be in progress."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._num_requests = self._num_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._num_requests >= MAX_REQUESTS:
            await error_response(_busy(f"{MAX_REQUESTS:,} requests"))(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            num_bytes = len(message.get("body", b""))
            size += num_bytes
            self._num_bytes += num_bytes
            if size > MAX_BODY_BYTES:
                raise RequestError(f"the body is longer than {MAX_BODY_BYTES:,} bytes; send less at a time", status=413)
            if self._num_bytes > MAX_BYTES:
                raise _busy(f"requests of {MAX_BYTES:,} bytes")
            return message

        self._num_requests += 1
        try:
            await self._app(scope, counted, send)
        finally:
            self._num_requests -= 1
            self._num_bytes -= size


def _busy(what: str) -> RequestError:
    return RequestError(f"{what} are in progress, as many as may be; try again later", status=429)


async def read_body(request: Request) -> Body:
    """Read the JSON object of a request. Raises RequestError."""
    try:
        async with asyncio.timeout(SECONDS_FOR_BODY):
            content = await request.body()
    except TimeoutError:
        raise RequestError(f"the body did not arrive within {SECONDS_FOR_BODY:g} seconds", status=408) from None
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    return Body.of(value)


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """Return the result of some work, which is cancelled if the client goes away before; that raises ClientDisconnect.

    Args:
        request: whose body was read.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
