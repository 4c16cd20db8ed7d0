"""What users should know while work goes on: messages of the logger `charnn`.

Messages name options as the command line does. What is logged names arguments; the command line shows the original, `in_flags`.
"""

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from charnn.errors import in_terms_of_arguments

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class _NoticeLogger(_Adapter):
    def process(self, msg: str, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        """Return the message in terms of arguments, with the original beside it."""
        return in_terms_of_arguments(msg), {**kwargs, "extra": {"in_flags": msg}}


def notice_logger(name: str) -> _NoticeLogger:
    """Return a module's logger for messages to users, which are one line each."""
    return _NoticeLogger(logging.getLogger(name))
