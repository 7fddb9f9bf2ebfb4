"""Step 3, second half: what the store has answered, for each command of a batch.

Only what is certain is told: a refusal that was decided on events not yet stored waits for them,
and one that stored nothing is told only after the store has said that the command is new and that
the stream is where it was.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from command_svc.command import Answer, Command, Outcome
from command_svc.conflict import conflict_error, lost_error
from command_svc.hints import Window
from command_svc.lane import Batch, Lane, Mismatch, repeated
from command_svc.publish import Publisher
from command_svc.recent import RecentCommands
from command_svc.snapshot import Snapshots
from eventspine.domain.errors import EventspineError
from eventspine.rpc import logs
from eventspine.rpc.errors import ShuttingDownError
from eventspine.storage import records
from eventspine.storage.ports import EventStore
from eventspine.storage.records import (
    Append,
    CommandIdReused,
    CommandRow,
    Conflict,
    Head,
    Replayed,
    Stored,
)

_LOG = logging.getLogger(__name__)


class Ways(Protocol):
    """Where batches come from, and where their commands go back to."""

    def settle(self, command: Command, outcome: Outcome) -> None:
        """Gives a command's caller the outcome."""
        ...

    def release(self, lane: Lane) -> None:
        """Lets a lane go on to its next commands."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts a task."""
        ...


