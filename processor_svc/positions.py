"""Beside sequence: which version of each stream the log has last, remembered for one partition.

Promise: what is answered from memory is what the log would answer. A stream that memory does not
know is new when memory holds the whole log. It is also new when its first version comes for the
first time and memory holds all that came into the log for as long as any message can be late.
"""

from collections.abc import Iterable
from typing import NamedTuple

from eventspine.storage.records import LogEntry


class Bounds(NamedTuple):
    """How much a sequencer remembers of each partition.

    Attributes:
        streams_max: From how many streams on older ones are forgotten; up to twice as many stay.
        late_seconds: How long a message can be on its way at most, from its first publication
            until it is sequenced. A stream is remembered for at least as long where `streams_max`
            allows it.
        history_entries_max: A log partition of at most so many entries is read whole at first.
    """

    streams_max: int = 100_000
    late_seconds: float = 600.0
    history_entries_max: int = 10_000


class Positions:
    """The last version of each stream in one log partition, as far as it is remembered.

    Streams are kept in two generations. A stream that was not seen during a whole generation is
    forgotten, so a generation that lasted long enough covers every message that may still come.
    """

    def __init__(self, bounds: Bounds, *, whole: bool, now: float) -> None:
        """Remembers nothing yet.

        Args:
            bounds: How much to remember.
            whole: Whether all that the log holds now is going to be noted before the first
                question.
            now: The time, in seconds from any moment on.
        """
        self._bounds = bounds
        self._whole = whole
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._young_since = now
        self._old_since = now

    def note(self, entries: Iterable[LogEntry], now: float) -> None:
        """Notes entries that are in the log, in their order there."""
        young = self._young
        for entry in entries:
            young[entry.stream] = entry.stream_version
        late = now - self._young_since >= self._bounds.late_seconds
        if late or len(young) >= self._bounds.streams_max:
            self._forget(now)

    def known(self, stream: str) -> int | None:
        """Returns the last version of a stream in the log, 0 for none; None: look into the log."""
        version = self._young.get(stream)
        if version is None:
            version = self._old.get(stream)
        return 0 if version is None and self._whole else version

    def covers(self, now: float) -> bool:
        """Tells whether a first publication of a version 1 is new when its stream is unknown."""
        return self._whole or now - self._old_since >= self._bounds.late_seconds

    def _forget(self, now: float) -> None:
        """Starts a new generation; the one before the last is forgotten."""
        self._whole = self._whole and not self._old
        self._old, self._young = self._young, {}
        self._old_since, self._young_since = self._young_since, now
