"""What the library tells users, collected."""

import contextlib
import logging
from collections.abc import Iterator


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.in_flags)


@contextlib.contextmanager
def collected_notices(messages: list[str] | None = None) -> Iterator[list[str]]:
    """Collect what is logged while the block runs, spelled as the command line does."""
    messages = [] if messages is None else messages
    logger, handler = logging.getLogger("charnn"), _Collector(messages)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
