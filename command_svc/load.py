"""Between serve and decide: the state of a stream that is not in memory, from snapshot and events.

A stream that is new, or shorter than the first page, costs one read.
"""

import logging
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from command_svc.command import Category
from eventspine.domain.aggregate import Aggregate
from eventspine.domain.errors import DomainDefectError
from eventspine.storage.codec import chain_of, verify
from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.ports import EventStore, SnapshotStore
from eventspine.storage.records import GENESIS, Head, StreamRecord
from eventspine.v1.record_pb2 import EventRecord

FIRST_PAGE_RECORDS = 200
"""Most streams end before this: they are loaded by one read, without asking for a snapshot."""

PAGE_RECORDS = 500

_LOG = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A stream as it is in the store.

    Attributes:
        state: The aggregate's state at `head`; None without an aggregate.
    """

    head: Head
    state: Any


class Loader:
    """Loads streams."""

    def __init__(self, events: EventStore, snapshots: SnapshotStore) -> None:
        """Reads these stores."""
        self._events = events
        self._snapshots = snapshots

    async def load(self, stream: str, category: Category) -> Loaded:
        """Loads the end of a stream and its state.

        Raises:
            StoreUnavailableError: The store cannot read at the moment.
            DomainDefectError: A stored event is of a type that is no longer declared, or cannot be
                parsed or folded. The text names stream and version.
            ChainBrokenError: It cannot because it is not what was stored.
        """
        aggregate = category.aggregate
        if aggregate is None:
            return Loaded(await self._events.head(stream), None)
        records = await self._events.read(stream, limit=FIRST_PAGE_RECORDS)
        loaded = Loaded(Head(0, GENESIS), aggregate.initial())
        more = len(records) == FIRST_PAGE_RECORDS
        if more:
            snapshot = await self._snapshot(stream, aggregate)
            if snapshot is not None and snapshot.head.version >= records[-1].stream_version:
                loaded, records = snapshot, []
        loaded = _fold(stream, category, loaded, records)
        while more:
            records = await self._events.read(stream, after=loaded.head.version, limit=PAGE_RECORDS)
            more = len(records) == PAGE_RECORDS
            loaded = _fold(stream, category, loaded, records)
        return loaded

    async def _snapshot(self, stream: str, aggregate: Aggregate[Any]) -> Loaded | None:
        """Returns what a snapshot holds; None when there is none that can be used."""
        try:
            snapshot = await self._snapshots.load(stream)
            if snapshot is None or snapshot.code_version != aggregate.version:
                return None
            state = aggregate.state.FromString(snapshot.state)
        except (StoreUnavailableError, DecodeError) as error:
            _LOG.warning("the snapshot of %s cannot be used: %s", stream, error)
            return None
        return Loaded(Head(snapshot.stream_version, snapshot.chain), state)


def _fold(stream: str, category: Category, loaded: Loaded, records: list[StreamRecord]) -> Loaded:
    """Returns what is loaded after further records; gives the earlier state away."""
    aggregate = category.aggregate
    if not records or aggregate is None:
        return loaded
    state = loaded.state
    kinds = category.by_name
    evolvers = aggregate.evolvers
    parse = EventRecord.FromString
    record = records[0]
    try:
        for record in records:
            message = kinds[record.type].message
            state = evolvers[message](state, message.FromString(parse(record.encoded).payload))
        if not isinstance(state, aggregate.state):
            raise TypeError(f"its evolver returned {state!r} and not the state")
    except Exception as error:
        # Only now, because it costs: an event that is not what was stored is no defect of a domain.
        verify(stream, records, loaded.head.chain, loaded.head.version)
        raise _defect(stream, record, error) from error
    return Loaded(Head(record.stream_version, chain_of(record.encoded)), state)


def _defect(stream: str, record: StreamRecord, error: Exception) -> DomainDefectError:
    return DomainDefectError(
        f"version {record.stream_version} of stream {stream!r}, a {record.type}, cannot be folded:"
        f" {error!r}; declare its type and an evolver that takes it",
        stream=stream,
        stream_version=str(record.stream_version),
        type=record.type,
    )
