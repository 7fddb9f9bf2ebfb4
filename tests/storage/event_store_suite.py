"""What every EventStore does."""

import asyncio

from eventspine.storage import codec
from eventspine.storage.ports import EventStore
from eventspine.storage.records import (
    GENESIS,
    UNKNOWN_DIGEST,
    CommandIdReused,
    Conflict,
    Head,
    NumberedCommand,
    Replayed,
    Stored,
    StreamHead,
)
from tests.storage.appends import append_of, stored

STREAM = "account/1"

NAMES = ["b/1", "a/\U0001f600", "a/10", "a/1", "a/é", "a/Z", "a/z", "a/\uffee", "a/2"]


class EventStoreSuite:
    """A backend's file gives the fixture `store`: a new, empty store."""

    async def test_a_stream_that_was_never_written_is_empty(self, store: EventStore) -> None:
        assert await store.read(STREAM) == []
        assert await store.read(STREAM, backwards=True) == []
        assert await store.head(STREAM) == Head(0, GENESIS)
        assert await store.heads() == []
        assert await store.command(STREAM, "c1") is None

    async def test_nothing_to_append_gives_no_outcome(self, store: EventStore) -> None:
        assert await store.append([]) == []

    async def test_a_command_whose_content_was_lost_is_known_by_its_id_alone(
        self, store: EventStore
    ) -> None:
        append = append_of(STREAM, 0, "c1")
        (row,) = append.commands
        row = row._replace(digest=UNKNOWN_DIGEST)
        await stored(store, [append._replace(commands=(row,))])
        again = append_of(STREAM, 0, "c1", content="whatever")
        assert await store.append([again]) == [Replayed(row)]

    async def test_versions_count_from_one_without_gaps(self, store: EventStore) -> None:
        first = append_of(STREAM, 0, "c1", events=2)
        second = append_of(STREAM, 2, "c2", events=3, chain=first.chain)
        await stored(store, [first])
        await stored(store, [second])
        records = await store.read(STREAM)
        assert [record.stream_version for record in records] == [1, 2, 3, 4, 5]
        assert tuple(records) == first.records + second.records
        assert await store.head(STREAM) == Head(5, second.chain)
        assert codec.verify(STREAM, records, GENESIS, 0) == second.chain

    async def test_a_second_writer_at_the_same_version_is_refused_and_changes_nothing(
        self, store: EventStore
    ) -> None:
        first = append_of(STREAM, 0, "c1")
        await stored(store, [first])
        assert await store.append([append_of(STREAM, 0, "c2", events=5)]) == [
            Conflict(Head(1, first.chain))
        ]
        assert tuple(await store.read(STREAM)) == first.records
        assert await store.command(STREAM, "c2") is None
        assert await store.command(STREAM, "c1") == first.commands[0]

    async def test_an_append_without_commands_has_the_same_verdicts(
        self, store: EventStore
    ) -> None:
        first = append_of(STREAM, 0, "c1")._replace(commands=())
        other = append_of(STREAM, 0, "c2")._replace(commands=())
        ahead = append_of(STREAM, 2, "c3")._replace(commands=())
        await stored(store, [first])
        assert await store.append([other]) == [Conflict(Head(1, first.chain))]
        assert await store.append([ahead]) == [Conflict(Head(1, first.chain))]
        assert await store.commands() == []

    async def test_an_append_beyond_the_end_is_refused(self, store: EventStore) -> None:
        assert await store.append([append_of(STREAM, 3, "c1")]) == [Conflict(Head(0, GENESIS))]
        await stored(store, [append_of(STREAM, 0, "c2")])
        refused = await store.append(
            [append_of(STREAM, 2, "c1"), append_of(STREAM, 2**63 + 1, "x")]
        )
        assert [type(outcome) for outcome in refused] == [Conflict, Conflict]

    async def test_a_known_command_answers_as_first_before_its_version_is_looked_at(
        self, store: EventStore
    ) -> None:
        first = append_of(STREAM, 0, "c1", events=2)
        await stored(store, [first])
        replayed = [Replayed(first.commands[0])]
        assert await store.append([first]) == replayed
        assert await store.append([append_of(STREAM, 2, "c1")]) == replayed
        assert await store.append([append_of(STREAM, 9, "c1")]) == replayed
        assert (await store.head(STREAM)).version == 2

    async def test_a_known_command_id_with_other_content_is_refused(
        self, store: EventStore
    ) -> None:
        first = append_of(STREAM, 0, "c1")
        await stored(store, [first])
        for expected in (0, 1, 5):
            again = append_of(STREAM, expected, "c1", content="other")
            assert await store.append([again]) == [CommandIdReused(first.commands[0])]
        assert (await store.head(STREAM)).version == 1

    async def test_the_same_command_id_on_another_stream_is_another_command(
        self, store: EventStore
    ) -> None:
        one, other = append_of(STREAM, 0, "c1"), append_of("account/2", 0, "c1", events=2)
        await stored(store, [one, other])
        assert await store.command(STREAM, "c1") == one.commands[0]
        assert await store.command("account/2", "c1") == other.commands[0]

    async def test_several_commands_are_stored_together_and_refused_by_the_first_known_one(
        self, store: EventStore
    ) -> None:
        first = append_of(STREAM, 0, "c1", "c2", events=2)
        await stored(store, [first])
        assert await store.command(STREAM, "c1") == first.commands[0]
        assert await store.command(STREAM, "c2") == first.commands[1]
        assert first.commands[1].last_version == 4
        assert await store.append([append_of(STREAM, 4, "c0", "c2", "c1")]) == [
            Replayed(first.commands[1])
        ]
        assert await store.command(STREAM, "c0") is None

    async def test_the_first_known_one_may_stand_in_the_file_and_the_next_in_the_same_call(
        self, store: EventStore
    ) -> None:
        old = append_of(STREAM, 0, "old")
        await stored(store, [old])
        new = append_of(STREAM, 1, "new")
        outcomes = await store.append([new, append_of(STREAM, 2, "old", "new")])
        assert outcomes[1] == Replayed(old.commands[0])

    async def test_a_command_without_events_is_remembered_and_moves_nothing(
        self, store: EventStore
    ) -> None:
        first = append_of(STREAM, 0, "c1")
        idle = append_of(STREAM, 1, "c2", events=0, chain=first.chain)
        before = append_of("account/2", 0, "c3", events=0)
        await stored(store, [first])
        assert await store.append([idle, before]) == [Stored(None), Stored(None)]
        assert await store.append([idle, before]) == [
            Replayed(idle.commands[0]),
            Replayed(before.commands[0]),
        ]
        assert await store.head(STREAM) == Head(1, first.chain)
        assert await store.head("account/2") == Head(0, GENESIS)
        assert [head.stream for head in await store.heads()] == [STREAM]
        assert await store.append([append_of(STREAM, 7, "c4", events=0)]) == [
            Conflict(Head(1, first.chain))
        ]

    async def test_each_append_of_a_call_has_its_own_verdict(self, store: EventStore) -> None:
        old = append_of(STREAM, 0, "old")
        await stored(store, [old])
        outcomes = await store.append(
            [
                append_of("account/2", 0, "a"),
                append_of(STREAM, 0, "late"),
                append_of(STREAM, 1, "old"),
                append_of(STREAM, 1, "old", content="other"),
                append_of(STREAM, 1, "b"),
            ]
        )
        assert [type(outcome) for outcome in outcomes] == [
            Stored,
            Conflict,
            Replayed,
            CommandIdReused,
            Stored,
        ]
        assert (await store.head("account/2")).version == 1
        assert (await store.head(STREAM)).version == 2

    async def test_a_later_append_of_a_call_sees_the_earlier_one(self, store: EventStore) -> None:
        first = append_of(STREAM, 0, "c1")
        second = append_of(STREAM, 1, "c2", chain=first.chain)
        outcomes = await store.append(
            [
                first,
                second,
                append_of(STREAM, 1, "c3"),
                first,
                append_of(STREAM, 2, "c1", content="x"),
            ]
        )
        assert [type(outcome) for outcome in outcomes[:2]] == [Stored, Stored]
        assert outcomes[2:] == [
            Conflict(Head(2, second.chain)),
            Replayed(first.commands[0]),
            CommandIdReused(first.commands[0]),
        ]
        assert tuple(await store.read(STREAM)) == first.records + second.records

    async def test_of_many_concurrent_writers_at_one_version_exactly_one_wins(
        self, store: EventStore
    ) -> None:
        calls = [store.append([append_of(STREAM, 0, f"c{number}")]) for number in range(50)]
        outcomes = [outcome for (outcome,) in await asyncio.gather(*calls)]
        assert sum(isinstance(outcome, Stored) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 49
        known = [await store.command(STREAM, f"c{number}") is not None for number in range(50)]
        assert known == [isinstance(outcome, Stored) for outcome in outcomes]

    async def test_a_stream_is_read_in_parts_in_both_directions(self, store: EventStore) -> None:
        await stored(store, [append_of(STREAM, 0, "c1", events=10), append_of("account/2", 0, "c")])

        async def versions(after: int, limit: int, *, backwards: bool = False) -> list[int]:
            part = await store.read(STREAM, after=after, limit=limit, backwards=backwards)
            return [record.stream_version for record in part]

        assert await versions(0, 3) == [1, 2, 3]
        assert await versions(8, 3) == [9, 10]
        assert await versions(10, 3) == []
        assert await versions(99, 3) == []
        assert await versions(2**64 - 1, 2**64 - 1) == []
        assert await versions(0, 3, backwards=True) == [10, 9, 8]
        assert await versions(8, 3, backwards=True) == [7, 6, 5]
        assert await versions(3, 3, backwards=True) == [2, 1]
        assert await versions(1, 3, backwards=True) == []
        assert await versions(99, 2, backwards=True) == [10, 9]

    async def test_a_scan_of_heads_finds_each_stream_once_in_one_order(
        self, store: EventStore
    ) -> None:
        appends = [append_of(name, 0, "c", events=2) for name in NAMES]
        await stored(store, appends)
        expected = {StreamHead(append.stream, 2, append.chain) for append in appends}
        whole = await store.heads()
        assert set(whole) == expected
        assert len(whole) == len(NAMES)
        found: list[StreamHead] = []
        while part := await store.heads(after=found[-1].stream if found else "", limit=2):
            found += part
        assert found == whole

    async def test_a_stream_that_is_new_appears_in_the_next_scan(self, store: EventStore) -> None:
        await stored(store, [append_of("b/1", 0, "c")])
        assert [head.stream for head in await store.heads()] == ["b/1"]
        await stored(store, [append_of("a/1", 0, "c")])
        assert {head.stream for head in await store.heads()} == {"a/1", "b/1"}

    async def test_a_scan_of_commands_finds_each_once_with_ascending_numbers(
        self, store: EventStore
    ) -> None:
        assert await store.commands() == []
        appends = [append_of(name, 0, f"c{name}", "other") for name in NAMES]
        idle = append_of("idle/1", 0, "idle", events=0)
        await stored(store, [*appends, idle])
        expected = {(append.stream, row) for append in (*appends, idle) for row in append.commands}
        for limit in (1, 4, 1000):
            found: list[NumberedCommand] = []
            while part := await store.commands(after=found[-1].number if found else 0, limit=limit):
                assert len(part) <= limit
                found += part
            numbers = [command.number for command in found]
            assert numbers == sorted(set(numbers))
            assert numbers[0] >= 1
            assert len(found) == len(expected)
            assert {(command.stream, command.row) for command in found} == expected

    async def test_names_and_payloads_of_any_bytes_come_back_as_they_were(
        self, store: EventStore
    ) -> None:
        stream = "account/\u00e9 'quoted\" %_\U0001f600"
        append = append_of(stream, 0, "id '; DROP TABLE events; --")
        await stored(store, [append])
        assert tuple(await store.read(stream)) == append.records
        assert await store.command(stream, append.commands[0].command_id) == append.commands[0]


class ScanOrderSuite:
    """What every EventStore on one machine does beside: its scans have an order that users see."""

    async def test_heads_are_scanned_in_order_of_the_bytes_of_their_names(
        self, store: EventStore
    ) -> None:
        await stored(store, [append_of(name, 0, "c") for name in NAMES])
        names = [head.stream for head in await store.heads()]
        assert names == sorted(NAMES, key=str.encode)

    async def test_commands_are_scanned_in_the_order_in_which_they_were_stored(
        self, store: EventStore
    ) -> None:
        await stored(store, [append_of("z/1", 0, "c1", "c2"), append_of("a/1", 0, "c3", events=0)])
        await stored(store, [append_of("m/1", 0, "c0")])
        commands = await store.commands()
        assert [command.row.command_id for command in commands] == ["c1", "c2", "c3", "c0"]
        numbers = [command.number for command in commands]
        assert numbers == sorted(set(numbers))
        assert numbers[0] >= 1
        assert await store.commands(after=numbers[1], limit=1) == [commands[2]]
        assert await store.commands(after=numbers[3]) == []
