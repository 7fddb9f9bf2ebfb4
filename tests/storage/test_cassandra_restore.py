"""Loading a backup into a keyspace: the same store again, or a tenant whose store does not open."""

from collections.abc import Awaitable, Callable, Iterator

import pytest

from eventspine.storage.cassandra.events import CassandraEventStore
from eventspine.storage.cassandra.log import CassandraEventLog
from eventspine.storage.cassandra.positions import CassandraPositions
from eventspine.storage.cassandra.restore import CassandraLoader, loading
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.errors import (
    ChainBrokenError,
    NotEmptyError,
    RestoreOrderError,
    StackSetupError,
)
from eventspine.storage.records import (
    GENESIS,
    Append,
    Conflict,
    LogEntry,
    NumberedCommand,
    Replayed,
    Stored,
)
from eventspine.storage.stack import StackSettings
from tests.storage.appends import append_of, entries_of, records_of
from tests.storage.cassandra_keyspace import as_new_tenant, new_keyspace

APPENDS = [append_of("a/1", 0, "c1", events=3), append_of("b/1", 0, "c2", "c3", events=2)]
ENTRIES = [
    *entries_of(APPENDS[:1]),
    *entries_of(APPENDS[1:], partition=1),
]
"""Three entries of the log partition 0, and four of partition 1."""


def commands_of(appends: list[Append]) -> list[NumberedCommand]:
    rows = [(append.stream, row) for append in appends for row in append.commands]
    return [NumberedCommand(number, *row) for number, row in enumerate(rows, 1)]


@pytest.fixture(scope="module")
def keyspace(cassandra: str) -> Iterator[StackSettings]:
    with new_keyspace(cassandra, partitions=2) as settings:
        yield settings


@pytest.fixture
def settings(keyspace: StackSettings) -> StackSettings:
    """Settings for a tenant without events, in a keyspace where others may have theirs."""
    return as_new_tenant(keyspace)


async def restore(settings: StackSettings, ancestors: dict[str, tuple[int, ...]]) -> None:
    async with loading(settings) as loader:
        await load(loader)
        await loader.finish(ancestors)


async def load(loader: CassandraLoader) -> None:
    await loader.records(ENTRIES[:2])
    await loader.records(ENTRIES[2:])
    await loader.commands(commands_of(APPENDS))


def ignored(count: int) -> None:
    """Takes progress that nobody looks at."""


async def log_of(store: CassandraStore) -> list[LogEntry]:
    positions = CassandraPositions(store)
    log = CassandraEventLog(store, positions)
    entries = [entry for partition in (0, 1) for entry in await log.read(partition)]
    await positions.close()
    return entries


async def test_a_restored_store_has_the_same_log_and_knows_its_commands(
    settings: StackSettings,
) -> None:
    ancestors = {"old": (3, 4), "older": (2, 0)}
    async with loading(settings) as loader:
        await load(loader)
        counts: list[int] = []
        await loader.verify(counts.append)
        assert loader.streams == sum(counts) == 2
        await loader.finish(ancestors)
    store = await CassandraStore.open(settings)
    events = CassandraEventStore(store)
    assert store.identity.ancestors == ancestors
    assert await log_of(store) == ENTRIES
    found = [row for _, _, row in await events.commands()]
    assert sorted(found) == sorted(row for append in APPENDS for row in append.commands)
    assert await events.append([APPENDS[0]]) == [Replayed(APPENDS[0].commands[0])]
    (stale,) = await events.append([append_of("b/1", 2, "c4")])
    assert isinstance(stale, Conflict)
    next_one = append_of("b/1", 4, "c5", chain=APPENDS[1].chain)
    assert [type(one) for one in await events.append([next_one])] == [Stored]
    await store.close()


async def test_a_tenant_with_events_is_refused_and_stays_as_it_was(settings: StackSettings) -> None:
    await restore(settings, {"old": (3, 4)})
    before = await CassandraStore.open(settings)
    with pytest.raises(NotEmptyError, match=f"tenant {settings.tenant} has events in keyspace"):
        async with loading(settings):
            pytest.fail("it was begun")
    assert await before.is_current()
    assert await log_of(before) == ENTRIES
    await before.close()


