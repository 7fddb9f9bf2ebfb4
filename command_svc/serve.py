"""Step 1, command in: typed commands, Append and Execute; promise: each is answered once, or not.

A command that was refused stored nothing. A command that was stored is answered so, also when it
comes again.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from google.protobuf.message import Message

from command_svc.append import Lanes
from command_svc.bulk import BulkStream, Parts, Verdict
from command_svc.command import Command, Outcome, categories
from command_svc.hints import Hints
from command_svc.intake import Intake
from command_svc.project_wait import ProjectWait
from command_svc.publish import Publisher
from command_svc.repair import Repair
from command_svc.reply import Replies
from command_svc.settings import CommandSettings
from eventspine.domain.declared import CommandDeclaration, Declarations
from eventspine.rpc.context import CallContext
from eventspine.rpc.errors import DeadlineExceededError
from eventspine.rpc.figures import Figure
from eventspine.rpc.method import Method, UnaryHandler
from eventspine.storage.connect import Backend
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from eventspine.storage.tail import LogTail
from eventspine.v1.command_pb2 import (
    DESCRIPTOR,
    AppendRequest,
    AppendResponse,
    CommandResult,
    ExecuteRequest,
    ExecuteResponse,
)

SERVICE = DESCRIPTOR.services_by_name["CommandService"].full_name


class CommandService:
    """Hosts the commands of domains, and the generic append."""

    def __init__(
        self,
        declarations: Declarations,
        backend: Backend,
        *,
        now_us: Callable[[], int],
        progress: ProgressBoard,
        serving: ServingBuilds,
        settings: CommandSettings | None = None,
    ) -> None:
        """Puts the steps together; nothing runs before `start`.

        Args:
            declarations: What is hosted.
            backend: Where events are stored.
            now_us: The clock: microseconds since 1970 UTC.
            progress: Tells how far views are, for commands that wait for them.
            serving: Tells which builds serve.
            settings: What differs from the defaults.
        """
        self._declarations = declarations
        self._backend = backend
        self._now_us = now_us
        self._settings = settings or CommandSettings()
        self._intake = Intake(declarations, categories(declarations))
        # Started by the first command that waits. Elsewhere the answer itself tells the place.
        tail = None if backend.sequences_on_append else LogTail(backend.log, backend.bus)
        self._project_wait = ProjectWait(declarations, backend.log, progress, serving, tail)
        self._replies = Replies(backend.identity.store_id)
        self._publisher = Publisher(backend.bus)
        self._hints = Hints(backend.hints, self._settings)
        self._repair = Repair(backend, self._hints, self._settings)
        self._lanes = Lanes(
            backend, self._publisher, self._hints, now_us=now_us, settings=self._settings
        )

    @property
    def waiting(self) -> int:
        """How many commands are on their way."""
        return self._lanes.waiting

    @property
    def left_out(self) -> int:
        """How many stored records the bus did not take; followers find them in the log."""
        return self._publisher.left_out

    def figures(self) -> Iterable[Figure]:
        """Returns what was counted and measured so far."""
        yield from self._lanes.counts.figures()
        yield from self._repair.figures()
        yield Figure(
            "eventspine_commands_waiting",
            "gauge",
            "Commands that are on their way.",
            (),
            {(): self.waiting},
        )
        yield Figure(
            "eventspine_publish_left_out_total",
            "counter",
            "Stored records that the bus did not take; followers find them in the log.",
            (),
            {(): self.left_out},
        )

    async def start(self) -> None:
        """Begins to publish what is stored.

        Raises:
            StoreUnavailableError: The log cannot be read. Nothing runs.
        """
        self._publisher.start(partitions=len(await self._backend.log.ends()))
        await self._hints.start()
        await self._repair.start()

    async def stop(self) -> None:
        """Refuses new commands with SHUTTING_DOWN, answers those on their way, and ends."""
        await self._repair.stop()
        await self._lanes.stop()
        await self._publisher.stop()
        await self._hints.stop()
        await self._project_wait.stop()

    def methods(self) -> list[Method]:
        """Returns the methods to host: one for each typed command, Append and Execute."""
        typed = [
            Method(
                service=declaration.service,
                name=declaration.method,
                request=declaration.request,
                unary=self._typed(declaration),
            )
            for declaration in self._declarations.commands.values()
        ]
        return [
            *typed,
            Method(service=SERVICE, name="Append", request=AppendRequest, unary=self._append),
            Method(
                service=SERVICE, name="Execute", request=ExecuteRequest, bidi_stream=self._execute
            ),
        ]

    async def execute(self, commands: Sequence[Message]) -> list[Verdict]:
        """Decides commands of this process, as the bulk path does, without a transport.

        Args:
            commands: Requests of typed commands. Must not be changed before the answer.

        Returns:
            A verdict for each, in their order.
        """
        bulk = self._bulk(math.inf)
        try:
            return await bulk.execute(commands)
        finally:
            bulk.leave()

    def _typed(self, declaration: CommandDeclaration) -> UnaryHandler:
        intake, response = self._intake.typed, declaration.response

        async def decide(request: Any, context: CallContext) -> Message:
            caller = _UnaryCaller()
            command = intake(declaration, request, caller, _deadline(context))
            return response(result=await self._answered(command, caller))

        return decide

    async def _append(self, request: AppendRequest, context: CallContext) -> AppendResponse:
        caller = _UnaryCaller()
        command = self._intake.append(request, caller, _deadline(context))
        return AppendResponse(result=await self._answered(command, caller))

    async def _answered(self, command: Command, caller: "_UnaryCaller") -> CommandResult:
        self._lanes.submit(command)
        answer = await caller.answer
        if command.header.wait_for is not None:
            answer = await self._project_wait.projected(command, answer)
        return self._replies.result(command.stream, answer)

    async def _execute(
        self, requests: AsyncIterator[ExecuteRequest], context: CallContext
    ) -> AsyncIterator[ExecuteResponse]:
        bulk = self._bulk(_deadline(context))
        reader = asyncio.create_task(bulk.read(requests))
        try:
            async for verdicts in bulk.verdicts():
                for response in self._replies.responses(verdicts):
                    yield response
            await reader
        finally:
            bulk.leave()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    def _bulk(self, deadline: float) -> BulkStream:
        parts = Parts(
            self._declarations,
            self._intake,
            self._lanes,
            self._project_wait,
            self._settings.bulk_commands_max,
        )
        return BulkStream(parts, deadline)


class _UnaryCaller:
    """Waits for one command."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def gone(self) -> bool:
        return self.answer.cancelled()

    def settle(self, command: Command, outcome: Outcome) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


def _deadline(context: CallContext) -> float:
    """Returns the caller's deadline by the event loop's time; infinity where there is none.

    Raises:
        DeadlineExceededError: It has passed. Nothing was stored.
    """
    remaining = context.time_remaining()
    if remaining is None:
        return math.inf
    if remaining <= 0:
        raise DeadlineExceededError("the deadline passed before the command was read")
    return asyncio.get_running_loop().time() + remaining
