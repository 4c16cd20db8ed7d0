"""The libraries of the extra `report`."""

import importlib

from charnn.errors import CharnnError

LIBRARIES = ("jinja2", "matplotlib")


def check_libraries(what: str) -> None:
    """Check that the libraries that draw are installed, before any work is done. Raises CharnnError.

    Args:
        what: the command, such as "report".
    """
    for library in LIBRARIES:
        try:
            importlib.import_module(library)
        except ModuleNotFoundError:
            raise CharnnError(
                f"{what}: {library} is not installed; in the clone, run pip install -e '.[report]'"
            ) from None
