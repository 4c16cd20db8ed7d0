"""An encoder for workers that imports nothing heavy there."""

import os
import signal
import time
from typing import NamedTuple

from charnn.errors import TextError
from charnn.text import encoding_workers
from charnn.text.process_messages import Message

START = encoding_workers._START.replace("charnn.text.encoding import", "tests.text.doubler import")
"""Starts a worker that knows this encoder only."""


class Number(NamedTuple):
    value: int

    def to_message(self):
        return Message("number", {"value": self.value})

    @classmethod
    def from_message(cls, message):
        return cls(message.facts["value"])


class Doubler:
    """Doubles numbers; some are refused, kill the worker, or take long."""

    chunk_type = result_type = Number

    def __call__(self, number: Number) -> Number:
        match number.value:
            case 13:
                raise TextError("13: is no number; name another")
            case 14:
                raise MemoryError("14 is too large")
            case 15:
                raise KeyError("15 \udcff")
            case 99:
                os.kill(os.getpid(), signal.SIGKILL)
        if number.value < 0:
            time.sleep(2)
        return Number(2 * number.value)

    def to_message(self):
        return Message("doubler", {})

    @classmethod
    def from_message(cls, _):
        return cls()


ENCODERS = {"doubler": Doubler}
