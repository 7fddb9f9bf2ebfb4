"""Appends whose answer is lost, on a real server behind a proxy: never a false word about them.

Traps of the driver and of the protocol; each test fails when its cure is taken out.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from struct import pack, unpack_from
from typing import Any

import pytest
from cassandra import WriteTimeout
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RoundRobinPolicy
from cassandra.segment import SegmentCodec

from eventspine.storage.cassandra.events import CassandraEventStore
from eventspine.storage.cassandra.failures import CAS_WRITE_UNKNOWN
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.connect import open_memory
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.records import Append, Conflict, Head, Outcome, Replayed, Stored
from eventspine.storage.stack import StackSettings
from tests.command.bank_service import deposit, opening, running
from tests.storage.appends import append_of, records_of
from tests.storage.cassandra_keyspace import as_new_tenant, new_keyspace
from tests.storage.proxy import Proxy

STREAM = "account/1"
PATIENCE_SECONDS = 60

OVERLOADED = 0x1001
WRITE_TIMEOUT = 0x1100
_RESULT = 0x08


@pytest.fixture(scope="module")
def keyspace(cassandra: str) -> Iterator[StackSettings]:
    with new_keyspace(cassandra) as settings:
        yield settings


@pytest.fixture
def settings(keyspace: StackSettings) -> StackSettings:
    return as_new_tenant(keyspace)


@pytest.fixture
async def direct(settings: StackSettings) -> AsyncIterator[CassandraEventStore]:
    """Sees the same streams, past the proxy."""
    opened = await CassandraStore.open(settings)
    yield CassandraEventStore(opened)
    await opened.close()


@pytest.fixture
async def proxy(cassandra: str) -> AsyncIterator[Proxy]:
    async with Proxy(cassandra) as proxy:
        yield proxy


@pytest.fixture
async def store(settings: StackSettings, proxy: Proxy) -> AsyncIterator[CassandraEventStore]:
    opened = await CassandraStore.open(replace(settings, contact_points=(proxy.address,)))
    store = CassandraEventStore(opened)
    # The statements are prepared here, so that the next request is the append itself.
    await settled(store, append_of("warm/1", 0, "c"))
    yield store
    await opened.close()


async def version_at(store: CassandraEventStore, version: int) -> None:
    """Waits until the stream has come to a version."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await store.head(STREAM)).version < version:  # noqa: ASYNC110 # in the database
            await asyncio.sleep(0.01)


