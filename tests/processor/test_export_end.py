"""Where an export ends when the log has the first events of a command, and its last not yet."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from eventspine.storage.codec import encode
from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.records import Append, CommandRow, LogEntry, Stored
from eventspine.v1 import admin_pb2 as pb
from eventspine.v1.record_pb2 import PartitionSequence
from processor_svc.export import Export
from processor_svc.export_end import LOOK_ENTRIES, whole_ends
from tests.processor.platform import CALL, NOW_US, Platform, deposit, record_of

# SQLite sequences as it appends, so its log has whole commands only.
pytestmark = pytest.mark.parametrize(
    "kind", ["memory", pytest.param("cassandra", marks=pytest.mark.stack)], indirect=True
)


async def stored(platform: Platform, stream: str, *sizes: int) -> list[LogEntry]:
    """Stores commands of so many events in a stream, and publishes none of them."""
    entries: list[LogEntry] = []
    for size in sizes:
        head = await platform.backend.events.head(stream)
        records, chain, last = [], head.chain, head.version + size
        for version in range(head.version + 1, last + 1):
            record = record_of(stream, version, deposit("ann", version))
            record.command_id = f"c{last}"
            new, chain = encode(record, chain)
            records.append(new)
        row = CommandRow(f"c{last}", b"d" * 32, last, size, NOW_US)
        append = Append(stream, head.version, tuple(records), (row,), chain)
        (outcome,) = await platform.backend.events.append([append])
        assert isinstance(outcome, Stored)
        entries += [LogEntry(0, 0, stream, *record) for record in records]
    return entries


async def sequenced(platform: Platform, entries: Sequence[LogEntry]) -> None:
    await platform.sequencer.sequence(0, entries)


async def exported(platform: Platform, after: int = 0) -> tuple[list[int], list[tuple[str, int]]]:
    """Exports; returns the sequences of the records, and the commands by their last versions."""
    request = pb.ExportRequest(after=[PartitionSequence(partition=0, sequence=after)])
    messages = [message async for message in platform.admin.export(request, CALL)]
    sequences = [sequence for message in messages for sequence in message.sequences]
    commands = [(c.stream, c.last_version) for message in messages for c in message.commands]
    return sequences, sorted(commands)


async def ends(platform: Platform, end: int, after: int = 0) -> tuple[int, ...]:
    backend = platform.backend
    return await whole_ends(backend.events, backend.log, [after], [end])


async def test_an_export_leaves_a_command_whose_last_events_are_to_come_to_the_next_one(
    platform: Platform,
) -> None:
    ann = await stored(platform, "account/ann", 1, 3)
    bob = await stored(platform, "account/bob", 1)
    await sequenced(platform, [*ann[:3], *bob])
    assert await exported(platform) == ([1], [("account/ann", 1)])
    await sequenced(platform, ann[3:])
    assert await exported(platform, after=1) == (
        [2, 3, 4, 5],
        [("account/ann", 4), ("account/bob", 1)],
    )


async def test_commands_that_lie_one_in_the_other_are_left_out_from_the_first_on(
    platform: Platform,
) -> None:
    zoe = await stored(platform, "account/zoe", 1)
    ann = await stored(platform, "account/ann", 2)
    bob = await stored(platform, "account/bob", 3)
    for entry in (zoe[0], ann[0], bob[0], ann[1], bob[1]):
        await sequenced(platform, [entry])
    # Without bob's, the last one of ann's lies beyond the end, and then her first one too.
    assert await ends(platform, 5) == (1,)
    assert await ends(platform, 5, after=3) == (4,)
    await sequenced(platform, bob[2:])
    assert await ends(platform, 6) == (6,)
    assert await ends(platform, 6, after=6) == (6,)


async def test_a_command_that_began_long_ago_and_is_not_complete_ends_the_export_with_a_cure(
    platform: Platform,
) -> None:
    ann = await stored(platform, "account/ann", 2)
    await sequenced(platform, ann[:1])
    await sequenced(platform, await stored(platform, "account/bob", *[1] * LOOK_ENTRIES))
    with pytest.raises(StoreUnavailableError, match=r"command 'c2' of stream 'account/ann'.*audit"):
        await exported(platform)
    await sequenced(platform, ann[1:])
    sequences, commands = await exported(platform)
    assert (len(sequences), len(commands)) == (LOOK_ENTRIES + 2, LOOK_ENTRIES + 1)


async def decided(platform: Platform, stream: str, command_id: str) -> None:
    """Stores a command that had nothing to do."""
    head = await platform.backend.events.head(stream)
    row = CommandRow(command_id, b"d" * 32, head.version, 0, NOW_US)
    append = Append(stream, head.version, (), (row,), head.chain)
    assert await platform.backend.events.append([append]) == [Stored(None)]


@pytest.mark.parametrize("streams_max", [0, 2, 100])
async def test_exports_one_after_the_other_hold_each_command_once_with_its_records(
    platform: Platform, streams_max: int
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    streams = [f"account/{name}" for name in "abcde"]
    after, sent, stored_yet, idle = 0, Counter[tuple[str, int]](), set[tuple[str, int]](), 0
    for turn in range(4):
        for number in range(chance.randrange(8)):
            stream = chance.choice(streams)
            if chance.random() < 0.2:
                await decided(platform, stream, f"idle {turn} {number}")
                idle += 1
                continue
            entries = await stored(platform, stream, chance.randrange(1, 4))
            await sequenced(platform, entries)
            stored_yet.add((stream, entries[-1].stream_version))
        export = Export(
            platform.backend.events,
            platform.backend.log,
            platform.tail,
            sequences_on_append=False,
            streams_max=streams_max,
        )
        request = pb.ExportRequest(after=[PartitionSequence(partition=0, sequence=after)])
        messages = [message async for message in export.run(request)]
        after = max([after, *(n for message in messages for n in message.sequences)])
        commands = [command for message in messages for command in message.commands]
        sent.update((c.stream, c.last_version) for c in commands if c.event_count)
        assert sent == Counter(stored_yet), seed
        assert len([c for c in commands if not c.event_count]) == idle, seed
