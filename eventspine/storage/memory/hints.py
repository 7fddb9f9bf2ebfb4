"""Hints and the auditor's mark, in memory."""

from collections.abc import Collection

from eventspine.storage.records import AuditMark, HintWriter


class MemoryHintStore:
    """The port `HintStore`, in memory."""

    def __init__(self) -> None:
        """Makes an empty store."""
        self._writers: dict[str, HintWriter] = {}
        self._windows: dict[tuple[str, int], set[str]] = {}

    async def note(self, writer: str, window: int, streams: Collection[str]) -> None:
        """Leaves hints; see the port."""
        self._windows.setdefault((writer, window), set()).update(streams)

    async def beat(self, writer: HintWriter) -> None:
        """Tells that a writer lives; see the port."""
        self._writers[writer.name] = writer

    async def writers(self) -> list[HintWriter]:
        """Returns all writers; see the port."""
        return list(self._writers.values())

    async def streams(self, writer: str, window: int) -> list[str]:
        """Returns the hints of a window; see the port."""
        return list(self._windows.get((writer, window), ()))

    async def drop(self, writer: str, window: int) -> None:
        """Deletes the hints of a window; see the port."""
        self._windows.pop((writer, window), None)

    async def forget(self, writer: str) -> None:
        """Deletes a writer; see the port."""
        self._writers.pop(writer, None)


class MemoryAuditStore:
    """The port `AuditStore`, in memory; also for a store whose auditor only verifies."""

    def __init__(self) -> None:
        """Starts without a cycle."""
        self._mark = AuditMark()

    async def load(self) -> AuditMark:
        """Returns the mark; see the port."""
        return self._mark

    async def save(self, mark: AuditMark) -> None:
        """Keeps a later mark; see the port."""
        if mark.ended_us > self._mark.ended_us:
            self._mark = mark