async def settled(store: CassandraEventStore, append: Append) -> Outcome:
    """Sends the same append until its outcome is certain."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(OutcomeUnknownError, StoreUnavailableError):
                (outcome,) = await store.append([append])
                return outcome
            await asyncio.sleep(0.05)


async def test_a_connection_lost_after_sending_is_an_unknown_outcome_that_resending_settles(
    store: CassandraEventStore, direct: CassandraEventStore, proxy: Proxy
) -> None:
    append = append_of(STREAM, 0, "a", "b", events=2)
    proxy.swallow()
    sending = asyncio.create_task(store.append([append]))
    await version_at(direct, 4)
    await proxy.refuse()
    with pytest.raises(OutcomeUnknownError):
        await asyncio.wait_for(sending, PATIENCE_SECONDS)
    await proxy.accept()
    # Its own row: whoever sends again reads it as stored.
    assert await settled(store, append) == Replayed(append.commands[0])
    assert (await direct.head(STREAM)).version == 4


async def test_commands_whose_answer_was_lost_are_stored_once_and_answered_as_new(
    store: CassandraEventStore, direct: CassandraEventStore, proxy: Proxy
) -> None:
    async with running(replace(open_memory(), events=store)) as bank:
        await bank.call(opening("1"))
        proxy.swallow()
        calls = [asyncio.create_task(bank.call(deposit("1"))) for _ in range(5)]
        await version_at(direct, 2)
        await proxy.refuse()
        await proxy.accept()
        results = await asyncio.wait_for(asyncio.gather(*calls), PATIENCE_SECONDS)
    assert [result.last_version for result in results] == [2, 3, 4, 5, 6]
    assert not any(result.replayed for result in results)
    assert (await direct.head(STREAM)).version == 6


class TwiceTheNode(RoundRobinPolicy):
    """Names each node twice, as if there were a second one behind the same proxy."""

    def make_query_plan(self, working_keyspace: Any = None, query: Any = None) -> Iterator[Any]:
        for host in super().make_query_plan(working_keyspace, query):
            yield host
            yield host


async def test_with_the_drivers_own_retries_a_success_comes_back_as_a_refusal(
    settings: StackSettings, direct: CassandraEventStore, proxy: Proxy
) -> None:
    """Why the driver's request object and its default policy are not used for appends."""
    cluster = await asyncio.to_thread(
        Cluster,
        [("127.0.0.1", int(proxy.address.rpartition(":")[2]))],
        protocol_version=5,
        execution_profiles={EXEC_PROFILE_DEFAULT: ExecutionProfile(TwiceTheNode())},
    )
    session = await asyncio.to_thread(cluster.connect)
    update = await asyncio.to_thread(
        session.prepare,
        f'UPDATE "{settings.keyspace}".events SET head = 1'
        " WHERE tenant = ? AND stream = ? AND bucket = 0 IF head = null",
    )
    proxy.change = Once(lambda data: replaced_result(data, OVERLOADED))
    result = await asyncio.to_thread(session.execute, update, (settings.tenant, STREAM))
    # It was stored, and is told that it was not.
    assert (await direct.head(STREAM)).version == 1
    assert not result.was_applied
    await asyncio.to_thread(cluster.shutdown)


@pytest.mark.parametrize("code", [0x0000, 0x1001, 0x1003])
async def test_an_error_of_a_node_that_came_after_the_write_is_an_unknown_outcome(
    store: CassandraEventStore, proxy: Proxy, code: int
) -> None:
    append = append_of(STREAM, 0, "a")
    proxy.change = Once(lambda data: replaced_result(data, code))
    with pytest.raises(OutcomeUnknownError):
        await store.append([append])
    assert await settled(store, append) == Replayed(append.commands[0])


async def test_no_answer_in_time_is_an_unknown_outcome_that_resending_settles(
    settings: StackSettings, direct: CassandraEventStore, proxy: Proxy
) -> None:
    hasty = replace(settings, contact_points=(proxy.address,), request_timeout_seconds=3.0)
    opened = await CassandraStore.open(hasty)
    store = CassandraEventStore(opened)
    await settled(store, append_of("warm/1", 0, "c"))
    append = append_of(STREAM, 0, "a")
    proxy.swallow()
    with pytest.raises(OutcomeUnknownError, match="no answer in time"):
        await asyncio.wait_for(store.append([append]), PATIENCE_SECONDS)
    await version_at(direct, 1)
    proxy.cut()
    await proxy.accept()
    assert await settled(store, append) == Replayed(append.commands[0])
    await opened.close()


async def test_a_resent_append_that_another_writer_has_overtaken_learns_that_it_lost(
    store: CassandraEventStore, direct: CassandraEventStore, proxy: Proxy
) -> None:
    await proxy.refuse()
    append = append_of(STREAM, 0, "mine")
    with pytest.raises((OutcomeUnknownError, StoreUnavailableError)):
        await store.append([append])
    other = append_of(STREAM, 0, "other")
    assert await direct.append([other]) == [Stored(None)]
    await proxy.accept()
    assert await settled(store, append) == Conflict(Head(1, other.chain))


async def test_cassandras_word_for_an_unknown_write_is_an_unknown_outcome(
    store: CassandraEventStore, direct: CassandraEventStore, proxy: Proxy
) -> None:
    """The driver has no class for error 0x1700: it comes as a bare message."""
    proxy.change = lambda data: replaced_result(data, CAS_WRITE_UNKNOWN, pack(">Hii", 8, 1, 2))
    append = append_of(STREAM, 0, "a")
    with pytest.raises(OutcomeUnknownError, match="0x1700"):
        await store.append([append])
    proxy.change = None
    assert await settled(store, append) == Replayed(append.commands[0])


