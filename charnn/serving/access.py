"""Who may ask: the key, and the names by which the server may be addressed."""

import hmac
from collections.abc import Collection
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from charnn.serving.bodies import RequestError, error_content


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Args:
        key: that clients must send as `Authorization: Bearer KEY`; None for no key.
        hosts: names by which the server may be addressed; empty for any.
    """

    key: str | None = None
    hosts: frozenset[str] = field(default_factory=frozenset)


def error_response(error: RequestError) -> Response:
    """Return an error in OpenAI's shape."""
    headers = {"retry-after": "1"} if error.status in (429, 503) else {}
    content = error_content(str(error), status=error.status, param=error.param)
    return JSONResponse(content, status_code=error.status, headers=headers)


class AccessMiddleware:
    """Refuses requests to other hosts' names, which a web page could make of a browser, and those without the key.

    Args:
        open_paths: paths that need no key.
    """

    def __init__(self, app: ASGIApp, access: Access, open_paths: Collection[str]) -> None:
        self._app, self._access, self._open_paths = app, access, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        error = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (error_response(error) if error else self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> RequestError | None:
        host = request.headers.get("host", "")
        if self._access.hosts and _without_port(host) not in self._access.hosts:
            return RequestError(
                f"Host: found {host!r}, but it must be one of {', '.join(sorted(self._access.hosts))}; use that in the URL, or "
                "start the server with another --host",
                status=403,
            )
        if self._access.hosts and _is_foreign(request, self._access.hosts):
            return RequestError(
                "Origin: requests from other sites are refused; open this server's own page", status=403
            )
        if self._access.key is None or request.url.path in self._open_paths:
            return None
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._access.key.encode()):
            return None
        return RequestError(
            "Authorization: the API key is missing or wrong; send Authorization: Bearer KEY", status=401
        )


def _is_foreign(request: Request, hosts: frozenset[str]) -> bool:
    """Return whether a browser sends the request for a page of another site."""
    origin = request.headers.get("origin", "")
    is_other_origin = origin not in ("", "null") and _without_port(origin.partition("://")[2]) not in hosts
    return is_other_origin or request.headers.get("sec-fetch-site", "") == "cross-site"


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