async def test_a_restore_beside_other_tenants_is_nothing_to_them(keyspace: StackSettings) -> None:
    first, second = as_new_tenant(keyspace), as_new_tenant(keyspace)
    untouched = await CassandraStore.open(as_new_tenant(keyspace))
    before = await CassandraStore.open(second)
    # Cursors and tokens name the store: those of one tenant are refused to the other.
    assert before.identity.store_id != untouched.identity.store_id
    await before.close()
    await restore(first, {"old": (3, 4)})
    neighbour = await CassandraStore.open(first)
    async with loading(second) as loader:
        await load(loader)
        assert await neighbour.is_current()
        # It opens, too, while the other one does not.
        await (await CassandraStore.open(first)).close()
        with pytest.raises(
            StackSetupError, match=f"tenant {second.tenant} in keyspace .* is being"
        ):
            await CassandraStore.open(second)
        await loader.finish({"old": (1, 1)})
    assert await neighbour.is_current()
    assert await untouched.is_current()
    again = await CassandraStore.open(first)
    other = await CassandraStore.open(second)
    assert again.identity.store_id == neighbour.identity.store_id
    assert again.identity.ancestors == {"old": (3, 4)}
    assert other.identity.ancestors == {"old": (1, 1)}
    assert len({s.identity.store_id for s in (again, other, untouched)}) == 3
    for store in (untouched, neighbour, again, other):
        await store.close()


async def test_a_store_that_was_open_before_a_restore_is_not_the_current_one(
    settings: StackSettings,
) -> None:
    before = await CassandraStore.open(settings)
    async with loading(settings) as loader:
        assert not await before.is_current()
        await load(loader)
        await loader.finish({before.identity.store_id: (0, 0)})
    assert not await before.is_current()
    after = await CassandraStore.open(settings)
    assert after.identity.store_id != before.identity.store_id
    assert await after.is_current()
    await before.close()
    await after.close()


async def test_a_restore_that_was_cut_off_is_never_opened(settings: StackSettings) -> None:
    async with loading(settings):
        pass
    with pytest.raises(StackSetupError, match="is being restored; start again when that is done"):
        await CassandraStore.open(settings)
    async with loading(settings) as loader:
        await loader.records(ENTRIES[:2])
    with pytest.raises(StackSetupError, match="restore the same backup again where it was cut off"):
        await CassandraStore.open(settings)


async def _cut_off_in_the_log(loader: CassandraLoader, settings: StackSettings) -> None:
    await loader.records(ENTRIES[:2])


async def _cut_off_before_the_log(loader: CassandraLoader, settings: StackSettings) -> None:
    await loader.records(ENTRIES[:3])
    await _append_behind(settings, APPENDS[1]._replace(commands=()))


async def _cut_off_in_a_stream(loader: CassandraLoader, settings: StackSettings) -> None:
    (first, *_), chain = records_of("a/1", 0, 1, tag="c1")
    assert first.encoded == ENTRIES[0].encoded
    await _append_behind(settings, Append("a/1", 0, (first,), (), chain))


async def _cut_off_in_the_commands(loader: CassandraLoader, settings: StackSettings) -> None:
    await loader.records(ENTRIES)
    await loader.commands(commands_of(APPENDS)[1:2])


async def _cut_off_at_the_end(loader: CassandraLoader, settings: StackSettings) -> None:
    await load(loader)


@pytest.mark.parametrize(
    "cut_off",
    [
        _cut_off_in_the_log,
        _cut_off_before_the_log,
        _cut_off_in_a_stream,
        _cut_off_in_the_commands,
        _cut_off_at_the_end,
    ],
)
async def test_a_restore_that_was_cut_off_goes_on_where_it_was(
    settings: StackSettings,
    cut_off: Callable[[CassandraLoader, StackSettings], Awaitable[None]],
) -> None:
    async with loading(settings) as loader:
        await cut_off(loader, settings)
    async with loading(settings) as loader:
        await load(loader)
        await loader.verify(ignored)
        assert loader.streams == 2
        await loader.finish({"old": (3, 4)})
    store = await CassandraStore.open(settings)
    events = CassandraEventStore(store)
    assert await log_of(store) == ENTRIES
    found = [row for _, _, row in await events.commands()]
    assert sorted(found) == sorted(row for append in APPENDS for row in append.commands)
    next_one = append_of("a/1", 3, "c5", chain=APPENDS[0].chain)
    assert [type(one) for one in await events.append([next_one])] == [Stored]
    positions = CassandraPositions(store)
    assert await CassandraEventLog(store, positions).versions(["a/1", "b/1"]) == [3, 4]
    await positions.close()
    await store.close()


