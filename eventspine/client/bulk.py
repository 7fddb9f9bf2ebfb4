"""Many commands over one stream; promise: each gets one verdict, whatever happens to connections.

What has no verdict yet is remembered, in order, and sent again over the next connection with the
same command ids; the platform answers what it had stored as it did the first time.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from grpc import aio

from eventspine.client.errors import CallError, broken, call_error
from eventspine.client.methods import encoded
from eventspine.client.retry import Patience
from eventspine.v1 import options_pb2
from eventspine.v1.command_pb2 import (
    CommandFailure,
    CommandVerdict,
    ExecuteRequest,
    ExecuteResponse,
)

BATCH_COMMANDS_MAX: Final = 500
BATCH_BYTES_MAX: Final = 2 * 1024 * 1024
ATTEMPTS_MAX: Final = 6
"""How often one command is sent whose failures say that it may be sent again."""

_PATH: Final = "/eventspine.v1.CommandService/Execute"
_TYPE_PREFIX: Final = "type.googleapis.com/"


class Pending:
    """A command that waits for its verdict."""

    __slots__ = ("attempts", "category", "command_id", "kind", "packed", "stream_id")

    def __init__(self, command: Any) -> None:
        """Encodes the command, once for all attempts.

        Raises:
            LookupError: The message is not a typed command.
        """
        self.attempts = 1
        self.command_id: str = command.header.command_id
        self.kind: str = command.DESCRIPTOR.full_name
        self.category, stream_id_field = _stream_of(command.DESCRIPTOR)
        self.stream_id: str = getattr(command, stream_id_field)
        self.packed = AnyMessage(
            type_url=_TYPE_PREFIX + self.kind,
            value=command.SerializeToString(),
        )


class BulkStream:
    """One run of the bulk path."""

    def __init__(
        self,
        channel: aio.Channel,
        commands: Iterator[Message],
        outstanding_max: int,
        patience_seconds: float,
    ) -> None:
        """Begins nothing yet; the first step of `verdicts` does."""
        self._call = channel.stream_stream(_PATH, encoded, ExecuteResponse.FromString)
        self._commands = commands
        self._outstanding_max = outstanding_max
        self._patience_seconds = patience_seconds
        self._pending: dict[Pending, None] = {}
        self._by_id: dict[str, list[Pending]] = {}
        self._again: deque[Pending] = deque()
        self._exhausted = False
        # One draw of chance a run and a count are as unique as one draw a command, and cheaper.
        self._run_id = uuid.uuid4().hex
        self._count = 0
        self._changed = asyncio.Event()
        self._defect: Exception | None = None

    async def verdicts(self) -> AsyncGenerator[CommandVerdict, None]:
        """Iterates over the verdicts as they come, one a command.

        Raises:
            CallError: The platform refused the stream, or is gone for longer than the caller is
                patient.
        """
        patience = Patience(self._patience_seconds)
        while self._pending or not self._exhausted:
            try:
                async with aclosing(self._connection()) as connection:
                    async for response in connection:
                        patience.succeeded()
                        for verdict in response.verdicts:
                            if self._settled(verdict):
                                yield verdict
                        self._changed.set()
                error = broken(grpc.StatusCode.UNAVAILABLE, "the stream ended too early")
            except CallError as failed:
                error = failed
            if self._pending or not self._exhausted:
                await patience.wait(error)

    async def _connection(self) -> AsyncGenerator[ExecuteResponse, None]:
        """Iterates over the answers of one connection, while a task sends.

        Raises:
            CallError: It failed.
        """
        call = self._call()
        self._again = deque(self._pending)
        sender = asyncio.create_task(self._send(call))
        try:
            async for response in call:
                yield response
        except aio.AioRpcError as failed:
            raise call_error(failed) from None
        except asyncio.CancelledError:
            if self._defect is None:
                raise
        finally:
            sender.cancel()
            call.cancel()
            await asyncio.wait((sender,))
        if self._defect is not None:
            raise self._defect

    async def _send(self, call: aio.StreamStreamCall[Message, ExecuteResponse]) -> None:
        """Sends until all is answered. Ends the call when the caller's commands raise."""
        try:
            await self._send_all(call)
        except (aio.BaseError, grpc.RpcError, asyncio.InvalidStateError):
            # The call has ended; whoever reads from it gets its status.
            return
        except Exception as defect:
            self._defect = defect
            call.cancel()

    async def _send_all(self, call: aio.StreamStreamCall[Message, ExecuteResponse]) -> None:
        """Sends what is to be sent again, then new commands as there is room; then says so."""
        while True:
            self._changed.clear()
            batch = self._batch()
            if batch:
                await call.write(ExecuteRequest(commands=[pending.packed for pending in batch]))
            elif self._exhausted and not self._pending:
                await call.done_writing()
                return
            else:
                await self._changed.wait()

    def _batch(self) -> list[Pending]:
        """Takes the next commands to send; empty when there are none or there is no room."""
        batch: list[Pending] = []
        size = 0
        while len(batch) < BATCH_COMMANDS_MAX:
            pending = self._again.popleft() if self._again else self._take()
            if pending is None:
                break
            size += len(pending.packed.value)
            if batch and size > BATCH_BYTES_MAX:
                self._again.appendleft(pending)
                break
            batch.append(pending)
        return batch

    def _take(self) -> Pending | None:
        """Takes one new command; None when there is none or no room."""
        if self._exhausted or len(self._pending) >= self._outstanding_max:
            return None
        for command in islice(self._commands, 1):
            pending = Pending(self._identified(command))
            self._pending[pending] = None
            self._by_id.setdefault(pending.command_id, []).append(pending)
            return pending
        self._exhausted = True
        return None

    def _identified(self, command: Any) -> Any:
        """Gives a command an id, in the message itself, unless it has one."""
        self._count += 1
        if not command.header.command_id:
            command.header.command_id = f"{self._run_id}-{self._count}"
        return command

    def _settled(self, verdict: CommandVerdict) -> bool:
        """Tells whether the verdict is to be handed out; takes the command off the list then."""
        pending = self._pending_of(verdict)
        if pending is None:
            return False
        if verdict.HasField("failure"):
            delay = _retry_seconds(verdict.failure)
            if delay is not None and pending.attempts < ATTEMPTS_MAX:
                delay *= 2.0 ** (pending.attempts - 1)
                pending.attempts += 1
                asyncio.get_running_loop().call_later(delay, self._send_again, pending)
                return False
        del self._pending[pending]
        same_id = self._by_id[pending.command_id]
        same_id.remove(pending)
        if not same_id:
            del self._by_id[pending.command_id]
        return True

    def _send_again(self, pending: Pending) -> None:
        if pending in self._pending and pending not in self._again:
            self._again.append(pending)
            self._changed.set()

    def _pending_of(self, verdict: CommandVerdict) -> Pending | None:
        """Returns the command of a verdict; None when its verdict was handed out before."""
        if not verdict.command_id:
            kind = verdict.failure.metadata.get("type", "")
            return next((p for p in self._pending if p.kind == kind), None)
        # A command id is unique in its stream only.
        category, _, stream_id = verdict.stream.partition("/")
        for pending in self._by_id.get(verdict.command_id, ()):
            known = pending.category in ("", category) and pending.stream_id == stream_id
            if known or not verdict.stream:
                return pending
        return None


@lru_cache(maxsize=4096)
def _stream_of(command: Descriptor) -> tuple[str, str]:
    """Returns the category of the command's streams, and the field that names the stream in it.

    The category is empty where the service of the command stands in another file.

    Raises:
        LookupError: There is none: it is not a typed command.
    """
    categories = [
        service.GetOptions().Extensions[options_pb2.commands].category
        for service in command.file.services_by_name.values()
        if any(method.input_type is command for method in service.methods)
    ]
    for field in command.fields:
        if field.GetOptions().Extensions[options_pb2.stream_id]:
            return "".join(categories[:1]), field.name
    raise LookupError(
        f"{command.full_name} has no stream_id field; send requests of typed commands"
    )


def _retry_seconds(failure: CommandFailure) -> float | None:
    """Returns after how long to send a failed command again; None for never."""
    for packed in failure.details:
        if packed.TypeName() == RetryInfo.DESCRIPTOR.full_name:
            delay = RetryInfo.FromString(packed.value).retry_delay
            return delay.seconds + delay.nanos / 1e9
    return None
