"""Step 6, pure: decodes a batch of the log for the views; promise: each event is parsed once.

All builds that fold a batch share its decoded events, and an event of a type that none of them
folds is not parsed at all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message

from eventspine.domain.fold import FoldEntry
from eventspine.domain.view import View, ViewEvent
from eventspine.storage.records import LogEntry
from eventspine.v1.record_pb2 import EventRecord

Parsers = Mapping[str, Callable[[bytes], Any]]
"""What decodes the payload of an event, by full name."""


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
    parsers = parsers_of(classes)
    for entry in entries:
        if entry.type not in parsers:
            continue
        try:
            (event,) = decode_records([entry.encoded], parsers)
        except DecodeError as error:
            broken.append(Broken(entry, f"{entry.type} cannot be decoded: {error}"))
        else:
            if event is not None:
                events.append(FoldEntry(entry.sequence, event))
    return Decoded(events, broken)


def parsers_of(classes: Mapping[str, type[Message]]) -> Parsers:
    """Returns what decodes the payloads of these classes."""
    return {name: event.FromString for name, event in classes.items()}


def decode_records(records: Sequence[bytes], parsers: Parsers) -> list[ViewEvent | None]:
    """Decodes records.

    Args:
        records: The encoded records.
        parsers: By type, what decodes the events that are wanted.

    Returns:
        One for each record: its event, or None where its type is not wanted.

    Raises:
        DecodeError: A record, or the event in it, cannot be decoded.
    """
    events: list[ViewEvent | None] = []
    parse, parser_of = EventRecord.FromString, parsers.get
    # This loop runs once for each event of the platform.
    for encoded in records:
        record = parse(encoded)
        parse_event = parser_of(record.type)
        events.append(
            None if parse_event is None else ViewEvent(parse_event(record.payload), record)
        )
    return events
