"""Step 3, append: never two of our own appends in flight on one stream, and many streams at once.

Whatever lanes are ready when the loop comes round are decided and sent as one group; while groups
are in flight commands gather in their lanes, so that the next group is the larger the busier the
store is.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import perf_counter
from typing import Any

from command_svc.command import Command, Outcome
from command_svc.count import CommandCounts
from command_svc.encode import Encoder
from command_svc.hints import Hints
from command_svc.lane import Batch, Batcher, Lane
from command_svc.load import Loader
from command_svc.outcome import Outcomes
from command_svc.publish import Publisher
from command_svc.recent import RecentCommands
from command_svc.resolve import Resolver
from command_svc.settings import CommandSettings
from command_svc.snapshot import Snapshots
from eventspine.rpc.errors import OverloadedError, ShuttingDownError
from eventspine.storage.connect import Backend
from eventspine.storage.errors import OutcomeUnknownError


class Lanes:
    """Takes commands in, and settles each of them once."""

    def __init__(
        self,
        backend: Backend,
        publisher: Publisher,
        hints: Hints,
        *,
        now_us: Callable[[], int],
        settings: CommandSettings,
    ) -> None:
        """Appends to a backend; `now_us` gives the append time in microseconds since 1970."""
        self._backend = backend
        self._settings = settings
        self._now_us = now_us
        self._hints = hints
        self._lanes: dict[str, Lane] = {}
        self._idle: OrderedDict[str, Lane] = OrderedDict()
        self._ready: deque[Lane] = deque()
        self._cold: deque[Lane] = deque()
        self._loads = 0
        self._groups = 0
        self._starting = False
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._drained = asyncio.Event()
        self._recent = RecentCommands(settings.recent_commands_max)
        self._loader = Loader(backend.events, backend.snapshots)
        self._snapshots = Snapshots(backend.snapshots, settings.snapshot_events)
        self._batcher = Batcher(Encoder(settings.tenant), self._recent, self.settle)
        self._outcomes = Outcomes(
            self,
            backend.events,
            attempts_max=settings.attempts_max,
            publisher=publisher,
            recent=self._recent,
            snapshots=self._snapshots,
        )
        self._resolver = Resolver(backend, self.settle, settings)
        self._waiting_bytes = 0
        self.counts = CommandCounts()
        """What became of the commands."""
        self.waiting = 0
        """How many commands are on their way."""

    def submit(self, command: Command) -> None:
        """Takes a command in; its caller is settled later, once.

        Raises:
            OverloadedError: Too many commands are on their way. Nothing was stored.
            ShuttingDownError: The service is stopping. Nothing was stored.
        """
        if self._stopping:
            raise ShuttingDownError("the command service is stopping; try another instance")
        if self.waiting >= self._settings.waiting_commands_max:
            raise OverloadedError(
                f"{self.waiting} commands are on their way; try again a little later"
            )
        if self._waiting_bytes + command.size > self._settings.waiting_bytes_max:
            raise OverloadedError(
                f"{self._waiting_bytes} bytes of commands are on their way; try again a little"
                " later"
            )
        self.waiting += 1
        self._waiting_bytes += command.size
        lane = self._lanes.get(command.stream)
        if lane is None:
            lane = self._lanes[command.stream] = Lane(command.stream, command.category)
        lane.waiting.append(command)
        if not lane.active:
            self._idle.pop(command.stream, None)
            lane.active = True
            self._enqueue(lane)

    def settle(self, command: Command, outcome: Outcome) -> None:
        """Gives a command's caller the outcome, unless it has one."""
        if command.settled:
            return
        command.settled = True
        self.waiting -= 1
        self._waiting_bytes -= command.size
        if not self.waiting:
            self._drained.set()
        self.counts.settled(outcome)
        command.caller.settle(command, outcome)

    def release(self, lane: Lane) -> None:
        """Lets a lane go on to its next commands, or be idle."""
        lane.taken = ()
        if lane.waiting:
            self._enqueue(lane)
            return
        lane.active = False
        if lane.head is None:
            del self._lanes[lane.stream]
        else:
            self._idle[lane.stream] = lane
            if len(self._idle) > self._settings.cached_streams_max:
                stream, _ = self._idle.popitem(last=False)
                del self._lanes[stream]

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts a task that the service waits for when it stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Refuses new commands, and ends those on their way as far as there is time.

        What is still unknown then is answered as unknown; what was not sent was not stored.
        """
        self._stopping = True
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.drain_seconds
        while self.waiting and loop.time() < end:
            self._drained.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), end - loop.time())
        self._ready.clear()
        self._cold.clear()
        for lane in self._lanes.values():
            stopped = ShuttingDownError("the command service has stopped; try another instance")
            self._outcomes.fail_waiting(lane, stopped)
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A task that was cancelled before its first step has told nobody anything.
        for lane in self._lanes.values():
            self._resolver.give_up(lane.taken)
        await self._snapshots.stop()

    def _enqueue(self, lane: Lane) -> None:
        if lane.head is not None:
            self._ready.append(lane)
            self._schedule()
        elif self._loads < self._settings.loads_in_flight_max:
            self._loads += 1
            self.spawn(self._load(lane))
        else:
            self._cold.append(lane)

    def _schedule(self) -> None:
        """Starts a group if anything is ready, which it takes when the loop comes round."""
        free = not self._starting and self._groups < self._settings.groups_in_flight_max
        if free and self._ready:
            self._starting = True
            self.spawn(self._send())

    async def _load(self, lane: Lane) -> None:
        try:
            lane.head, lane.state = await self._loader.load(lane.stream, lane.category)
        except Exception as error:
            self._outcomes.fail_waiting(lane, error)
        finally:
            self._loads -= 1
            if self._cold:
                self._enqueue(self._cold.popleft())
        self.release(lane)

    async def _send(self) -> None:
        """Decides a group and stores it, in one turn of the loop where the store is that quick."""
        self._starting = False
        group = self._group(asyncio.get_running_loop().time(), self._now_us())
        if group:
            self._groups += 1
            self._schedule()
            await self._store(group)

    def _group(self, now: float, append_time_us: int) -> list[Batch]:
        """Decides ready lanes until a group is full."""
        group: list[Batch] = []
        count = size = 0
        settings = self._settings
        while (
            self._ready and count < settings.group_commands_max and size < settings.group_bytes_max
        ):
            lane = self._ready.popleft()
            if lane.head is None:
                self._enqueue(lane)
                continue
            batch = self._batcher.batch(lane, lane.head, now=now, append_time_us=append_time_us)
            if batch.rows:
                group.append(batch)
                count += len(batch.rows)
                size += batch.byte_count
            elif batch.unstored:
                self.spawn(self._outcomes.confirm(batch))
            else:
                self.release(lane)
        return group

    async def _store(self, group: list[Batch]) -> None:
        """Sends a group to the store and settles it; a slot is free again when it is."""
        appends = [batch.append() for batch in group]
        window = self._hints.begin(appends)
        began = perf_counter()
        try:
            outcomes = await self._backend.events.append(appends)
        except OutcomeUnknownError:
            self._free_slot()
            outcomes = await self._resolver.resolve(group, appends)
        except Exception as error:
            self._free_slot()
            if window is not None:
                window.none_stored(appends)
            self._outcomes.fail(group, error)
            return
        except asyncio.CancelledError:
            for batch in group:
                self._resolver.give_up(batch.taken)
            raise
        else:
            self._free_slot()
            self.counts.append_timings.note(perf_counter() - began)
        for batch, append, outcome in zip(group, appends, outcomes, strict=True):
            self._outcomes.take(batch, append, outcome, window)

    def _free_slot(self) -> None:
        self._groups -= 1
        self._schedule()
