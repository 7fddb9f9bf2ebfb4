"""The stores as one process reaches them: those in memory, at the end of a line with faults."""

import asyncio
from collections.abc import Collection, Sequence

from eventspine.storage.errors import OutcomeUnknownError
from eventspine.storage.ports import (
    AuditStore,
    EventStore,
    HintStore,
    SnapshotStore,
    ViewRegistry,
    ViewStore,
)
from eventspine.storage.records import (
    Append,
    AuditMark,
    Build,
    Builds,
    CommandRow,
    Head,
    HintWriter,
    KeyedRow,
    NumberedCommand,
    Outcome,
    Parked,
    PartialRow,
    Snapshot,
    StreamHead,
    StreamRecord,
    ViewBatch,
)
from tests.faults.simulation.line import Line, apply


class FarEventStore:
    """The port `EventStore`."""

    def __init__(self, store: EventStore, line: Line) -> None:
        self._store = store
        self._line = line

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        what = f"append {[(a.stream, a.expected_version, len(a.records)) for a in appends]}"
        return await self._line.change(what, lambda: self._store.append(appends))

    async def read(
        self, stream: str, *, after: int = 0, limit: int = 500, backwards: bool = False
    ) -> list[StreamRecord]:
        return await self._line.ask(
            "read", lambda: self._store.read(stream, after=after, limit=limit, backwards=backwards)
        )

    async def head(self, stream: str) -> Head:
        return await self._line.ask("head", lambda: self._store.head(stream))

    async def heads(self, *, after: str = "", limit: int = 500) -> list[StreamHead]:
        return await self._line.ask("heads", lambda: self._store.heads(after=after, limit=limit))

    async def command(self, stream: str, command_id: str) -> CommandRow | None:
        return await self._line.ask("command", lambda: self._store.command(stream, command_id))

    async def commands(self, *, after: int = 0, limit: int = 500) -> list[NumberedCommand]:
        return await self._line.ask(
            "commands", lambda: self._store.commands(after=after, limit=limit)
        )


class FarSnapshotStore:
    """The port `SnapshotStore`."""

    def __init__(self, store: SnapshotStore, line: Line) -> None:
        self._store = store
        self._line = line

    async def load(self, stream: str) -> Snapshot | None:
        return await self._line.ask("load snapshot", lambda: self._store.load(stream))

    async def save(self, snapshot: Snapshot) -> None:
        await self._line.change("save snapshot", lambda: self._store.save(snapshot))


class FarHintStore:
    """The port `HintStore`."""

    def __init__(self, store: HintStore, line: Line) -> None:
        self._store = store
        self._line = line

    async def note(self, writer: str, window: int, streams: Collection[str]) -> None:
        await self._line.change("note hints", lambda: self._store.note(writer, window, streams))

    async def beat(self, writer: HintWriter) -> None:
        # Late beats are left out: they come in order from a process that lives.
        await self._line.ask("beat", lambda: self._store.beat(writer))

    async def writers(self) -> list[HintWriter]:
        return await self._line.ask("writers", self._store.writers)

    async def streams(self, writer: str, window: int) -> list[str]:
        return await self._line.ask("hints", lambda: self._store.streams(writer, window))

    async def drop(self, writer: str, window: int) -> None:
        await self._line.ask("drop hints", lambda: self._store.drop(writer, window))

    async def forget(self, writer: str) -> None:
        await self._line.ask("forget writer", lambda: self._store.forget(writer))


class FarAuditStore:
    """The port `AuditStore`."""

    def __init__(self, store: AuditStore, line: Line) -> None:
        self._store = store
        self._line = line

    async def load(self) -> AuditMark:
        return await self._line.ask("load mark", self._store.load)

    async def save(self, mark: AuditMark) -> None:
        await self._line.change("save mark", lambda: self._store.save(mark))


class FarViewStore:
    """The port `ViewStore`; rows may be saved and the progress not, as in a store without both."""

    def __init__(self, store: ViewStore, line: Line) -> None:
        self._store = store
        self._line = line

    async def load(
        self, build_id: str, partition: int, keys: Sequence[bytes]
    ) -> dict[bytes, PartialRow]:
        return await self._line.ask(
            "load rows", lambda: self._store.load(build_id, partition, keys)
        )

    async def save(self, batches: Sequence[ViewBatch]) -> None:
        what = f"save {[(b.build_id, b.partition, b.after, b.through) for b in batches]}"
        if self._line.faults.strikes("half saved", f"{self._line.name} {what}"):
            self._line.check()
            apply(lambda: self._store.save([b._replace(through=b.after) for b in batches]))
            await asyncio.sleep(self._line.faults.travel())
            self._line.check()
            raise OutcomeUnknownError("the rows were saved, and the progress was not")
        await self._line.change(what, lambda: self._store.save(batches))

    async def get(self, build_id: str, key: bytes) -> tuple[PartialRow, ...]:
        return await self._line.ask("row", lambda: self._store.get(build_id, key))

    async def list(
        self, build_id: str, *, prefix: bytes = b"", after: bytes = b"", limit: int = 500
    ) -> list[KeyedRow]:
        return await self._line.ask(
            "rows", lambda: self._store.list(build_id, prefix=prefix, after=after, limit=limit)
        )

    async def progress(self, build_id: str) -> tuple[int, ...]:
        return await self._line.ask("progress", lambda: self._store.progress(build_id))

    async def drop(self, build_id: str) -> None:
        await self._line.change("drop build", lambda: self._store.drop(build_id))


class FarViewRegistry:
    """The port `ViewRegistry`."""

    def __init__(self, registry: ViewRegistry, line: Line) -> None:
        self._registry = registry
        self._line = line

    async def views(self) -> list[str]:
        return await self._line.ask("views", self._registry.views)

    async def builds(self, view: str) -> Builds:
        return await self._line.ask("builds", lambda: self._registry.builds(view))

    async def put(self, view: str, revision: int, builds: Sequence[Build]) -> bool:
        return await self._line.ask("put", lambda: self._registry.put(view, revision, builds))

    async def parked(self, build_id: str) -> list[Parked]:
        return await self._line.ask("parked", lambda: self._registry.parked(build_id))
