"""Step 1 for many: batches of commands in, batches of verdicts out, in the order of each stream.

A caller that sends faster than the store takes is read more slowly: a bulk stream has a bounded
number of commands on their way.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from command_svc.append import Lanes
from command_svc.command import Answer, Command, Outcome
from command_svc.intake import Intake
from command_svc.project_wait import ProjectWait
from eventspine.domain.declared import CommandDeclaration, Declarations
from eventspine.domain.errors import EventspineError
from eventspine.rpc.checks import check_size, refuse
from eventspine.rpc.errors import TypeUnknownError
from eventspine.rpc.limits import COMMAND_BYTES_MAX, COMMANDS_MAX
from eventspine.v1.command_pb2 import ExecuteRequest


class Verdict(NamedTuple):
    """What became of one command.

    Attributes:
        place: Which command of its bulk stream it was. From 0.
        command_id: Empty where the command had none, or is of an unknown type.
        stream: Empty for a malformed command.
        outcome: What the store did for it, or the error that says why it did nothing.
    """

    place: int
    command_id: str
    stream: str
    outcome: Outcome


class Parts(NamedTuple):
    """What bulk streams work with; at most `outstanding_max` commands of each are on their way."""

    declarations: Declarations
    intake: Intake
    lanes: Lanes
    project_wait: ProjectWait
    outstanding_max: int


class BulkStream:
    """One caller's stream of commands, and the verdicts that are ready for it."""

    def __init__(self, parts: Parts, deadline: float = math.inf) -> None:
        """Begins with none; `deadline` is the caller's, by the event loop's time."""
        self._parts = parts
        self._deadline = deadline
        self._outstanding = 0
        self._count = 0
        self._verdicts: list[Verdict] = []
        self._changed = asyncio.Event()
        self._waits: set[asyncio.Task[None]] = set()
        self._ended = False
        self._gone = False

    @property
    def gone(self) -> bool:
        """Whether the caller has gone; what was not taken out of its lane is then dropped."""
        return self._gone

    def settle(self, command: Command, outcome: Outcome) -> None:
        """Takes the outcome of one of its commands."""
        if command.header.wait_for is not None and isinstance(outcome, Answer) and not self._gone:
            task = asyncio.create_task(self._wait(command, outcome))
            self._waits.add(task)
            task.add_done_callback(self._waits.discard)
        else:
            self._finish(command, outcome)

    async def read(self, requests: AsyncIterator[ExecuteRequest]) -> None:
        """Takes requests in as long as there is room, until they end.

        Raises:
            InvalidRequestError: A request is empty or a command cannot be parsed. Nothing of that
                request was stored; nor is anything after it.
            LimitExceededError: A request is too large; likewise.
        """
        try:
            async for request in requests:
                # Verdicts that the caller does not read count too, or they would pile up.
                while self._outstanding + len(self._verdicts) >= self._parts.outstanding_max:
                    await self._change()
                for declaration, name, command in self._parsed(request):
                    self._submit(declaration, name, command)
        finally:
            self.end()

    async def execute(self, commands: Sequence[Message]) -> list[Verdict]:
        """Takes commands of this process in; returns their verdicts in the same order."""
        declared = self._parts.declarations.commands
        for command in commands:
            while self._outstanding >= self._parts.outstanding_max:
                await self._change()
            name = command.DESCRIPTOR.full_name
            self._submit(declared.get(name), name, command)
        self.end()
        verdicts = [verdict async for batch in self.verdicts() for verdict in batch]
        verdicts.sort()
        return verdicts

    async def verdicts(self) -> AsyncIterator[list[Verdict]]:
        """Iterates over the verdicts as they come, those of one loop turn together."""
        while True:
            if self._verdicts:
                batch, self._verdicts = self._verdicts, []
                self._changed.set()
                yield batch
            elif self._ended and not self._outstanding:
                return
            else:
                await self._change()

    def end(self) -> None:
        """Says that no further command comes."""
        self._ended = True
        self._changed.set()

    def leave(self) -> None:
        """Says that the caller has gone."""
        self._gone = True
        for task in self._waits:
            task.cancel()

    def _parsed(self, request: ExecuteRequest) -> list[tuple[CommandDeclaration | None, str, Any]]:
        """Parses all commands of a request, so that a malformed one stores none of them."""
        commands = request.commands
        if not commands:
            refuse("commands", f"is empty; send 1 to {COMMANDS_MAX}")
        check_size("commands", len(commands), COMMANDS_MAX, limit="commands", unit="commands")
        size = sum(len(packed.value) for packed in commands)
        check_size("commands", size, COMMAND_BYTES_MAX, limit="command_bytes")
        return [self._unpacked(index, packed) for index, packed in enumerate(commands)]

    def _unpacked(
        self, index: int, packed: AnyMessage
    ) -> tuple[CommandDeclaration | None, str, Any]:
        name = packed.type_url.rpartition("/")[2]
        declaration = self._parts.declarations.commands.get(name)
        if declaration is None:
            return None, name, None
        try:
            return declaration, name, declaration.request.FromString(packed.value)
        except DecodeError as error:
            refuse(f"commands[{index}]", f"does not parse as {name}: {error}")

    def _submit(self, declaration: CommandDeclaration | None, name: str, request: Any) -> None:
        """Sends one command on its way, or finishes it at once where it cannot go."""
        place = self._count
        self._count += 1
        if declaration is None:
            error: Exception = TypeUnknownError(
                f"no hosted domain declares the command {name!r}", type=name
            )
            self._verdicts.append(Verdict(place, "", "", error))
            self._changed.set()
            return
        stream = ""
        try:
            command = self._parts.intake.typed(declaration, request, self, self._deadline)
            command.place, stream = place, command.stream
            self._parts.lanes.submit(command)
            self._outstanding += 1
        except EventspineError as error:
            self._verdicts.append(Verdict(place, request.header.command_id, stream, error))
            self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _wait(self, command: Command, answer: Answer) -> None:
        try:
            answer = await self._parts.project_wait.projected(command, answer)
        finally:
            self._finish(command, answer)

    def _finish(self, command: Command, outcome: Outcome) -> None:
        self._outstanding -= 1
        command_id = command.header.command_id
        self._verdicts.append(Verdict(command.place, command_id, command.stream, outcome))
        self._changed.set()
