"""Backup of a platform under load, and its restore into an empty store, end to end."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from bank.v1 import account_pb2 as bank
from devstack.backup.load import check
from devstack.backup.manifest import NAME, read_manifest
from devstack.backup.restore import restore_backup
from devstack.backup.save import OtherStoreError, Saved, save
from devstack.backup.segment import DamagedBackupError
from devstack.embedded import Embedded
from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS
from eventspine.client.client import Client
from eventspine.client.errors import CallError
from eventspine.storage.errors import NotEmptyError, OwnedError, StoreFormatError
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.v1 import admin_pb2, command_pb2, query_pb2, subscription_pb2
from eventspine.v1.admin_pb2_grpc import AdminServiceStub
from tests.journey.command_line import CommandLine

DOMAINS = [BANK, FLIGHTS]
OWNERS = ("alice", "bob", "carol")


def opening(owner: str) -> bank.OpenAccountRequest:
    header = command_pb2.CommandHeader(command_id=f"open-{owner}")
    return bank.OpenAccountRequest(header=header, account_id=owner, owner=owner.title())


def deposit(owner: str, number: int) -> bank.DepositRequest:
    header = command_pb2.CommandHeader(command_id=f"deposit-{owner}-{number}")
    return bank.DepositRequest(header=header, account_id=owner, amount_cents=number)


@contextmanager
def admin(platform: Embedded) -> Iterator[AdminServiceStub]:
    with grpc.insecure_channel(platform.address) as channel:
        yield AdminServiceStub(channel)


async def backed_up(platform: Embedded, folder: Path, **options: Any) -> Saved:
    """Backs a platform up from another thread, while its loop goes on working."""

    def work() -> Saved:
        with admin(platform) as stub:
            return save(stub, folder, **options)

    return await asyncio.to_thread(work)


async def exported(platform: Embedded) -> tuple[list[bytes], list[bytes]]:
    """Everything that a platform stores: its records as they were stored, and its commands."""

    def work() -> tuple[list[bytes], list[bytes]]:
        records: list[bytes] = []
        commands: list[bytes] = []
        with admin(platform) as stub:
            for batch in stub.Export(admin_pb2.ExportRequest()):
                records += batch.records
                commands += [command.SerializeToString() for command in batch.commands]
        return records, commands

    return await asyncio.to_thread(work)


async def all_rows(client: Client, token: str) -> dict[str, list[bytes]]:
    """All rows of all views of the bank, as fresh as the token."""
    header = query_pb2.QueryHeader(
        token=token, stale_policy=query_pb2.STALE_POLICY_FAIL, max_wait={"seconds": 10}
    )
    found: dict[str, list[bytes]] = {}
    for view in ("AccountBalance", "StatementLine", "BankTotals"):
        name = f"bank.v1.{view}"
        request = query_pb2.ListRowsRequest(header=header, view=name)
        found[name] = [row.value async for batch in client.read(request) for row in batch.rows]
    return found


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Embedded]:
    """A platform on a file with three accounts."""
    async with Embedded(DOMAINS, db=tmp_path / "source.db") as platform:
        async with Client.connect(platform.address) as client:
            for owner in OWNERS:
                await client.execute(opening(owner))
                for number in range(1, 6):
                    await client.execute(deposit(owner, number))
        yield platform


async def test_a_restored_platform_is_the_same_to_everybody_who_asks(
    source: Embedded, tmp_path: Path
) -> None:
    async with Client.connect(source.address) as client:
        last = await client.execute(deposit("alice", 6))
        token = last.result.token
        rows = await all_rows(client, token)
        stored = await exported(source)
    await backed_up(source, tmp_path / "backup")
    restored = await restore_backup(tmp_path / "backup", tmp_path / "new.db", DOMAINS)
    assert restored == (len(stored[0]), 3, len(stored[1]), 7)
    async with Embedded(DOMAINS, db=tmp_path / "new.db") as copy:
        assert await exported(copy) == stored
        async with Client.connect(copy.address) as client:
            assert await all_rows(client, token) == rows
            again = await client.execute(deposit("alice", 6))
            assert again.result.replayed
            assert (again.result.stream, again.result.last_version) == ("account/alice", 7)
            with pytest.raises(CallError) as refused:
                other = deposit("alice", 6)
                other.amount_cents = 7
                await client.execute(other)
            assert refused.value.reason == "ERROR_REASON_COMMAND_ID_REUSED"
            new = await client.execute(deposit("alice", 8))
            assert (new.result.replayed, new.result.last_version) == (False, 8)
        verified = await asyncio.to_thread(_verified, copy)
        assert (verified.streams, list(verified.breaks)) == (3, [])


def _verified(platform: Embedded) -> admin_pb2.VerifyResponse:
    with admin(platform) as stub:
        return list(stub.Verify(admin_pb2.VerifyRequest()))[-1]


async def test_cursors_and_tokens_go_on_working_up_to_what_was_restored(
    source: Embedded, tmp_path: Path
) -> None:
    async with Client.connect(source.address) as client:
        half, whole = await cursors_at(client, 9, 18)
        await backed_up(source, tmp_path / "backup")
        lost = await client.execute(deposit("bob", 99))
        (beyond,) = await cursors_at(client, 19)
    await restore_backup(tmp_path / "backup", tmp_path / "new.db", DOMAINS)
    async with (
        Embedded(DOMAINS, db=tmp_path / "new.db") as copy,
        Client.connect(copy.address) as client,
    ):
        new = await client.execute(deposit("carol", 77))
        assert len(await events_until(client, half, "carol", new.result.last_version)) == 10
        assert len(await events_until(client, whole, "carol", new.result.last_version)) == 1
        with pytest.raises(CallError) as refused:
            await events_until(client, beyond, "carol", new.result.last_version)
        assert refused.value.reason == "ERROR_REASON_CURSOR_EXPIRED"
        with pytest.raises(CallError) as refused:
            await all_rows(client, lost.result.token)
        assert refused.value.reason == "ERROR_REASON_CURSOR_EXPIRED"


async def cursors_at(client: Client, *places: int) -> list[str]:
    """The cursors after so many events of all, one event a batch."""
    request = subscription_pb2.SubscribeRequest(beginning={}, batch_records_max=1)
    found, count = [], 0
    async with asyncio.timeout(10), aclosing(client.subscribe(request).batches()) as batches:
        async for batch in batches:
            count += len(batch.records)
            if count in places:
                found.append(batch.cursor)
                if len(found) == len(places):
                    return found
    raise AssertionError(f"the subscription ended after {count} events")


async def events_until(client: Client, cursor: str, owner: str, version: int) -> list[str]:
    """The events after a cursor up to a version of an account."""
    request = subscription_pb2.SubscribeRequest(cursor=cursor)
    found: list[str] = []
    async with asyncio.timeout(10), aclosing(aiter(client.subscribe(request))) as records:
        async for record in records:
            found.append(record.event_id)
            if (record.stream, record.stream_version) == (f"account/{owner}", version):
                return found
    raise AssertionError("the subscription ended")


async def test_a_backup_under_load_is_whole_at_every_moment(
    source: Embedded, tmp_path: Path
) -> None:
    done = asyncio.Event()
    answered: list[str] = []

    async def load(owner: str) -> None:
        async with Client.connect(source.address) as client:
            number = 100
            while not done.is_set():
                result = (await client.execute(deposit(owner, number))).result
                answered.append(f"{result.stream}@{result.last_version}")
                number += 1

    workers = [asyncio.create_task(load(owner)) for owner in OWNERS]
    folder, held = tmp_path / "backup", 0
    for _ in range(4):
        before = len(answered)
        saved = await backed_up(source, folder)
        checked = await asyncio.to_thread(check, folder)
        assert checked.manifest == saved.manifest
        assert sum(saved.manifest.ends) >= max(held, before)
        held = sum(saved.manifest.ends)
        goal = len(answered) + 30
        async with asyncio.timeout(10):
            while len(answered) < goal:  # noqa: ASYNC110 # answers come from several tasks
                await asyncio.sleep(0.01)
    done.set()
    await asyncio.gather(*workers)
    await backed_up(source, folder)
    await restore_backup(folder, tmp_path / "new.db", DOMAINS)
    async with Embedded(DOMAINS, db=tmp_path / "new.db") as copy:
        assert await exported(copy) == await exported(source)


async def test_an_incremental_backup_holds_only_what_moved(
    source: Embedded, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    first = await backed_up(source, folder)
    assert (first.records, first.commands, len(first.manifest.segments)) == (18, 18, 1)
    nothing = await backed_up(source, folder)
    assert (nothing.records, nothing.commands, nothing.size) == (0, 0, 0)
    assert nothing.manifest.segments == first.manifest.segments
    async with Client.connect(source.address) as client:
        await client.execute(deposit("bob", 50))
    second = await backed_up(source, folder)
    assert (second.records, second.commands, len(second.manifest.segments)) == (1, 1, 2)
    assert second.size < first.size / 10
    (new,) = (path for path in folder.iterdir() if path.name.startswith("segment-000002"))
    assert new.stat().st_size == second.size
    assert check(folder).manifest == second.manifest


async def test_a_large_backup_is_cut_into_segments(source: Embedded, tmp_path: Path) -> None:
    saved = await backed_up(source, tmp_path / "backup", segment_bytes=1_000)
    assert len(saved.manifest.segments) > 3
    assert check(tmp_path / "backup").manifest == saved.manifest
    restored = await restore_backup(tmp_path / "backup", tmp_path / "new.db", DOMAINS)
    assert restored.records == 18


async def test_a_backup_of_a_platform_in_memory_is_restored_into_a_file(tmp_path: Path) -> None:
    async with Embedded(DOMAINS) as platform, Client.connect(platform.address) as client:
        await client.execute(opening("alice"))
        await client.execute(deposit("alice", 1))
        stored = await exported(platform)
        await backed_up(platform, tmp_path / "backup")
    await restore_backup(tmp_path / "backup", tmp_path / "new.db", DOMAINS)
    async with Embedded(DOMAINS, db=tmp_path / "new.db") as copy:
        assert await exported(copy) == stored


async def test_a_restored_platform_is_backed_up_and_restored_again(
    source: Embedded, tmp_path: Path
) -> None:
    async with Client.connect(source.address) as client:
        (half,) = await cursors_at(client, 9)
    for number in (1, 2):
        path = tmp_path / f"{number}.db"
        await backed_up(source, tmp_path / f"backup-{number}")
        await restore_backup(tmp_path / f"backup-{number}", path, DOMAINS)
        await source.stop()
        source = Embedded(DOMAINS, db=path)
        await source.__aenter__()
    async with Client.connect(source.address) as client:
        new = await client.execute(deposit("carol", 77))
        assert len(await events_until(client, half, "carol", new.result.last_version)) == 10
    await source.stop()


async def test_a_folder_of_another_store_is_refused_and_left_as_it_is(
    source: Embedded, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    await backed_up(source, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    async with Embedded(DOMAINS) as other:
        with pytest.raises(OtherStoreError, match=r"holds a backup of store .*; choose another"):
            await backed_up(other, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


async def test_a_second_backup_into_a_folder_at_the_same_time_is_refused_and_harms_nothing(
    source: Embedded, tmp_path: Path
) -> None:
    folder, refused = tmp_path / "backup", []

    def meanwhile(done: int, remaining: int) -> None:
        with admin(source) as stub, pytest.raises(OwnedError, match="under way; wait for it"):
            save(stub, folder)
        refused.append(done)

    saved = await backed_up(source, folder, advance=meanwhile)
    assert refused
    assert check(folder).manifest == saved.manifest
    assert (await backed_up(source, folder)).records == 0


async def test_a_backup_that_breaks_off_leaves_the_earlier_one_as_it_was(
    source: Embedded, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    await backed_up(source, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    async with Client.connect(source.address) as client:
        await client.execute(deposit("bob", 50))

    def fails(done: int, remaining: int) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        await backed_up(source, folder, advance=fails)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # What a process leaves that was killed: a segment without its manifest.
    (folder / "segment-000002.bin").write_bytes(b"half")
    (folder / (NAME + ".new")).write_bytes(b"half")
    assert check(folder).manifest.ends == (18,)
    saved = await backed_up(source, folder)
    assert check(folder).manifest == saved.manifest
    assert saved.manifest.ends == (19,)


async def test_nothing_is_added_to_a_backup_that_could_not_be_restored(
    source: Embedded, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    saved = await backed_up(source, folder)
    (only,) = saved.manifest.segments
    sound = (folder / only.name).read_bytes()
    (folder / only.name).write_bytes(sound[:-1])
    with pytest.raises(DamagedBackupError, match="missing or cut off; back up into a new folder"):
        await backed_up(source, folder)
    assert read_manifest(folder) == saved.manifest


async def test_a_damaged_backup_touches_no_file(source: Embedded, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    saved = await backed_up(source, folder)
    path = folder / saved.manifest.segments[0].name
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(DamagedBackupError, match=r"segment-000001\.bin is damaged in record 36"):
        await restore_backup(folder, tmp_path / "new.db", DOMAINS)
    assert not left(tmp_path)


async def test_a_store_with_events_is_never_restored_into(source: Embedded, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    await backed_up(source, folder)
    db = tmp_path / "used.db"
    async with Embedded(DOMAINS, db=db) as used, Client.connect(used.address) as client:
        await client.execute(opening("dora"))
        stored = await exported(used)
    with pytest.raises(NotEmptyError, match="restore into a new file"):
        await restore_backup(folder, db, DOMAINS)
    async with Embedded(DOMAINS, db=db) as used:
        assert await exported(used) == stored


async def test_a_restore_that_is_stopped_leaves_no_store_that_opens(
    source: Embedded, tmp_path: Path
) -> None:
    folder, db = tmp_path / "backup", tmp_path / "new.db"
    await backed_up(source, folder)
    await SqliteDatabase.open(db).close()
    restoring = asyncio.create_task(restore_backup(folder, db, DOMAINS))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while not marked(db):  # noqa: ASYNC110 # the mark is in a file
            await asyncio.sleep(0)
    restoring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await restoring
    with pytest.raises(StoreFormatError):
        SqliteDatabase.open(db)


async def test_a_file_that_a_stopped_restore_made_is_deleted(
    source: Embedded, tmp_path: Path
) -> None:
    folder, db = tmp_path / "backup", tmp_path / "new.db"
    await backed_up(source, folder)
    restoring = asyncio.create_task(restore_backup(folder, db, DOMAINS))
    async with asyncio.timeout(10):
        while not db.exists():  # noqa: ASYNC110 # the file appears in another thread
            await asyncio.sleep(0)
    restoring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await restoring
    assert not left(tmp_path)
    assert (await restore_backup(folder, db, DOMAINS)).records == 18


def left(folder: Path) -> list[Path]:
    """What is in a folder of a new store."""
    return list(folder.glob("new.db*"))


def marked(db: Path) -> bool:
    """Whether a store file is marked as being restored."""
    connection = sqlite3.connect(db)
    try:
        ((found,),) = connection.execute("SELECT restoring FROM store")
    finally:
        connection.close()
    return bool(found)


async def test_the_command_line_backs_up_and_restores(
    source: Embedded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = CommandLine(source.address, capsys)
    folder, db = tmp_path / "backup", tmp_path / "new.db"
    taken = await asyncio.to_thread(cli.at, "backup", folder)
    assert taken.out.startswith("18 events and 18 commands added (")
    (told,) = (await asyncio.to_thread(cli.at, "backup", folder, "--json")).lines
    assert (told["records"], told["ends"], told["segments"]) == (0, [18], 1)
    (restored,) = (await asyncio.to_thread(cli, "restore", folder, "--db", db, "--json")).lines
    assert (restored["records"], restored["streams"], restored["views"]) == (18, 3, 7)
    again = await asyncio.to_thread(cli, "restore", folder, "--db", db)
    assert (again.code, again.out) == (1, "")
    assert "the store has 18 events" in again.err
    nothing = await asyncio.to_thread(cli, "restore", tmp_path / "no", "--db", tmp_path / "x.db")
    assert nothing.code == 1
    assert "holds no finished backup" in nothing.err
    nowhere = await asyncio.to_thread(cli.at, "backup", source_file(tmp_path) / "inside")
    assert nowhere.code == 4
    assert "cannot write the backup" in nowhere.err


def source_file(tmp_path: Path) -> Path:
    return tmp_path / "source.db"
