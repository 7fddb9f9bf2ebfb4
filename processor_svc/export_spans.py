"""Which versions of which streams an export has sent; promise: a command of them needs no lookup.

Versions of a stream come into the log in their order, so what one export sends of a stream has no
gap: a first and a last version say all. Memory is bounded; of streams beyond the bound nothing is
known, and their commands are looked up in the log.
"""

from collections.abc import Iterable
from typing import NamedTuple

from eventspine.storage.records import LogEntry, NumberedCommand
from processor_svc.export_end import first_version, torn

STREAMS_MAX = 500_000
"""Of how many streams an export remembers what it has sent: about 100 MB."""


class Sorted(NamedTuple):
    """Commands, by whether they belong to the records that were sent.

    Attributes:
        new: They do.
        unknown: The log has to be asked. The others do not.
    """

    new: list[NumberedCommand]
    unknown: list[NumberedCommand]


class SentSpans:
    """What one export has sent, by stream."""

    def __init__(self, streams_max: int = STREAMS_MAX) -> None:
        """Remembers up to so many streams."""
        self._streams_max = streams_max
        self._spans: dict[str, tuple[int, int]] = {}
        self._whole = True

    def note(self, entries: Iterable[LogEntry]) -> None:
        """Notes records that are sent, those of each stream in the order of their versions."""
        spans = self._spans
        for entry in entries:
            span = spans.get(entry.stream)
            if span is not None:
                spans[entry.stream] = (span[0], entry.stream_version)
            elif len(spans) < self._streams_max:
                spans[entry.stream] = (entry.stream_version, entry.stream_version)
            else:
                self._whole = False

    def sort(self, commands: Iterable[NumberedCommand]) -> Sorted:
        """Tells which commands belong to what was sent.

        A command without events belongs to every export from the one on that has sent the version
        that it was decided on.

        Raises:
            StoreUnavailableError: The first events of a command were sent, and the last not.
        """
        found = Sorted([], [])
        for command in commands:
            _, stream, row = command
            span = self._spans.get(stream)
            if span is None:
                if not self._whole or not row.event_count:
                    found.unknown.append(command)
            elif row.last_version <= span[1]:
                if not row.event_count or row.last_version >= span[0]:
                    found.new.append(command)
            elif row.event_count and first_version(row) <= span[1]:
                raise torn(stream, row)
        return found
