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
    for entry in entries:
        if entry.type not in classes:
            continue
        try:
            events += decode_records([entry.encoded], entry.sequence - 1, classes)
        except DecodeError as error:
            broken.append(Broken(entry, f"{entry.type} cannot be decoded: {error}"))
    return Decoded(events, broken)


def decode_records(
    records: Sequence[bytes], after: int, classes: Mapping[str, type[Message]]
) -> list[FoldEntry]:
    """Decodes the records whose type is among the classes; leaves the others out.

    Args:
        records: The encoded records of the sequences from `after` + 1 on.
        after: The place in the log partition before them.
        classes: The classes of events by full name.

    Raises:
        DecodeError: A record, or the event in it, cannot be decoded.
    """
    events: list[FoldEntry] = []
    parse, class_of = EventRecord.FromString, classes.get
    # This loop runs once for each event of the platform: making the tuples directly saves a sixth.
    new = tuple.__new__
    sequence = after
    for encoded in records:
        sequence += 1
        record = parse(encoded)
        event_class = class_of(record.type)
        if event_class is None:
            continue
        time = record.append_time
        time_us = time.seconds * 1_000_000 + time.nanos // 1_000
        data = event_class.FromString(record.payload)
        event = new(ViewEvent, (data, record.stream, record.stream_version, time_us))
        events.append(new(FoldEntry, (sequence, event)))
    return events