class Outcomes:
    """Settles the commands of batches, or sends them back into their lanes."""

    def __init__(
        self,
        ways: Ways,
        events: EventStore,
        *,
        attempts_max: int,
        publisher: Publisher,
        recent: RecentCommands,
        snapshots: Snapshots,
    ) -> None:
        """Settles by `ways`; a command is decided at most `attempts_max` times."""
        self._ways = ways
        self._events = events
        self._attempts_max = attempts_max
        self._publisher = publisher
        self._recent = recent
        self._snapshots = snapshots

    def take(
        self, batch: Batch, append: Append, outcome: records.Outcome, window: Window | None
    ) -> None:
        """Takes the store's answer to the append of a batch, which was hinted at in a window."""
        if isinstance(outcome, Stored):
            self._stored(batch, append, outcome.first_sequence, window)
        else:
            if window is not None:
                window.not_stored(append)
            batch.lane.forget()
            self._ways.spawn(self._again(batch, outcome))

    def fail(self, batches: Sequence[Batch], error: Exception) -> None:
        """Takes that nothing of the batches was stored."""
        for batch in batches:
            batch.lane.forget()
            self._fail(batch.taken, error)
            self._ways.release(batch.lane)

    def fail_waiting(self, lane: Lane, error: Exception) -> None:
        """Takes that a lane could not be loaded: what waits in it was not stored."""
        commands = [*lane.waiting]
        lane.waiting.clear()
        self._fail(commands, error)

    async def confirm(self, batch: Batch, *, certain: bool = False) -> None:
        """Settles the commands of a batch that store nothing, and releases its lane.

        Args:
            batch: Its append, if it has one, is stored.
            certain: Whether that append proves that the stream was where the batch began.
        """
        lane = batch.lane
        commands = [command for command, _ in batch.unstored]
        try:
            if certain:
                head, rows = batch.start, await self._rows(commands)
            else:
                # Neither waits for the other: if the head has not moved since the batch began, a
                # command that was stored was stored before, and is found whenever it is looked for.
                head, rows = await asyncio.gather(
                    self._events.head(lane.stream), self._rows(commands)
                )
            fresh = self._fresh(commands, rows)
            if head.version == batch.start.version:
                for command, outcome in batch.unstored:
                    if command in fresh:
                        await self._tell(command, outcome)
            else:
                lane.forget()
                self._redo(lane, [command for command in commands if command in fresh], head)
        except asyncio.CancelledError:
            self._fail(commands, _stopped())
            raise
        except Exception as error:
            self._fail(commands, error)
        if batch.spoilt:
            lane.forget()
        self._ways.release(lane)

    def _stored(
        self, batch: Batch, append: Append, first_sequence: int | None, window: Window | None
    ) -> None:
        lane = batch.lane
        lane.head = batch.head
        remember, settle, stream = self._recent.put, self._ways.settle, lane.stream
        # The place of version 0 in the log, were there one.
        origin = None if first_sequence is None else first_sequence - batch.start.version - 1
        if _LOG.isEnabledFor(logging.DEBUG):
            _tell_stored(stream, batch.rows)
        for command, row in zip(batch.stored, batch.rows, strict=True):
            remember(stream, row)
            sequence = origin + row.last_version if origin is not None and row.event_count else None
            settle(command, Answer(row.last_version, row.event_count, False, sequence))
        if append.records:
            # Those who wait for an answer go first: handing a burst on takes a while.
            self._publisher.put(append, first_sequence, window)
            if not batch.spoilt:
                self._snapshots.stored(lane, batch.start.version)
        if batch.unstored:
            self._ways.spawn(self.confirm(batch, certain=True))
            return
        self._ways.release(lane)

    async def _again(self, batch: Batch, outcome: Replayed | CommandIdReused | Conflict) -> None:
        """Settles what was stored before, and lets the rest be decided again."""
        lane = batch.lane
        rest = [command for command in batch.taken if not command.settled]
        try:
            if isinstance(outcome, Conflict):
                self._redo(lane, rest, outcome.actual)
            else:
                self._recent.put(lane.stream, outcome.command)
                fresh = self._fresh(rest, await self._rows(rest))
                lane.waiting.extendleft(command for command in reversed(rest) if command in fresh)
        except asyncio.CancelledError:
            self._fail(rest, _stopped())
            raise
        except Exception as error:
            self._fail(rest, error)
        self._ways.release(lane)

    def _fresh(
        self, commands: Sequence[Command], rows: Sequence[CommandRow | None]
    ) -> set[Command]:
        """Settles those commands that were stored before; returns the others."""
        fresh = set()
        for command, row in zip(commands, rows, strict=True):
            if row is None:
                fresh.add(command)
            else:
                self._recent.put(command.stream, row)
                self._ways.settle(command, repeated(command, row))
        return fresh

    async def _rows(self, commands: Sequence[Command]) -> list[CommandRow | None]:
        """Returns for each command what is remembered of it."""
        if len(commands) == 1:
            # Most often it is one, which needs no task of its own.
            return [await self._row(commands[0])]
        return await asyncio.gather(*(self._row(command) for command in commands))

    async def _row(self, command: Command) -> CommandRow | None:
        stream, command_id = command.stream, command.header.command_id
        return self._recent.get(stream, command_id) or await self._events.command(
            stream, command_id
        )

    async def _tell(self, command: Command, outcome: Outcome | Mismatch) -> None:
        if isinstance(outcome, Mismatch):
            outcome = await conflict_error(self._events, command, outcome.version)
        self._ways.settle(command, outcome)

    def _redo(self, lane: Lane, commands: Sequence[Command], head: Head) -> None:
        """Puts commands back in front, but those that have lost often enough."""
        again = []
        for command in commands:
            command.attempts += 1
            if command.attempts < self._attempts_max:
                again.append(command)
            else:
                self._ways.settle(command, lost_error(command, head.version))
        lane.waiting.extendleft(reversed(again))

    def _fail(self, commands: Sequence[Command], error: Exception) -> None:
        if commands and not isinstance(error, EventspineError):
            _LOG.error("commands of stream %s", commands[0].stream, exc_info=error)
        for command in commands:
            self._ways.settle(command, error)


def _tell_stored(stream: str, rows: Sequence[CommandRow]) -> None:
    for row in rows:
        logs.write(
            _LOG,
            logging.DEBUG,
            "stored",
            command_id=row.command_id,
            stream=stream,
            stream_version=row.last_version,
            events=row.event_count,
        )


def _stopped() -> ShuttingDownError:
    return ShuttingDownError("the command service has stopped; try another instance")
