"""Appends for the suites: real records with a real chain, made from a few words."""

from collections.abc import Iterable
from hashlib import sha256

from eventspine.storage.codec import encode
from eventspine.storage.ports import EventStore
from eventspine.storage.records import GENESIS, Append, CommandRow, LogEntry, NewRecord, Stored
from eventspine.v1.record_pb2 import EventRecord

TYPE = "bank.v1.MoneyDeposited"


def records_of(
    stream: str, after: int, count: int, *, chain: bytes = GENESIS, tag: str = ""
) -> tuple[tuple[NewRecord, ...], bytes]:
    """Returns records behind version `after` whose chain hash is `chain`, and the last hash."""
    records = []
    for version in range(after + 1, after + count + 1):
        record = EventRecord(stream=stream, stream_version=version, type=TYPE)
        record.event_id = f"{tag}.{version}"
        new, chain = encode(record, chain)
        records.append(new)
    return tuple(records), chain


def append_of(
    stream: str,
    expected: int,
    *command_ids: str,
    events: int = 1,
    chain: bytes = GENESIS,
    content: str = "",
) -> Append:
    """Returns an append of `events` events for each command."""
    tag = command_ids[0]
    records, end = records_of(stream, expected, events * len(command_ids), chain=chain, tag=tag)
    commands = tuple(
        CommandRow(
            command_id,
            sha256(f"{command_id} {content}".encode()).digest(),
            expected + events * number,
            events,
            1_700_000_000_000_000 + number,
        )
        for number, command_id in enumerate(command_ids, 1)
    )
    return Append(stream, expected, records, commands, end)


async def stored(store: EventStore, appends: Iterable[Append]) -> None:
    """Stores the appends in one call; fails when one of them is not stored."""
    for outcome in await store.append(list(appends)):
        assert isinstance(outcome, Stored), outcome


def entries_of(appends: Iterable[Append], *, partition: int = 0) -> list[LogEntry]:
    """Returns the log entries of appends that were stored one after the other."""
    entries: list[LogEntry] = []
    for append in appends:
        for record in append.records:
            entries.append(LogEntry(partition, len(entries) + 1, append.stream, *record))
    return entries
