"""What operators read on every backend: status, verified chains, and exports."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bank.v1 import account_pb2 as account
from eventspine.rpc.errors import CursorExpiredError, InvalidRequestError, StreamNotFoundError
from eventspine.storage.connect import open_sqlite
from eventspine.storage.records import StreamRecord
from eventspine.v1 import admin_pb2 as pb
from eventspine.v1.record_pb2 import PartitionSequence
from processor_svc.auditor import Auditor
from processor_svc.verify import Verification
from tests.processor.platform import CALL, NOW_US, Platform


class Tampered:
    """An EventStore of which some records were changed behind its back."""

    def __init__(self, events: object, changes: dict[tuple[str, int], bytes | None]) -> None:
        self._events, self._changes = events, changes

    def __getattr__(self, name: str) -> object:
        return getattr(self._events, name)

    async def read(self, stream: str, *, after: int = 0, limit: int = 500) -> list[StreamRecord]:
        records = await self._events.read(stream, after=after, limit=limit)  # type: ignore[attr-defined]
        changed = [
            record._replace(
                encoded=self._changes.get((stream, record.stream_version), record.encoded)
            )
            for record in records
        ]
        return [record for record in changed if record.encoded is not None]


# Cassandra keeps no order over the commands of all streams.
NUMBERED = pytest.mark.parametrize("kind", ["memory", "sqlite"], indirect=True)


async def exported(platform: Platform, request: pb.ExportRequest) -> list[pb.ExportResponse]:
    return [message async for message in platform.admin.export(request, CALL)]


async def test_the_status_tells_what_the_store_is(platform: Platform) -> None:
    await platform.deposit("ann", 1, 2)
    await platform.projected()
    status = await platform.admin.get_status(pb.GetStatusRequest(), CALL)
    identity = platform.backend.identity
    assert (status.store_id, status.backend) == (identity.store_id, identity.backend)
    assert [place.sequence for place in status.ends] == [2]


async def test_whole_chains_are_verified_with_counts(platform: Platform) -> None:
    for name in ("ann", "bob", "cid"):
        await platform.deposit(name, *range(1, 4))
    messages = [m async for m in platform.admin.verify(pb.VerifyRequest(), CALL)]
    last = messages[-1]
    assert (last.done, last.streams, last.records, list(last.breaks)) == (True, 3, 9, [])
    assert not any(message.done for message in messages[:-1])


async def test_one_stream_is_verified_alone(platform: Platform) -> None:
    await platform.deposit("ann", 1)
    await platform.deposit("bob", 1, 2)
    request = pb.VerifyRequest(stream="account/bob")
    (last,) = [m async for m in platform.admin.verify(request, CALL)]
    assert (last.done, last.streams, last.records) == (True, 1, 2)
    with pytest.raises(StreamNotFoundError):
        await anext(platform.admin.verify(pb.VerifyRequest(stream="account/no"), CALL))
    with pytest.raises(InvalidRequestError):
        await anext(platform.admin.verify(pb.VerifyRequest(stream="nonsense"), CALL))


async def test_each_broken_chain_is_named_with_its_first_bad_record(platform: Platform) -> None:
    for name in ("ann", "bob", "cid", "dan"):
        await platform.deposit(name, *range(1, 6))
    good = (await platform.backend.events.read("account/ann", after=2, limit=1))[0].encoded
    changes: dict[tuple[str, int], bytes | None] = {
        ("account/ann", 3): good.replace(b"ann", b"eve"),
        ("account/bob", 2): None,
        ("account/dan", 5): None,
    }
    verification = Verification(
        Tampered(platform.backend.events, changes),  # type: ignore[arg-type] # a port by shape
        platform.backend.log,
        now_us=lambda: 0,
    )
    messages = [message async for message in verification.run("")]
    broken = [(one.stream, one.stream_version) for one in messages[-1].breaks]
    assert broken == [("account/ann", 3), ("account/bob", 2), ("account/dan", 5)]
    assert "was changed" in messages[-1].breaks[0].problem
    assert messages[-1].streams == 4


async def test_records_at_the_end_and_whole_streams_that_are_gone_are_missed(
    tmp_path: Path,
) -> None:
    backend = await open_sqlite(tmp_path / "s.db")
    platform = Platform(backend)
    await platform.start()
    for name in ("ann", "bob", "cid"):
        await platform.deposit(name, 1, 2)
    await platform.deposit("ann", 3)
    await platform.stop()
    await backend.close()
    with closing(sqlite3.connect(tmp_path / "s.db")) as file, file:
        file.execute("DELETE FROM events WHERE stream = 'account/ann' AND stream_version = 3")
        file.execute("DELETE FROM events WHERE stream = 'account/bob'")
    backend = await open_sqlite(tmp_path / "s.db")
    verification = Verification(backend.events, backend.log, now_us=lambda: 0)
    last = [message async for message in verification.run("")][-1]
    found = [(one.stream, one.stream_version) for one in last.breaks]
    assert found == [("account/ann", 3), ("account/bob", 1)]
    await backend.close()


@NUMBERED
async def test_an_export_holds_every_record_as_stored_and_then_every_command(
    platform: Platform,
) -> None:
    await platform.deposit("ann", 1, 2)
    await platform.deposit("bob", 3)
    await platform.projected()
    messages = await exported(platform, pb.ExportRequest())
    records = [record for message in messages for record in message.records]
    entries = await platform.backend.log.read(0)
    assert records == [entry.encoded for entry in entries]
    assert [n for message in messages for n in message.sequences] == [1, 2, 3]
    commands = [command for message in messages for command in message.commands]
    assert [(one.stream, one.last_version, one.event_count) for one in commands] == [
        ("account/ann", 2, 2),
        ("account/bob", 1, 1),
    ]
    assert messages[-1] == pb.ExportResponse()


@NUMBERED
async def test_an_export_goes_on_after_an_earlier_one(platform: Platform) -> None:
    await platform.deposit("ann", 1, 2)
    await platform.projected()
    first = await exported(platform, pb.ExportRequest())
    number = max(command.number for message in first for command in message.commands)
    await platform.deposit("ann", 3)
    await platform.projected()
    request = pb.ExportRequest(
        after=[PartitionSequence(partition=0, sequence=2)], after_command_number=number
    )
    second = await exported(platform, request)
    assert [n for message in second for n in message.sequences] == [3]
    assert [one.last_version for message in second for one in message.commands] == [3]


@NUMBERED
async def test_commands_whose_records_lie_beyond_the_end_are_left_to_the_next_export(
    platform: Platform,
) -> None:
    await platform.deposit("ann", 1)
    await platform.projected()
    export = platform.admin.export(pb.ExportRequest(), CALL)
    first = await anext(export)
    await platform.deposit("ann", 2)
    await platform.projected()
    rest = [message async for message in export]
    assert list(first.sequences) == [1]
    assert [one.last_version for message in rest for one in message.commands] == [1]


@NUMBERED
async def test_large_exports_come_in_bounded_messages(platform: Platform) -> None:
    for name in "abc":
        opened = account.AccountOpened(account_id=name, owner="x" * 300_000)
        await platform.append(f"account/{name}", *[opened] * 4)
    await platform.projected()
    messages = await exported(platform, pb.ExportRequest())
    assert max(message.ByteSize() for message in messages) < 2 << 20
    assert [message.remaining for message in messages if message.records] == [9, 6, 3, 0]
    assert sum(len(message.records) for message in messages) == 12


async def test_a_place_that_is_not_in_this_log_is_refused(platform: Platform) -> None:
    beyond = pb.ExportRequest(after=[PartitionSequence(partition=0, sequence=5)])
    with pytest.raises(CursorExpiredError, match="ends at 0"):
        await exported(platform, beyond)
    elsewhere = pb.ExportRequest(after=[PartitionSequence(partition=9, sequence=0)])
    with pytest.raises(InvalidRequestError, match="partitions 0 to 0"):
        await exported(platform, elsewhere)
    twice = pb.ExportRequest(after=[PartitionSequence()] * 2)
    with pytest.raises(InvalidRequestError, match="named twice"):
        await exported(platform, twice)


def test_every_method_of_the_contract_is_answered(platform: Platform) -> None:
    service = pb.DESCRIPTOR.services_by_name["AdminService"]
    auditor = Auditor(platform.backend, now_us=lambda: NOW_US)
    hosts = (*platform.admin.methods(), *auditor.methods())
    methods = {method.name: method for method in hosts}
    assert len(methods) == len(hosts)
    assert sorted(methods) == sorted(method.name for method in service.methods)
    for method in service.methods:
        hosted = methods[method.name]
        assert hosted.request.DESCRIPTOR.full_name == method.input_type.full_name
        assert (hosted.server_stream is not None) == method.server_streaming
