"""Something that can be sent to a worker, and imports nothing heavy there."""

import os
import signal
import time

from charnn.errors import TextError


class Doubler:
    """Doubles numbers; some are refused, kill the worker, or take long."""

    def __call__(self, number: int) -> int:
        if number == 13:
            raise TextError("13: is no number; name another")
        if number == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        if number < 0:
            time.sleep(2)
        return 2 * number
