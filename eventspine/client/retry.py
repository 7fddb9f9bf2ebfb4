"""When to try again; promise: never twice at once, never for longer than the caller is patient."""

import asyncio
import random
from typing import Final

from eventspine.client.errors import CallError

FIRST_SECONDS: Final = 0.05
LONGEST_SECONDS: Final = 2.0


class Patience:
    """How long to go on trying, and how long to wait before the next attempt.

    Waits double from 50 ms to 2 s, each drawn between half and all of that, so that many clients
    do not come back at the same moment. Time is the event loop's.
    """

    def __init__(self, seconds: float) -> None:
        """Is patient for `seconds` from now, and after a success from the next failure on."""
        self._seconds = seconds
        self._attempt = 0
        self._end: float | None = self._now() + seconds

    @property
    def remaining(self) -> float:
        """The seconds until the end; never negative."""
        return self._seconds if self._end is None else max(0.0, self._end - self._now())

    def succeeded(self) -> None:
        """Begins anew: something went well."""
        self._attempt = 0
        self._end = None

    async def wait(self, error: CallError) -> None:
        """Waits before the next attempt, at least as long as the platform asks for.

        Raises:
            CallError: `error` itself, when it is not transient or patience is over.
        """
        if self._end is None:
            self._end = self._now() + self._seconds
        delay = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0**self._attempt)
        delay = max(random.uniform(delay / 2, delay), error.retry_seconds or 0.0)
        if not error.transient or delay >= self.remaining:
            raise error
        self._attempt += 1
        await asyncio.sleep(delay)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
