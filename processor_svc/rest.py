"""Step 6: what cannot go on rests; promise: longer each time, and nobody else waits with it."""

import asyncio
from collections.abc import Iterable

REST_SECONDS_MIN = 0.05
"""How long the first rest is; each further one is twice as long, up to the maximum."""

REST_SECONDS_MAX = 5.0
"""How long a rest is at most: what was mended goes on after that."""


def _now() -> float:
    # The loop's own time, so that a simulated run does not depend on how fast the machine is.
    return asyncio.get_running_loop().time()


class Rest:
    """The rests of one that tries again and again, in the time of the running loop."""

    __slots__ = ("_seconds", "_until")

    def __init__(self) -> None:
        """Does not rest yet."""
        self._seconds = REST_SECONDS_MIN
        self._until: float | None = None

    @property
    def left(self) -> float:
        """How many seconds it still rests; 0 where it does not."""
        return 0.0 if self._until is None else max(0.0, self._until - _now())

    def begin(self) -> float:
        """Begins a rest; returns its seconds."""
        seconds = self._seconds
        self._until = _now() + seconds
        self._seconds = min(seconds * 2, REST_SECONDS_MAX)
        return seconds

    def over(self) -> None:
        """Notes that it went on, so that the next rest is a first one."""
        self._seconds = REST_SECONDS_MIN


def until_one_goes_on(rests: Iterable[Rest]) -> float:
    """Returns the seconds until one of them does not rest; 0 without any."""
    return min((rest.left for rest in rests), default=0.0)
