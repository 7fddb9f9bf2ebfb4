"""Wrong rules, each put in place of the right one by a constructor; the simulation has to see them.

Each is what somebody could have built, and looks right for as long as nothing goes wrong.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from eventspine.storage.errors import (
    LogMovedError,
    OutcomeUnknownError,
    ProgressMovedError,
    StoreUnavailableError,
)
from eventspine.storage.records import (
    Append,
    Conflict,
    LogEntry,
    Outcome,
    PartialRow,
    Replayed,
    Stored,
    ViewBatch,
)
from tests.faults.simulation.clients import by_time
from tests.faults.simulation.faults import EVERY
from tests.faults.simulation.log import FarEventLog
from tests.faults.simulation.process import Wiring
from tests.faults.simulation.world import Setting


class _Wrong:
    """Does as the port below it, but for what a subclass says."""

    def __init__(self, port: Any) -> None:
        self.port = port

    def __getattr__(self, name: str) -> Any:
        return getattr(self.port, name)


class NoCommandRows(_Wrong):
    """Stores events and not which commands caused them."""

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        return await self.port.append([append._replace(commands=()) for append in appends])


class RetryIsConflict(_Wrong):
    """Sends an append of unknown outcome again, and takes its own success for somebody else's."""

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        try:
            return await self.port.append(appends)
        except OutcomeUnknownError:
            outcomes = await self.port.append(appends)
        for place, (append, outcome) in enumerate(zip(appends, outcomes, strict=True)):
            if isinstance(outcome, Replayed):
                outcomes[place] = Conflict(await self.port.head(append.stream))
        return outcomes


class UnknownIsFailure(_Wrong):
    """Says that nothing was stored when no answer came."""

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        try:
            return await self.port.append(appends)
        except OutcomeUnknownError as error:
            raise StoreUnavailableError(str(error), cause="no answer") from error


class AcknowledgedEarly(_Wrong):
    """Acknowledges at once, and stores beside that."""

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        self.storing = asyncio.create_task(self._store(appends))
        return [Stored(None) for _ in appends]

    async def _store(self, appends: Sequence[Append]) -> None:
        try:
            await self.port.append(appends)
        except (OutcomeUnknownError, StoreUnavailableError):
            return


class AppendedWithoutCondition(_Wrong):
    """Appends to where the stream is, wherever that was when the command was decided."""

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        outcomes = await self.port.append(appends)
        for place, (append, outcome) in enumerate(zip(appends, outcomes, strict=True)):
            if isinstance(outcome, Conflict):
                forced = append._replace(expected_version=outcome.actual.version)
                (outcomes[place],) = await self.port.append([forced])
        return outcomes


class PositionsTrusted(FarEventLog):
    """Takes over a partition without reading the tail whose positions may not be written."""

    async def take_over(self, partition: int) -> int:
        return (await self.ends())[partition]


class PositionsFirst(FarEventLog):
    """Writes positions before the entries that they are of."""

    async def extend(self, partition: int, after: int, entries: Sequence[LogEntry]) -> None:
        versions = {entry.stream: entry.stream_version for entry in entries}
        self._shared.note(partition, after, versions)
        await super().extend(partition, after, entries)


class ExtendedWithoutCondition(_Wrong):
    """Extends the log at its end, wherever the writer thinks that this is."""

    async def extend(self, partition: int, after: int, entries: Sequence[LogEntry]) -> None:
        try:
            await self.port.extend(partition, after, entries)
        except LogMovedError:
            end = (await self.port.ends())[partition]
            moved = [entry._replace(sequence=end + n) for n, entry in enumerate(entries, 1)]
            await self.port.extend(partition, end, moved)


class RowsWithoutSequence(_Wrong):
    """Does not remember which entries a row has seen."""

    async def load(
        self, build_id: str, partition: int, keys: Sequence[bytes]
    ) -> dict[bytes, PartialRow]:
        rows = await self.port.load(build_id, partition, keys)
        return {key: row._replace(sequence=0) for key, row in rows.items()}


class ProgressFirst(_Wrong):
    """Saves how far a build is, and then its rows."""

    async def save(self, batches: Sequence[ViewBatch]) -> None:
        await self.port.save([batch._replace(rows={}, parked={}) for batch in batches])
        await self.port.save([batch._replace(after=batch.through) for batch in batches])


class SavedWithoutCondition(_Wrong):
    """Saves rows and progress wherever the build is by now."""

    async def save(self, batches: Sequence[ViewBatch]) -> None:
        while True:
            try:
                return await self.port.save(batches)
            except ProgressMovedError:
                moved = []
                for batch in batches:
                    at = (await self.port.progress(batch.build_id))[batch.partition]
                    moved.append(batch._replace(after=at))
                batches = moved


def relaid(kind: type[FarEventLog]) -> Any:
    """Makes a log of another kind on the line and the servers of the right one."""
    return lambda log: kind(log._shared, log._line)


NEEDS_NO_AUDITOR = EVERY - {"message lost", "command crash"}
"""Faults that leave nothing to an auditor: what is stored is published, and the bus keeps it."""

CONTROLS = {
    "no_command_rows": Setting(wiring=Wiring(events=NoCommandRows)),
    "retry_on_another_host_is_a_conflict": Setting(wiring=Wiring(events=RetryIsConflict)),
    "unknown_is_a_failure": Setting(wiring=Wiring(events=UnknownIsFailure)),
    "acknowledged_before_stored": Setting(wiring=Wiring(events=AcknowledgedEarly)),
    "appended_without_condition": Setting(wiring=Wiring(events=AppendedWithoutCondition)),
    "no_auditor_with_a_lossy_bus": Setting(wiring=Wiring(audits=False)),
    "offsets_before_the_log_write": Setting(
        kinds=NEEDS_NO_AUDITOR, wiring=Wiring(offsets_early=True, audits=False)
    ),
    "positions_trusted_over_the_log": Setting(wiring=Wiring(log=relaid(PositionsTrusted))),
    "positions_before_the_log_write": Setting(wiring=Wiring(log=relaid(PositionsFirst))),
    "log_extended_without_condition": Setting(wiring=Wiring(log=ExtendedWithoutCondition)),
    "row_without_its_sequence": Setting(wiring=Wiring(views=RowsWithoutSequence)),
    "progress_before_rows": Setting(wiring=Wiring(views=ProgressFirst)),
    "rows_saved_without_condition": Setting(wiring=Wiring(views=SavedWithoutCondition)),
    "cursor_by_time": Setting(resume=by_time),
}

RIGHT = {
    "offsets_before_the_log_write": Setting(kinds=NEEDS_NO_AUDITOR, wiring=Wiring(audits=False))
}
"""What holds under the same faults, where that is not the usual setting."""
