"""Parked keys of views, in Cassandra; promise: they change as one, and from a known state only."""

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from eventspine.storage.cassandra.settle import settled
from eventspine.storage.cassandra.statements import Part
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.errors import ProgressMovedError
from eventspine.storage.records import Parked

_CHANGES_MAX = 200
"""How many keys one batch changes; more than that are changed by several."""


class Lot(NamedTuple):
    """All that a build has parked in one log partition.

    Attributes:
        revision: How often it was changed; None for never.
        change: The name of the last change; None for none.
        entries: In order of the key.
    """

    revision: int | None
    change: bytes | None
    entries: tuple[Parked, ...]


class CassandraParked:
    """Reads and changes the parked keys of one tenant's builds."""

    def __init__(self, store: CassandraStore) -> None:
        """Keeps them in an open keyspace."""
        self._session = store.session
        self._tenant = store.tenant
        table = store.session.table("view_parked")
        key = "tenant = ? AND build = ? AND partition = ?"
        self._read = (
            "SELECT revision, change, key, sequence, stream, stream_version, error, waiting,"
            f" parked_time_us FROM {table} WHERE {key}"
        )
        self._move = (
            f"UPDATE {table} SET revision = ?, change = ? WHERE {key}"
            " IF revision = ? AND change = ?"
        )
        self._insert = (
            f"INSERT INTO {table} (tenant, build, partition, key, sequence, stream,"
            " stream_version, error, waiting, parked_time_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self._delete = f"DELETE FROM {table} WHERE {key} AND key = ?"

    async def read(self, build_id: str, partition: int) -> Lot:
        """Returns what is parked.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        rows = await self._session.read(self._read, (self._tenant, build_id, partition))
        if not rows:
            return Lot(None, None, ())
        entries = [_parked(partition, row[2:]) for row in rows if row[2] is not None]
        return Lot(rows[0][0], rows[0][1], tuple(entries))

    async def change(
        self, build_id: str, partition: int, lot: Lot, parked: Mapping[bytes, Parked | None]
    ) -> Lot:
        """Parks and releases keys; returns the lot after that, without its entries.

        Args:
            build_id: The build.
            partition: The log partition.
            lot: What was read before, or returned by the last change.
            parked: By key, the entry to keep; None releases the key.

        Raises:
            ProgressMovedError: Somebody else has changed them since; a leading part may be done.
            OutcomeUnknownError: All, some or none may be changed.
            StoreUnavailableError: A leading part, or nothing, was changed.
        """
        place = (self._tenant, build_id, partition)
        changes = list(parked.items())
        for first in range(0, len(changes), _CHANGES_MAX):
            revision, name = (lot.revision or 0) + 1, secrets.token_bytes(8)
            values = (revision, name, *place, lot.revision, lot.change)
            parts: list[Part] = [(self._move, values)]
            for key, entry in changes[first : first + _CHANGES_MAX]:
                if entry is None:
                    parts.append((self._delete, (*place, key)))
                else:
                    parts.append((self._insert, (*place, key, *_columns(entry))))
            if not await settled(self._session, parts, "change", name):
                raise ProgressMovedError(
                    f"what build {build_id} has parked of partition {partition} was changed by"
                    " somebody else"
                )
            lot = Lot(revision, name, ())
        return lot


def _columns(entry: Parked) -> tuple[object, ...]:
    _, _, sequence, stream, version, error, waiting, time_us = entry
    return sequence, stream, version, error, list(waiting), time_us


def _parked(partition: int, row: tuple[Any, ...]) -> Parked:
    key, sequence, stream, version, error, waiting, time_us = row
    return Parked(
        key=key,
        partition=partition,
        sequence=sequence,
        stream=stream,
        stream_version=version,
        error=error,
        waiting=tuple(waiting or ()),
        parked_time_us=time_us,
    )
