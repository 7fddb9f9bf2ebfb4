"""The embedded platform inside of the measuring process: commands without a transport."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import uvloop

from bench.accounts import ACCOUNTS, deposits, openings
from bench.rounds import Half
from command_svc.serve import CommandService
from command_svc.settings import CommandSettings
from domains.bank.domain import BANK
from eventspine.domain.declare import declare
from eventspine.process.composition import system_now_us
from eventspine.rpc.context import CallContext
from eventspine.storage.connect import Backend, open_sqlite
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from eventspine.storage.tail import LogTail
from processor_svc.project import Processor

T = TypeVar("T")

CONTEXT = CallContext(lambda: None, lambda: False)


class EmbeddedBank:
    """Commands, and the processor where it is wanted, on a file; a context manager.

    Attributes:
        backend: The open store.
    """

    def __init__(
        self, path: Path, *, in_flight: int, follow: bool, accounts: int = ACCOUNTS
    ) -> None:
        """Prepares a platform.

        Args:
            path: The file.
            in_flight: How many commands are on their way at once.
            follow: Whether the processor folds all views meanwhile.
            accounts: How many accounts there are.
        """
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._path = path
        self._accounts = accounts
        self._in_flight = in_flight
        self._follow = follow
        self.backend: Backend

    def __enter__(self) -> "EmbeddedBank":
        """Opens the file and the accounts."""
        self.run(self._start())
        self.run(self._bulk(openings(self._accounts)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops all and closes the file."""
        self.run(self._stop())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end on the platform's loop."""
        return self._runner.run(work)

    def execute(self, count: int) -> Half:
        """Measures deposits through the bulk path."""
        return self._measured(count, self._bulk)

    def call(self, count: int) -> Half:
        """Measures deposits through the typed method, by callers that wait for each answer."""
        return self._measured(count, self._callers)

    async def _bulk(self, requests: list[Any]) -> None:
        for verdict in await self._service.execute(requests):
            if isinstance(verdict.outcome, Exception):
                raise verdict.outcome

    def _measured(self, count: int, work: Callable[[list[Any]], Coroutine[Any, Any, None]]) -> Half:
        before = self._stored()
        requests: list[Any] = deposits(count, self._accounts)
        began = time.perf_counter()
        self.run(work(requests))
        seconds = time.perf_counter() - began
        stored = self._stored() - before
        self.run(self._followed())
        return Half(count, seconds, stored)

    async def _callers(self, requests: list[Any]) -> None:
        deposit = next(method for method in self._service.methods() if method.name == "Deposit")
        assert deposit.unary is not None
        handler, waiting = deposit.unary, iter(requests)

        async def caller() -> None:
            for request in waiting:
                await handler(request, CONTEXT)

        await asyncio.gather(*(caller() for _ in range(self._in_flight)))

    def _stored(self) -> int:
        return self.run(self.backend.log.ends())[0]

    async def _followed(self) -> None:
        """Waits for the processor, so that what it has left does not fall into the next half."""
        if self._follow:
            (end,) = await self.backend.log.ends()
            for view in self._declarations.views:
                await self._progress.passed(f"{view}@1", 0, end, 60.0)

    async def _start(self) -> None:
        self._declarations = declare([BANK])
        self.backend = backend = await open_sqlite(self._path)
        self._tail = LogTail(backend.log, backend.bus)
        self._progress = ProgressBoard(backend.views, backend.bus)
        self._serving = ServingBuilds(backend.registry, backend.bus)
        self._processor = Processor(self._declarations, backend, self._tail, now_us=system_now_us)
        if self._follow:
            await self._tail.start()
            await self._progress.start()
            await self._serving.start()
            await self._processor.start()
        self._service = CommandService(
            self._declarations,
            backend,
            now_us=system_now_us,
            progress=self._progress,
            serving=self._serving,
            settings=CommandSettings(bulk_commands_max=self._in_flight),
        )
        await self._service.start()

    async def _stop(self) -> None:
        await self._service.stop()
        if self._follow:
            await self._processor.stop()
            await self._serving.stop()
            await self._progress.stop()
            await self._tail.stop()
        await self.backend.close()