async def test_a_timeout_at_the_node_is_an_unknown_outcome(
    store: CassandraEventStore, proxy: Proxy
) -> None:
    body = pack(">Hii", 8, 1, 2) + pack(">H3s", 3, b"CAS") + pack(">H", 0)
    proxy.change = lambda data: replaced_result(data, WRITE_TIMEOUT, body)
    append = append_of(STREAM, 0, "a")
    with pytest.raises(OutcomeUnknownError) as caught:
        await store.append([append])
    assert isinstance(caught.value.__cause__, WriteTimeout)
    proxy.change = None
    assert await settled(store, append) == Replayed(append.commands[0])


async def test_without_a_node_an_append_fails_at_once_and_works_again_when_it_is_back(
    store: CassandraEventStore, direct: CassandraEventStore, proxy: Proxy
) -> None:
    await proxy.refuse()
    loop = asyncio.get_running_loop()

    # The first may still go out by a connection whose end is not yet noticed.
    with pytest.raises(StoreUnavailableError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with suppress(OutcomeUnknownError):
                    await store.append([append_of("account/2", 0, "a")])
    began = loop.time()
    with pytest.raises(StoreUnavailableError):
        await store.append([append_of(STREAM, 0, "a")])
    with pytest.raises(StoreUnavailableError):
        await store.read(STREAM)
    assert loop.time() - began < 5
    assert (await direct.head(STREAM)).version == 0
    await proxy.accept()
    append = append_of(STREAM, 0, "b")
    assert await settled(store, append) in (Stored(None), Replayed(append.commands[0]))


async def test_a_connection_that_takes_no_more_is_waited_for(
    store: CassandraEventStore, proxy: Proxy
) -> None:
    """The driver's own connections refuse a request as soon as the socket's buffer is full."""
    (record,), chain = records_of(STREAM, 0, 1)
    big = record._replace(encoded=bytes(512 * 1024))
    appends = [
        append_of(f"account/{number}", 0, "c")._replace(records=(big,), chain=chain)
        for number in range(24)
    ]
    proxy.hold()
    sending = [asyncio.create_task(store.append([append])) for append in appends]
    done, _ = await asyncio.wait(sending, timeout=0.5)
    assert not done
    proxy.flow()
    outcomes = await asyncio.gather(*sending, return_exceptions=True)
    # A busy node may take too long over so much; none was turned away here.
    assert not any(isinstance(outcome, StoreUnavailableError) for outcome in outcomes)
    assert [Stored(None)] in outcomes


class Once:
    """Changes the first piece that holds anything to change, and no other."""

    def __init__(self, change: Callable[[bytes], bytes]) -> None:
        self._change: Callable[[bytes], bytes] | None = change

    def __call__(self, data: bytes) -> bytes:
        changed = self._change(data) if self._change else data
        if changed != data:
            self._change = None
        return changed


def replaced_result(data: bytes, code: int, details: bytes = b"") -> bytes:
    """Puts an error in the place of each conditional result in what a node sends.

    That is of protocol 5, uncompressed.

    Source: the segments and frames of native_protocol_v5.spec.
    """
    codec = SegmentCodec()
    out = BytesIO()
    source = BytesIO(data)
    while source.tell() < len(data):
        header = codec.decode_header(source)
        payload = codec.decode(source, header).payload
        assert header.is_self_contained
        frames = b""
        while payload:
            version, flags, stream, opcode, length = unpack_from(">BBhBi", payload)
            body, payload = payload[9 : 9 + length], payload[9 + length :]
            if opcode == _RESULT and b"[applied]" in body:
                opcode, body = 0, pack(">iH4s", code, 4, b"lost") + details
            frames += pack(">BBhBi", version, flags, stream, opcode, len(body)) + body
        codec.encode(out, frames)
    return out.getvalue()
