"""Where the Kafka clients log to; promise: what repeats itself is said now and then, not each time.

A broker that is down makes each client complain several times a second, for as long as it is down.
"""

import logging
import re
import time
from collections.abc import Callable

REPEAT_SECONDS = 30.0
"""How long the same line is not said again."""

LINES_MAX = 1_000
"""How many different lines are remembered."""

_NUMBERS = re.compile(r"\d+")


class Repeated(logging.Filter):
    """Lets a line pass, and the same line with other numbers in it only after a while."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        """Remembers nothing yet; `now` tells the time in seconds."""
        super().__init__()
        self._now = now
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tells whether a line is to be said."""
        line = _NUMBERS.sub("0", record.getMessage())
        now = self._now()
        if now < self._said.get(line, now):
            return False
        if len(self._said) >= LINES_MAX:
            self._said.clear()
        self._said[line] = now + REPEAT_SECONDS
        return True


log = logging.getLogger("eventspine.kafka")
"""Where all of this folder logs to, and the driver too."""

log.addFilter(Repeated())
