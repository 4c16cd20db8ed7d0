"""Options of the HTTP server."""

from dataclasses import dataclass
from typing import Annotated

from charnn.options import Checked, Option

LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEY_VARIABLE = "CHARNN_API_KEY"


@dataclass(frozen=True, kw_only=True)
class ServeOptions(Checked):
    """The address of the server, and the key that clients need.

    Example:
        >>> from charnn.config import ServeOptions
        >>> ServeOptions().port
        8000
    """

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK

    host: Annotated[
        str,
        Option("Address to listen on; 0.0.0.0 for all interfaces of this machine.", common=True, metavar="ADDRESS"),
    ] = "127.0.0.1"
    port: Annotated[int, Option("Port to listen on; 0 for any free one.", at_least=0, at_most=65535, common=True)] = (
        8000
    )
    api_key: Annotated[
        str | None,
        Option(
            f"Key that clients must send; safer in the environment variable {KEY_VARIABLE}.",
            automatic="none needed",
            common=True,
            metavar="KEY",
        ),
    ] = None