async def test_what_was_loaded_behind_a_backup_is_told_where_one_was_cut_off(
    settings: StackSettings,
) -> None:
    async with loading(settings) as loader:
        assert await loader.behind((0, 0)) == []
        await load(loader)
        assert await loader.behind((0, 0)) == []
    async with loading(settings) as loader:
        assert await loader.behind((2, 1)) == [*ENTRIES[2:3], *ENTRIES[4:]]
        assert await loader.behind((3, 4)) == []


async def test_where_another_backup_was_cut_off_it_is_refused(settings: StackSettings) -> None:
    async with loading(settings) as loader:
        await load(loader)
    (other, *_), _ = records_of("a/1", 0, 1, tag="other")
    async with loading(settings) as loader:
        with pytest.raises(RestoreOrderError, match="stream a/1 differs behind 0: a restore that"):
            await loader.records([ENTRIES[0]._replace(encoded=other.encoded)])
        with pytest.raises(RestoreOrderError, match="partition 1 of the log differs behind 0"):
            await loader.records([ENTRIES[0]._replace(partition=1)])
        await loader.records(ENTRIES[:3])
        changed = APPENDS[0].commands[0]._replace(digest=bytes(32))
        with pytest.raises(RestoreOrderError, match="command c1 comes twice"):
            await loader.commands([NumberedCommand(1, "a/1", changed)])
        with pytest.raises(RestoreOrderError, match="1 streams were loaded, and 2 are there"):
            await loader.verify(ignored)


async def test_of_two_restores_at_once_one_ends(settings: StackSettings) -> None:
    async with loading(settings) as first, loading(settings) as second:
        await load(second)
        with pytest.raises(
            RestoreOrderError, match=r"cannot be loaded: it is at version . where 0"
        ):
            await first.records(ENTRIES)
        (one, *_), _ = records_of("c/1", 0, 1)
        with pytest.raises(RestoreOrderError, match="log partition 0 ends at 3, not at 0; another"):
            await first.records([ENTRIES[0]._replace(stream="c/1", encoded=one.encoded)])
        with pytest.raises(RestoreOrderError, match=r"another restore of tenant .* has begun"):
            await first.finish({})
        await second.finish({})
    store = await CassandraStore.open(settings)
    assert await log_of(store) == ENTRIES
    await store.close()


async def test_what_does_not_follow_is_refused(keyspace: StackSettings) -> None:
    async with loading(as_new_tenant(keyspace)) as loader:
        with pytest.raises(RestoreOrderError, match="partition 1 of the log has a gap after 0"):
            await loader.records([ENTRIES[0], ENTRIES[3]._replace(sequence=2)])
        with pytest.raises(RestoreOrderError, match="a/1 ends before command c1"):
            await loader.commands(commands_of(APPENDS))
    async with loading(as_new_tenant(keyspace)) as loader:
        await load(loader)
        other = APPENDS[0].commands[0]._replace(digest=bytes(32))
        with pytest.raises(RestoreOrderError, match="cannot be loaded: command c1 comes twice"):
            await loader.commands([NumberedCommand(1, "a/1", other)])


async def test_verification_finds_what_is_not_as_it_was_loaded(keyspace: StackSettings) -> None:
    broken, longer, more = (as_new_tenant(keyspace) for _ in range(3))
    async with loading(broken) as loader:
        # A record whose own hash is right and that does not follow the one before it.
        (alien,), _ = records_of("a/1", 2, 1, chain=GENESIS, tag="alien")
        await loader.records([*ENTRIES[:2], ENTRIES[2]._replace(encoded=alien.encoded)])
        with pytest.raises(ChainBrokenError):
            await loader.verify(ignored)
    async with loading(longer) as loader:
        await load(loader)
        await _append_behind(longer, append_of("a/1", 3, "c9", chain=APPENDS[0].chain))
        with pytest.raises(RestoreOrderError, match="a/1 ends at 4, and was loaded up to 3"):
            await loader.verify(ignored)
    async with loading(more) as loader:
        await load(loader)
        await _append_behind(more, append_of("c/1", 0, "c9"))
        with pytest.raises(RestoreOrderError, match="2 streams were loaded, and 3 are there"):
            await loader.verify(ignored)


async def _append_behind(settings: StackSettings, append: Append) -> None:
    """Stores events by a process that did not ask whether the store is being restored."""
    store = await CassandraStore.open(settings, restoring=True)
    assert [type(one) for one in await CassandraEventStore(store).append([append])] == [Stored]
    await store.close()
