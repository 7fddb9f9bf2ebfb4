"""Making and checking a keyspace on a real server: at once, without the right to, and wrongly."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from eventspine.storage.cassandra.failures import StatementRefusedError
from eventspine.storage.cassandra.migrations import MIGRATIONS, record, script
from eventspine.storage.cassandra.schema import define_alone, prepare_schema
from eventspine.storage.cassandra.session import CassandraSession, Verdict
from eventspine.storage.cassandra.statements import Part
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.errors import OutcomeUnknownError, StackSetupError
from eventspine.storage.stack import StackSettings
from tests.storage.cassandra_keyspace import drop, settings_for

LOCK = "SELECT owner FROM {} WHERE number = 0"


@pytest.fixture
async def settings(cassandra: str) -> AsyncIterator[StackSettings]:
    """Settings of a keyspace that does not exist yet."""
    settings = settings_for(cassandra)
    yield settings
    await drop(settings)


@pytest.fixture
async def session(settings: StackSettings) -> AsyncIterator[CassandraSession]:
    session = await CassandraSession.open(settings)
    yield session
    await session.close()


async def opened(settings: StackSettings) -> CassandraStore:
    """Opens a store, and closes it again."""
    store = await CassandraStore.open(settings)
    await store.close()
    return store


async def test_processes_that_start_at_once_make_one_store(
    settings: StackSettings, session: CassandraSession
) -> None:
    stores = await asyncio.gather(*[opened(settings) for _ in range(4)])
    assert len({store.identity.store_id for store in stores}) == 1
    rows = await session.read(f"SELECT number, checksum, owner FROM {session.table('migrations')}")
    assert sorted(rows) == [(m.number, m.checksum, None) for m in MIGRATIONS]
    assert (stores[0].partitions, stores[0].events_per_bucket) == (16, 100_000)
    assert "QUORUM of its replicas (1 in" in stores[0].identity.durability
    again = await opened(replace(settings, create_schema=False))
    assert again.identity == stores[0].identity


class Forgetful(CassandraSession):
    """A session that makes each change, and does not hear every second time that it was made."""

    forgotten = 0

    def heard(self) -> None:
        self.forgotten += 1
        if self.forgotten % 2:
            raise OutcomeUnknownError("the answer was lost")

    async def decide(self, *parts: Part) -> Verdict:
        verdict = await super().decide(*parts)
        self.heard()
        return verdict

    async def write(self, *parts: Part) -> None:
        await super().write(*parts)
        self.heard()

    async def define(self, cql: str) -> bool:
        agreed = await super().define(cql)
        self.heard()
        return agreed


async def test_changes_of_which_nobody_heard_are_made_again(settings: StackSettings) -> None:
    forgetful = await Forgetful.open(settings)
    await prepare_schema(forgetful, settings)
    assert forgetful.forgotten > 20
    await forgetful.close()
    await opened(replace(settings, create_schema=False))


class Behind(CassandraSession):
    """A session whose node does not know at first what the others have made."""

    refused = 0

    async def decide(self, *parts: Part) -> Verdict:
        self.refuse(before=6)
        return await super().decide(*parts)

    async def define(self, cql: str) -> bool:
        if "CREATE TABLE" in cql:
            self.refuse(before=3)
        return await super().define(cql)

    def refuse(self, *, before: int) -> None:
        if self.refused < before:
            self.refused += 1
            raise StatementRefusedError("it does not exist")


async def test_a_node_that_is_behind_with_the_schema_is_waited_for(settings: StackSettings) -> None:
    behind = await Behind.open(settings)
    await prepare_schema(behind, settings)
    assert behind.refused == 6
    await behind.close()
    await opened(replace(settings, create_schema=False))


class Reluctant(CassandraSession):
    """A session whose first giving back of the lock is not carried out."""

    lost = 0

    async def decide(self, *parts: Part) -> Verdict:
        if parts[0][0].startswith("DELETE") and not self.lost:
            self.lost += 1
            raise OutcomeUnknownError("a timeout")
        return await super().decide(*parts)


async def test_the_lock_is_given_back_although_a_try_was_lost(
    settings: StackSettings, session: CassandraSession
) -> None:
    reluctant = await Reluctant.open(settings)
    await prepare_schema(reluctant, settings)
    await reluctant.close()
    assert reluctant.lost == 1
    assert not await session.read(LOCK.format(session.table("migrations")))


async def test_nobody_waits_for_a_lock_that_nothing_is_left_to_do_under(
    settings: StackSettings, session: CassandraSession
) -> None:
    await opened(settings)
    migrations, last = session.table("migrations"), MIGRATIONS[-1]
    await session.write((f"INSERT INTO {migrations} (number, owner) VALUES (0, 'another')", ()))
    await session.write((f"DELETE FROM {migrations} WHERE number = ?", (last.number,)))
    waiting = asyncio.create_task(opened(settings))
    await asyncio.sleep(1)
    assert not waiting.done()
    await session.write((record(last, settings.keyspace), ()))
    async with asyncio.timeout(30):
        await waiting
    assert await session.read(LOCK.format(migrations)) == [("another",)]


async def test_what_a_node_that_is_behind_misses_is_not_changed_without_the_lock(
    settings: StackSettings, session: CassandraSession
) -> None:
    await opened(settings)
    table = f"{session.table('late')} (id int PRIMARY KEY)"
    answers = [[], [f"CREATE TABLE IF NOT EXISTS {table}"]]

    async def lacking() -> list[str]:
        return answers.pop(0) if answers else []

    await define_alone(session, lacking)
    assert not await session.read(LOCK.format(session.table("migrations")))


async def test_what_operators_are_given_is_all_that_is_needed(
    settings: StackSettings, session: CassandraSession
) -> None:
    checking = replace(settings, create_schema=False, partitions=3)
    with pytest.raises(StackSetupError, match="does not exist; apply the output of"):
        await opened(checking)
    (datacenter,) = session.nodes
    statements = script(settings.keyspace, {datacenter: 1}, []).split(";\n\n")
    keyspace, *tables, nothing = statements
    assert nothing == ""
    await session.define(keyspace)
    with pytest.raises(StackSetupError, match="lacks store, events"):
        await opened(checking)
    for statement in tables:
        assert await session.define(statement)
    assert (await opened(checking)).partitions == 3


async def test_a_process_that_died_while_it_changed_the_schema_is_made_good(
    settings: StackSettings, session: CassandraSession
) -> None:
    await opened(settings)
    migrations = session.table("migrations")
    last = MIGRATIONS[-1].number
    await session.write((f"DELETE FROM {migrations} WHERE number = ?", (last,)))
    await opened(settings)
    assert await session.read(f"SELECT name FROM {migrations} WHERE number = ?", (last,))


async def test_a_keyspace_of_a_newer_or_another_program_is_refused(
    settings: StackSettings, session: CassandraSession
) -> None:
    await opened(settings)
    insert = f"INSERT INTO {session.table('migrations')} (number, name, checksum) VALUES (?, ?, ?)"
    newer = len(MIGRATIONS) + 1
    await session.write((insert, (newer, "newer", "x")))
    with pytest.raises(StackSetupError, match="use a newer version of the program"):
        await opened(settings)
    await session.write(
        (f"DELETE FROM {session.table('migrations')} WHERE number = ?", (newer,)),
    )
    await session.write((insert, (2, "events", "another")))
    with pytest.raises(StackSetupError, match=r"migration 2 \(events\)"):
        await opened(settings)


async def test_a_table_that_is_gone_is_missed(
    settings: StackSettings, session: CassandraSession
) -> None:
    await opened(settings)
    await session.define(f"DROP TABLE {session.table('snapshots')}")
    with pytest.raises(StackSetupError, match="lacks the tables snapshots"):
        await opened(settings)


async def test_what_was_fixed_when_the_keyspace_was_made_cannot_be_set_otherwise(
    settings: StackSettings,
) -> None:
    made = replace(settings, partitions=4, events_per_bucket=50)
    await opened(made)
    found = await opened(settings)
    assert (found.partitions, found.events_per_bucket) == (4, 50)
    for wrong in (
        {"partitions": 5},
        {"events_per_bucket": 51},
        {"consistency": "LOCAL_QUORUM"},
    ):
        (name,) = wrong
        with pytest.raises(StackSetupError, match=f"was made with {name}"):
            await opened(replace(made, **wrong))


async def test_a_replication_that_cannot_work_or_was_not_asked_for_is_refused(
    settings: StackSettings, session: CassandraSession
) -> None:
    (datacenter,) = session.nodes
    for replication, text in (
        ({datacenter: 3}, "no quorum is possible"),
        ({"nowhere": 1}, "which does not exist"),
    ):
        with pytest.raises(StackSetupError, match=text):
            await opened(replace(settings, replication=replication))
    await opened(replace(settings, replication={datacenter: 1}))
    with pytest.raises(StackSetupError, match="the settings ask for"):
        await opened(replace(settings, replication={datacenter: 2}))


async def test_a_datacenter_that_does_not_exist_is_refused(settings: StackSettings) -> None:
    with pytest.raises(StackSetupError, match=r"no datacenter 'nowhere'.*it has: "):
        await opened(replace(settings, local_datacenter="nowhere"))


async def test_a_keyspace_is_named_so_that_it_can_be_quoted(settings: StackSettings) -> None:
    for name in ("", "1st", 'a"b', "a" * 49, "é"):
        with pytest.raises(StackSetupError, match="is not a name"):
            await opened(replace(settings, keyspace=name))
