"""A command service on the bank, called without a transport."""

import itertools
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from google.protobuf.message import Message

from bank.v1 import account_pb2 as pb
from command_svc.serve import CommandService
from command_svc.settings import CommandSettings
from domains.bank.domain import BANK
from eventspine.domain.declare import declare
from eventspine.rpc.context import CallContext
from eventspine.storage.connect import Backend
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from eventspine.v1.command_pb2 import (
    AppendRequest,
    CommandHeader,
    CommandResult,
    CommandVerdict,
    ExecuteRequest,
)
from eventspine.v1.record_pb2 import EventRecord, Expectation
from tests.command.watched_store import WatchedStore

DECLARATIONS = declare([BANK])
IDS = itertools.count(1)


def new_id() -> str:
    return f"c{next(IDS)}"


def header(command_id: str = "", **fields: Any) -> CommandHeader:
    return CommandHeader(command_id=command_id or new_id(), **fields)


def at(version: int) -> Expectation:
    return Expectation(version=version)


def no_stream() -> Expectation:
    expected = Expectation()
    expected.no_stream.SetInParent()
    return expected


def stream_exists() -> Expectation:
    expected = Expectation()
    expected.stream_exists.SetInParent()
    return expected


def anyhow() -> Expectation:
    expected = Expectation()
    expected.any.SetInParent()
    return expected


def opening(account: str = "a", command_id: str = "", **fields: Any) -> pb.OpenAccountRequest:
    return pb.OpenAccountRequest(
        header=header(command_id, **fields), account_id=account, owner="Ann"
    )


def deposit(
    account: str = "a", amount: int = 5, command_id: str = "", **fields: Any
) -> pb.DepositRequest:
    head = header(command_id, **fields)
    return pb.DepositRequest(header=head, account_id=account, amount_cents=amount)


def withdrawal(
    account: str = "a", amount: int = 5, command_id: str = "", **fields: Any
) -> pb.WithdrawRequest:
    head = header(command_id, **fields)
    return pb.WithdrawRequest(header=head, account_id=account, amount_cents=amount)


def completion(account: str, transfer: str, command_id: str = "") -> pb.CompleteTransferRequest:
    return pb.CompleteTransferRequest(
        header=header(command_id), account_id=account, transfer_id=transfer
    )


class BankService:
    """A running service, and what is under it.

    Attributes:
        store: The event store, watched.
        backend: The backend that the service uses.
    """

    def __init__(self, backend: Backend, settings: CommandSettings) -> None:
        self.store = WatchedStore(backend.events)
        self.backend = replace(backend, events=self.store)
        self.progress = ProgressBoard(backend.views, backend.bus)
        self.serving = ServingBuilds(backend.registry, backend.bus)
        self.time_us = 1_700_000_000_000_000
        self.service = CommandService(
            DECLARATIONS,
            self.backend,
            now_us=lambda: self.time_us,
            progress=self.progress,
            serving=self.serving,
            settings=settings,
        )
        self._unary = {m.request: m.unary for m in self.service.methods() if m.unary}
        self._bidi = next(m.bidi_stream for m in self.service.methods() if m.bidi_stream)

    async def call(self, request: Message, seconds: float = math.inf) -> CommandResult:
        """Answers as the unary method does, or raises what its status would be made of."""
        response: Any = await self._unary[type(request)](request, context(seconds))
        return response.result

    async def execute(self, *batches: Sequence[Message]) -> list[CommandVerdict]:
        """Sends batches on one bulk stream; returns all verdicts in the order they came."""
        requests = []
        for batch in batches:
            request = ExecuteRequest()
            for command in batch:
                request.commands.add().Pack(command)
            requests.append(request)
        return await self.execute_requests(*requests)

    async def execute_requests(self, *requests: ExecuteRequest) -> list[CommandVerdict]:
        return [v async for r in self.replies(*requests) for v in r.verdicts]

    def replies(self, *requests: ExecuteRequest) -> AsyncIterator[Any]:
        async def each() -> AsyncIterator[ExecuteRequest]:
            for request in requests:
                yield request

        assert self._bidi is not None
        return self._bidi(each(), context())

    async def records(self, stream: str = "account/a") -> list[EventRecord]:
        """Returns what is stored."""
        found = await self.store.read(stream)
        return [EventRecord.FromString(record.encoded) for record in found]

    async def types(self, stream: str = "account/a") -> list[str]:
        return [record.type.rpartition(".")[2] for record in await self.records(stream)]


def context(seconds: float = math.inf) -> CallContext:
    remaining: Callable[[], float | None] = lambda: None if seconds == math.inf else seconds  # noqa: E731 # one expression, given away
    return CallContext(remaining, lambda: False)


def append_request(
    *events: Message, stream: str = "account/a", expected: Expectation | None = None, **fields: Any
) -> AppendRequest:
    request = AppendRequest(header=header(expected=expected, **fields), stream=stream)
    for event in events:
        name = event.DESCRIPTOR.full_name
        request.events.add(type=name, payload=event.SerializeToString())
    return request


@asynccontextmanager
async def running(backend: Backend, **settings: Any) -> AsyncIterator[BankService]:
    """A service that runs on a backend, which stays open."""
    bank = BankService(backend, CommandSettings(**settings))
    await bank.progress.start()
    await bank.serving.start()
    await bank.service.start()
    try:
        yield bank
    finally:
        bank.store.open.set()
        await bank.service.stop()
        await bank.serving.stop()
        await bank.progress.stop()
        assert bank.store.overlaps == [], "two of our own appends were in flight on one stream"
        assert bank.service.waiting == 0
