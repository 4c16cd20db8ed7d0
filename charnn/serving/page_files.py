"""The page to write with: its files, and the headers under which they are sent."""

from importlib.resources import files

from starlette.responses import Response

FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/alternatives.js": "alternatives.js"}
"""The paths of the page, and its files in `page/`."""
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def page_response(path: str) -> Response:
    """Return a file of the page."""
    name = FILES[path]
    content = files("charnn.serving").joinpath("page", name).read_text(encoding="utf-8")
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=_HEADERS)
