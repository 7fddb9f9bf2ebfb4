"""Fits what the bus still holds behind a backup; promise: nothing is taken that does not follow.

Pure: it says what to load. Every record has to be the next version of its stream, and its chain has
to follow from the record before. What was in the lost log keeps its place there as far as that has
no gap, so that cursors and tokens of the lost store stay good up to there.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from devstack.backup.load import Chains
from eventspine.storage.codec import CHAIN_BYTES, CHAIN_TAG
from eventspine.storage.records import (
    GENESIS,
    UNKNOWN_DIGEST,
    CommandRow,
    LogEntry,
    NumberedCommand,
)
from eventspine.storage.republish import partition_of
from eventspine.v1.record_pb2 import EventRecord


class Recovered(NamedTuple):
    """What can be brought back.

    Attributes:
        entries: In an order in which they can be loaded.
        commands: What can be remembered of their commands: all but the digest.
        ends: The ends of the log partitions up to which it is that of the lost store.
        unfit: How many records of the bus are of later versions and do not follow: one between is
            gone.
    """

    entries: list[LogEntry]
    commands: list[NumberedCommand]
    ends: tuple[int, ...]
    unfit: int


def recovered(
    chains: Chains,
    ends: Sequence[int],
    log: Sequence[LogEntry],
    events: Iterable[LogEntry],
    loaded: Iterable[LogEntry] = (),
) -> Recovered:
    """Chooses the records that follow a backup.

    Args:
        chains: The streams of the backup, read to its end.
        ends: The ends of its log partitions.
        log: What the channel `log` holds.
        events: What the channel `events` holds.
        loaded: What a restore that was cut off has put into the log behind these ends. It keeps its
            places, and the channels may hold it no more.
    """
    fitting = _Fitting(chains, ends)
    rest: list[LogEntry] = list(events)
    for entry in [*sorted(loaded, key=_place), *sorted(log, key=_place)]:
        if entry.sequence != fitting.ends[entry.partition] + 1 or not fitting.take(entry):
            rest.append(entry)
    kept = _shared(ends, log, fitting.entries)
    unfit = 0
    for entry in sorted(rest, key=lambda entry: (entry.stream, entry.stream_version)):
        version, _ = fitting.head(entry.stream)
        if entry.stream_version <= version:
            continue
        partition = partition_of(entry.stream, len(fitting.ends))
        place = entry._replace(
            partition=partition, sequence=fitting.ends[partition] + 1, republished=False
        )
        unfit += not fitting.take(place)
    return Recovered(fitting.entries, fitting.commands(), kept, unfit)


def _place(entry: LogEntry) -> tuple[int, int]:
    return entry.partition, entry.sequence


def _shared(
    ends: Sequence[int], log: Iterable[LogEntry], taken: Iterable[LogEntry]
) -> tuple[int, ...]:
    """Returns up to where what was taken is what the log of the lost store had."""
    lost = {_place(entry): entry.encoded for entry in log}
    shared = list(ends)
    for entry in sorted(taken, key=_place):
        following = entry.sequence == shared[entry.partition] + 1
        shared[entry.partition] += following and lost.get(_place(entry)) == entry.encoded
    return tuple(shared)


class _Fitting:
    """Takes records that follow, one by one."""

    def __init__(self, chains: Chains, ends: Sequence[int]) -> None:
        self.ends = list(ends)
        self.entries: list[LogEntry] = []
        self._chains = chains
        self._heads: dict[str, tuple[int, bytes]] = {}
        self._commands: dict[tuple[str, str], CommandRow] = {}

    def head(self, stream: str) -> tuple[int, bytes]:
        return self._heads.get(stream) or self._chains.heads.get(stream, (0, GENESIS))

    def take(self, entry: LogEntry) -> bool:
        """Takes a record in its place in the log; False where it does not follow its stream."""
        version, chain = self.head(entry.stream)
        following = hashlib.sha256(chain + entry.encoded[:-CHAIN_BYTES]).digest()
        if entry.stream_version != version + 1:
            return False
        if entry.encoded[-CHAIN_BYTES:] != CHAIN_TAG + following:
            return False
        self._heads[entry.stream] = (entry.stream_version, following)
        self.ends[entry.partition] = entry.sequence
        self.entries.append(entry)
        self._remember(entry)
        return True

    def commands(self) -> list[NumberedCommand]:
        named = enumerate(self._commands.items(), 1)
        return [NumberedCommand(number, stream, row) for number, ((stream, _), row) in named]

    def _remember(self, entry: LogEntry) -> None:
        record = EventRecord.FromString(entry.encoded)
        name = entry.stream, record.command_id
        known = self._commands.get(name)
        # A backup may end between two events of one command.
        before = known.event_count if known else self._chains.last_commands.count(*name)
        self._commands[name] = CommandRow(
            record.command_id,
            UNKNOWN_DIGEST,
            entry.stream_version,
            before + 1,
            record.append_time.ToMicroseconds(),
        )
