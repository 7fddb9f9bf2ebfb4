"""Step 6, pure: decodes a batch of the log for the views; promise: each event is parsed once.

All builds that fold a batch share its decoded events, and an event of a type that none of them
folds is not parsed at all.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message

from eventspine.domain.fold import FoldEntry
from eventspine.domain.view import View, ViewEvent
from eventspine.storage.records import LogEntry
from eventspine.v1.record_pb2 import EventRecord


class Broken(NamedTuple):
    """An entry that cannot be decoded, and why, for people."""

    entry: LogEntry
    error: str


class Decoded(NamedTuple):
    """A decoded batch.

    Attributes:
        events: What could be decoded, in the order of the log.
        broken: What could not.
    """

    events: list[FoldEntry]
    broken: list[Broken]


def classes_of(views: Iterable[View[Any]]) -> dict[str, type[Message]]:
    """Returns the classes of all events that the views fold, by full name."""
    return {event.DESCRIPTOR.full_name: event for view in views for event in view.foldings}


def decode(entries: Sequence[LogEntry], classes: Mapping[str, type[Message]]) -> Decoded:
    """Decodes the entries whose type is among the classes; leaves the others out."""
    events: list[FoldEntry] = []
    broken: list[Broken] = []
    parse = EventRecord.FromString
    parsers = {name: event_class.FromString for name, event_class in classes.items()}
    # This loop runs once for each event of the platform: making the tuples directly saves a sixth.
    new = tuple.__new__
    for entry in entries:
        _, sequence, stream, stream_version, name, encoded, _ = entry
        parse_event = parsers.get(name)
        if parse_event is None:
            continue
        try:
            record = parse(encoded)
            data = parse_event(record.payload)
        except DecodeError as error:
            broken.append(Broken(entry, f"{name} cannot be decoded: {error}"))
            continue
        time = record.append_time
        time_us = time.seconds * 1_000_000 + time.nanos // 1_000
        event = new(ViewEvent, (data, stream, stream_version, time_us))
        events.append(new(FoldEntry, (sequence, event)))
    return Decoded(events, broken)
