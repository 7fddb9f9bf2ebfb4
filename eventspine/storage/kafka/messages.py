"""The encoding of bus messages for Kafka; promise: a record's bytes are carried as they are.

Records travel in CloudEvents 1.0 binary mode: the value is the encoded EventRecord, and headers say
what it is, so that no reader of ours parses it. Changes travel as `eventspine.v1.Change`. The
document of the topics, for others who consume them, is docs/asyncapi.yaml.

Source: CloudEvents Kafka protocol binding 1.0.2, sections 3.1 and 3.2; W3C Trace Context.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from eventspine.storage.ports import BusMessage
from eventspine.storage.records import (
    BuildsChange,
    LogEntry,
    PartialRow,
    ProgressChange,
    RowChange,
)
from eventspine.v1 import change_pb2 as pb
from eventspine.v1.record_pb2 import EventRecord

RECORD_BYTES_MAX = 2 * 1024 * 1024
"""Of one message of `events` and `log`: a largest event with its metadata, and to spare."""

CHANGE_BYTES_MAX = 8 * 1024 * 1024
"""Of one message of `changes`. A row beyond it is told as left out."""

OVERHEAD_BYTES_MAX = 4 * 1024
"""What a message has beside key and value, at most."""

CONTENT_TYPE = b"application/protobuf"

TRACE_KEYS = ("traceparent", "tracestate")
"""Metadata of a record that goes out as headers of the same names."""

Headers = list[tuple[str, str | bytes | None]]

_FIXED: Headers = [
    ("ce_specversion", b"1.0"),
    ("content-type", CONTENT_TYPE),
    # The type of a record is its event's; the value is the record around it.
    ("ce_dataschema", b"proto:eventspine.v1.EventRecord"),
]
_CHANGE_HEADERS: Headers = [("content-type", CONTENT_TYPE)]


class Encoded(NamedTuple):
    """A message as Kafka takes it."""

    key: bytes
    value: bytes
    headers: Headers


class LeftOut(NamedTuple):
    """In place of a change that was too large for the bus."""

    build_id: str
    partition: int


class UnknownMessageError(Exception):
    """A message of a topic is none of ours; it is left out. The text says why."""


def encoded(message: BusMessage, source: str) -> Encoded:
    """Encodes a message.

    Args:
        message: What to send.
        source: Whose records these are; the beginning of `ce_source`.
    """
    if isinstance(message, LogEntry):
        return _record(message, source)
    return _change(message)


def decoded_record(partition: int, key: bytes, value: bytes, headers: Headers) -> LogEntry:
    """Decodes a message of `events` or `log`, by its headers alone.

    Raises:
        UnknownMessageError: It has not the headers of a record.
    """
    known: dict[str, Any] = dict(headers)
    try:
        return LogEntry(
            partition,
            int(known["ce_sequence"]),
            key.decode(),
            int(known["ce_streamversion"]),
            known["ce_type"].decode(),
            value,
            known.get("ce_republished") == b"true",
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise UnknownMessageError(f"no header of a record: {error!r}") from error


def decoded_change(value: bytes) -> BusMessage | LeftOut:
    """Decodes a message of `changes`.

    Raises:
        UnknownMessageError: It is no change that this version knows.
    """
    try:
        change = pb.Change.FromString(value)
    except Exception as error:
        raise UnknownMessageError(f"no change: {error}") from error
    kind = change.WhichOneof("kind")
    if kind == "row":
        row = change.row
        partial = PartialRow(row.partition, row.sequence, row.row if row.HasField("row") else None)
        return RowChange(row.build_id, row.partition, row.key, partial)
    if kind == "progress":
        told = change.progress
        return ProgressChange(told.build_id, told.partition, told.sequence, told.after)
    if kind == "builds":
        return BuildsChange(change.builds.view)
    if kind == "left_out":
        return LeftOut(change.left_out.build_id, change.left_out.partition)
    raise UnknownMessageError("a kind of change that this version does not know")


def _record(entry: LogEntry, source: str) -> Encoded:
    record = EventRecord.FromString(entry.encoded)
    stream, time, metadata = entry.stream.encode(), record.append_time, record.metadata
    headers = [
        *_FIXED,
        ("ce_id", record.event_id.encode()),
        ("ce_source", f"{source}/{quote(record.tenant)}/{quote(entry.stream)}".encode()),
        ("ce_type", entry.type.encode()),
        ("ce_subject", stream),
        ("ce_time", b"%s.%06dZ" % (_second(time.seconds), time.nanos // 1000)),
        ("ce_streamversion", b"%d" % entry.stream_version),
        ("ce_logpartition", b"%d" % entry.partition),
        ("ce_sequence", b"%d" % entry.sequence),
    ]
    if entry.republished:
        headers.append(("ce_republished", b"true"))
    if metadata:
        headers += [(name, metadata[name].encode()) for name in TRACE_KEYS if name in metadata]
    return Encoded(stream, entry.encoded, headers)


@lru_cache(maxsize=64)
def _second(seconds: int) -> bytes:
    """Returns a second since 1970 as RFC 3339 has it, without its fraction and zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def _change(message: RowChange | ProgressChange | BuildsChange) -> Encoded:
    if type(message) is RowChange:
        return _row(message)
    if type(message) is ProgressChange:
        key = message.build_id
        change = pb.Change(
            progress=pb.ProgressChange(
                build_id=key,
                partition=message.partition,
                sequence=message.sequence,
                after=message.after,
            )
        )
    else:
        key = message[0]
        change = pb.Change(builds=pb.BuildsChange(view=key))
    return Encoded(key.encode(), change.SerializeToString(), _CHANGE_HEADERS)


def _row(message: RowChange) -> Encoded:
    row = message.row
    change = pb.Change(
        row=pb.RowChange(
            build_id=message.build_id,
            partition=message.partition,
            key=message.key,
            sequence=row.sequence,
            row=row.encoded,
        )
    )
    if change.ByteSize() > CHANGE_BYTES_MAX - OVERHEAD_BYTES_MAX:
        left_out = pb.ChangeLeftOut(build_id=message.build_id, partition=message.partition)
        change = pb.Change(left_out=left_out)
    return Encoded(message.build_id.encode(), change.SerializeToString(), _CHANGE_HEADERS)
