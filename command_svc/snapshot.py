"""Beside append: a stream's state is kept now and then; losing one costs time, not truth."""

import asyncio
import logging

from command_svc.lane import Lane
from eventspine.storage.ports import SnapshotStore
from eventspine.storage.records import Snapshot

SAVES_MAX = 100
"""How many snapshots are being saved at once; one that comes on top is left out."""

_LOG = logging.getLogger(__name__)


class Snapshots:
    """Saves snapshots in the background; a save that fails fails no command."""

    def __init__(self, store: SnapshotStore, every_events: int) -> None:
        """Saves to a store each time that a stream passes a multiple of `every_events`."""
        self._store = store
        self._every_events = every_events
        self._tasks: set[asyncio.Task[None]] = set()

    def stored(self, lane: Lane, before: int) -> None:
        """Tells that a lane has come from version `before` to its head, and begins what is due."""
        aggregate, head, every = lane.category.aggregate, lane.head, self._every_events
        if aggregate is None or head is None or head.version // every == before // every:
            return
        if len(self._tasks) >= SAVES_MAX:
            return
        state = lane.state.SerializeToString()
        snapshot = Snapshot(lane.stream, head.version, aggregate.version, head.chain, state)
        task = asyncio.create_task(self._save(snapshot))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Waits for what was begun."""
        await asyncio.gather(*self._tasks)

    async def _save(self, snapshot: Snapshot) -> None:
        try:
            await self._store.save(snapshot)
        except Exception:
            # A stream without a snapshot is loaded from its events.
            _LOG.exception("the snapshot of %s was not kept", snapshot.stream)
