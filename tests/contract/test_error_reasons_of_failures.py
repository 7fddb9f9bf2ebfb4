"""Reasons that need a store, a process or a domain that fails, really raised over gRPC.

They come from a platform with such a store or domain put in, as `compose` takes them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpc.aio import AioRpcError

from bank.v1 import account_pb2
from command_svc.serve import CommandService
from command_svc.settings import CommandSettings
from devstack.embedded import compose
from domains.bank.account import ACCOUNT
from domains.bank.domain import BANK
from eventspine.client.client import Client
from eventspine.client.errors import CallError, call_error
from eventspine.client.methods import encoded, method_of
from eventspine.domain.declare import declare
from eventspine.process.composition import system_now_us
from eventspine.rpc.errors import TABLE
from eventspine.rpc.host import Host
from eventspine.storage.codec import encode
from eventspine.storage.connect import open_memory
from eventspine.storage.records import GENESIS, Append, CommandRow
from eventspine.v1.command_pb2 import CommandHeader
from eventspine.v1.error_reason_pb2 import ErrorReason
from eventspine.v1.query_pb2 import GetStateRequest
from eventspine.v1.query_pb2_grpc import QueryServiceStub
from eventspine.v1.record_pb2 import EventRecord
from eventspine.v1.subscription_pb2 import SubscribeRequest
from tests.command.watched_store import WatchedStore
from tests.contract.calling import deposit, with_seconds
from tests.contract.test_error_reasons import RAISED
from tests.storage.until import until


class Failing:
    """A composed platform over a watched store, not started yet.

    Attributes:
        store: What its commands are stored in; fails when a test says so.
        methods: What is hosted.
    """

    def __init__(self) -> None:
        memory = open_memory()
        self.store = WatchedStore(memory.events)
        self.backend = replace(memory, events=self.store)
        self.declarations = declare([BANK_WITH_A_DEFECT])
        self.parts = compose(
            self.declarations, self.backend, address="127.0.0.1:0", tenant="default"
        )
        self.methods = self.parts.command.methods() + self.parts.query.methods()

    def limited(self, **settings: Any) -> None:
        """Hosts a command service with other settings instead."""
        parts = self.parts
        self.methods = CommandService(
            self.declarations,
            self.backend,
            now_us=system_now_us,
            progress=parts.progress,
            serving=parts.serving,
            settings=CommandSettings(**settings),
        ).methods()

    async def planted(self, change: Callable[[EventRecord], None], *, chain: bytes = b"") -> None:
        """Stores a record as no command service would; `chain` is another one than its own."""
        record = EventRecord(
            stream="account/bad", stream_version=1, type="bank.v1.MoneyDeposited", command_id="c"
        )
        change(record)
        new, own = encode(record, GENESIS)
        if chain:
            new = new._replace(encoded=new.encoded[:-32] + chain)
        command = CommandRow("c", bytes(32), 1, 1, 0)
        await self.store.append([Append("account/bad", 0, (new,), (command,), chain or own)])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Client, Host]]:
        """Hosts the methods; gives a client with one open account."""
        parts = self.parts
        for part in (parts.tail, parts.progress, parts.serving, parts.query):
            started = part.start()
            if started is not None:
                await started
        host = Host(self.methods)
        async with Client.connect(await host.start()) as client:
            await client.execute(account_pb2.OpenAccountRequest(account_id="alice", owner="Alice"))
            yield client, host
            self.store.open.set()
            await host.stop(0)
        for part in (parts.command, parts.query, parts.serving, parts.progress, parts.tail):
            await part.stop()


def broken_decider(state: Any, command: Any) -> Any:
    raise ZeroDivisionError("an author's mistake")


BANK_WITH_A_DEFECT = replace(
    BANK,
    aggregates=(
        replace(
            ACCOUNT,
            deciders={**ACCOUNT.deciders, account_pb2.CloseAccountRequest: broken_decider},
        ),
    ),
)


async def refused(client: Client, request: Message, seconds: float = 10) -> CallError:
    """Returns the error of a call that is sent once."""
    method = method_of(request.DESCRIPTOR)
    with pytest.raises(AioRpcError) as raised:
        call = client.channel.unary_unary(method.path, encoded, method.response.FromString)
        await call(request, timeout=seconds)
    return call_error(raised.value)


async def unknown_outcome(failing: Failing) -> CallError:
    async with failing.running() as (client, _):
        failing.store.faults += ["lost before"] * 20
        error = await refused(client, deposit("alice", command_id="lost"), seconds=0.6)
        failing.store.faults.clear()
        again = await client.execute(deposit("alice", command_id="lost"))
        assert again.result.last_version == 2
        return error


async def store_unavailable(failing: Failing) -> CallError:
    async with failing.running() as (client, _):
        failing.store.faults.append("unavailable")
        error = await refused(client, deposit("alice", command_id="c"))
        assert error.metadata["cause"] == "disk full"
        assert (await failing.store.head("account/alice")).version == 1
        return error


async def shutting_down(failing: Failing) -> CallError:
    async with failing.running() as (client, host):
        call = client.stub(QueryServiceStub).Subscribe(SubscribeRequest(beginning=Empty()))
        replies = aiter(call)
        await anext(replies)
        stopping = asyncio.create_task(host.stop(5))
        with pytest.raises(AioRpcError) as raised:
            async for _ in replies:
                pass
        await stopping
        return call_error(raised.value)


async def chain_broken(failing: Failing) -> CallError:
    await failing.planted(lambda record: None, chain=b"x" * 32)
    async with failing.running() as (client, _):
        error = await refused(client, GetStateRequest(stream="account/bad"))
        assert error.metadata["stream"] == "account/bad"
        assert error.metadata["stream_version"] == "1"
        return error


async def chain_broken_before_a_command(failing: Failing) -> CallError:
    def damaged(record: EventRecord) -> None:
        record.payload = b"\xff"

    await failing.planted(damaged, chain=b"x" * 32)
    async with failing.running() as (client, _):
        return await refused(client, deposit("bad", command_id="d"))


async def domain_defect(failing: Failing) -> CallError:
    async with failing.running() as (client, _):
        header = CommandHeader(command_id="c")
        closing = account_pb2.CloseAccountRequest(header=header, account_id="alice")
        error = await refused(client, closing)
        assert error.metadata["type"] == "bank.v1.CloseAccountRequest"
        assert (await failing.store.head("account/alice")).version == 1
        return error


async def a_stored_event_of_no_type(failing: Failing) -> CallError:
    def renamed(record: EventRecord) -> None:
        record.type = "no.v1.Such"

    await failing.planted(renamed)
    async with failing.running() as (client, _):
        return await refused(client, GetStateRequest(stream="account/bad"))


async def deadline_exceeded(failing: Failing) -> CallError:
    # The caller's own clock ends a call first; a service behind a gateway may know of less time.
    failing.methods = [
        with_seconds(method, 0) if method.name == "Deposit" else method
        for method in failing.methods
    ]
    async with failing.running() as (client, _):
        error = await refused(client, deposit("alice", command_id="c"))
        assert (await failing.store.head("account/alice")).version == 1
        return error


async def overloaded(failing: Failing) -> CallError:
    failing.limited(waiting_commands_max=3)
    async with failing.running() as (client, _):
        failing.store.open.clear()
        waiting = [
            asyncio.create_task(client.execute(deposit("alice", command_id=f"c{n}")))
            for n in range(3)
        ]
        await until(lambda: len(failing.store.calls) == 2)
        error = await refused(client, deposit("alice", command_id="one too many"))
        failing.store.open.set()
        results = [answer.result.last_version for answer in await asyncio.gather(*waiting)]
        assert sorted(results) == [2, 3, 4]
        return error


async def internal(failing: Failing) -> CallError:
    async with failing.running() as (client, _):
        failing.store.faults.append("disk full")
        error = await refused(client, deposit("alice", command_id="c"))
        assert error.status.message == ""
        assert (await client.execute(deposit("alice", command_id="c"))).result.last_version == 2
        return error


FAILED: dict[str, Sequence[Callable[[Failing], Awaitable[CallError]]]] = {
    "OUTCOME_UNKNOWN": [unknown_outcome],
    "STORE_UNAVAILABLE": [store_unavailable],
    "SHUTTING_DOWN": [shutting_down],
    "CHAIN_BROKEN": [chain_broken, chain_broken_before_a_command],
    "DOMAIN_DEFECT": [domain_defect, a_stored_event_of_no_type],
    "DEADLINE_EXCEEDED": [deadline_exceeded],
    "OVERLOADED": [overloaded],
    "INTERNAL": [internal],
}


@pytest.mark.parametrize(
    ("name", "way"), [(name, way) for name, ways in FAILED.items() for way in ways]
)
async def test_a_reason_of_a_failure_comes_with_its_code_and_when_to_try_again(
    name: str, way: Callable[[Failing], Awaitable[CallError]]
) -> None:
    error = await way(Failing())
    row = next(row for row in TABLE if ErrorReason.Name(row.reason) == f"ERROR_REASON_{name}")
    assert (error.reason, error.domain) == (f"ERROR_REASON_{name}", "eventspine.v1")
    assert error.code.value[0] == row.code
    assert error.retry_seconds == row.retry_seconds


def test_the_reasons_raised_here_are_those_of_the_contract() -> None:
    raised = {f"ERROR_REASON_{name}" for name in (*RAISED, *FAILED)}
    assert raised == set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}
