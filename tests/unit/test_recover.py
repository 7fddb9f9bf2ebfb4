"""What the bus still holds is fitted behind a backup, and nothing that does not follow."""

from devstack.backup.load import Chains
from devstack.backup.recover import Recovered, recovered
from devstack.backup.segment import PLACE, RECORD, Item
from eventspine.storage.codec import encode
from eventspine.storage.records import GENESIS, UNKNOWN_DIGEST, LogEntry
from eventspine.storage.republish import partition_of
from eventspine.v1.record_pb2 import EventRecord

PARTITIONS = 3
STREAMS = ("account/a", "account/b", "account/c", "account/d")


class Store:
    """A store that is lost later: all that it had, in the places of its log."""

    def __init__(self) -> None:
        self.log: list[LogEntry] = []
        self._heads: dict[str, tuple[int, bytes]] = {}
        self._ends = [0] * PARTITIONS

    def append(self, stream: str, command_id: str, events: int = 1) -> None:
        for _ in range(events):
            version, chain = self._heads.get(stream, (0, GENESIS))
            record = EventRecord(
                stream=stream,
                stream_version=version + 1,
                type="bank.v1.MoneyDeposited",
                command_id=command_id,
            )
            record.append_time.FromMicroseconds(1_000 + version)
            new, chain = encode(record, chain)
            self._heads[stream] = (version + 1, chain)
            partition = partition_of(stream, PARTITIONS)
            self._ends[partition] += 1
            self.log.append(LogEntry(partition, self._ends[partition], stream, *new))

    @property
    def ends(self) -> tuple[int, ...]:
        return tuple(self._ends)


def filled() -> tuple[Store, Chains, tuple[int, ...], list[LogEntry]]:
    """Returns a store, what a backup of its first part knows, its ends, and what came later."""
    store = Store()
    for number in range(12):
        store.append(STREAMS[number % 4], f"early-{number}")
    store.append("account/a", "half", events=1)
    chains, ends = Chains(), store.ends
    for entry in store.log:
        place = PLACE.pack(entry.partition, entry.sequence)
        chains.entry(Item(RECORD, place + entry.encoded), "here")
    before = len(store.log)
    # A command of two events, of which the backup has the first.
    store.append("account/a", "half", events=1)
    for number in range(20):
        store.append(STREAMS[number % 3], f"late-{number}")
    return store, chains, ends, store.log[before:]


def places(found: Recovered) -> list[tuple[int, int]]:
    return sorted((entry.partition, entry.sequence) for entry in found.entries)


def unsequenced(entries: list[LogEntry]) -> list[LogEntry]:
    return [entry._replace(sequence=0) for entry in entries]


def test_what_was_in_the_log_comes_back_to_its_place() -> None:
    store, chains, ends, later = filled()
    # The topic also holds what the backup has, out of order, and some of it twice.
    found = recovered(chains, ends, [*reversed(store.log), *later[:5]], [])
    assert sorted(found.entries) == sorted(later)
    assert (found.ends, found.unfit) == (store.ends, 0)


def test_commands_are_remembered_with_all_their_events() -> None:
    _, chains, ends, later = filled()
    rows = {row.command_id: row for _, _, row in recovered(chains, ends, later, []).commands}
    assert (rows["half"].event_count, rows["half"].last_version) == (2, 5)
    assert (rows["late-0"].event_count, rows["late-0"].digest) == (1, UNKNOWN_DIGEST)
    assert rows["late-0"].append_time_us == 1_000 + rows["late-0"].last_version - 1
    assert len(rows) == 21


def test_what_was_not_sequenced_yet_comes_behind() -> None:
    store, chains, ends, later = filled()
    found = recovered(chains, ends, later[:8], unsequenced(later[5:]))
    assert {(e.stream, e.stream_version, e.encoded) for e in found.entries} == {
        (e.stream, e.stream_version, e.encoded) for e in later
    }
    assert places(found) == sorted((e.partition, e.sequence) for e in later)
    assert sum(found.ends) == sum(ends) + 8
    assert store.ends != found.ends


def test_a_hole_ends_what_keeps_its_place_and_a_lost_version_ends_its_stream() -> None:
    _, chains, ends, later = filled()
    gone = next(entry for entry in later if entry.stream == "account/b")
    left = [entry for entry in later if entry is not gone]
    found = recovered(chains, ends, left, unsequenced(left))
    assert not any(entry.stream == "account/b" for entry in found.entries)
    others = [entry for entry in later if entry.stream != "account/b"]
    assert {e.encoded for e in found.entries} == {e.encoded for e in others}
    assert found.unfit > 0
    for partition in range(PARTITIONS):
        mine = [sequence for one, sequence in places(found) if one == partition]
        assert mine == [*range(ends[partition] + 1, ends[partition] + 1 + len(mine))]


def test_a_record_whose_chain_does_not_follow_is_not_taken() -> None:
    _, chains, ends, later = filled()
    first = next(entry for entry in later if entry.stream == "account/c")
    forged = EventRecord.FromString(first.encoded)
    forged.ClearField("chain_hash")
    new, _ = encode(forged, b"\1" * 32)
    wrong = first._replace(encoded=new.encoded)
    found = recovered(chains, ends, [wrong if e is first else e for e in later], [])
    assert not any(entry.stream == "account/c" for entry in found.entries)
    whole = recovered(chains, ends, [wrong if e is first else e for e in later], [first])
    assert {e.encoded for e in whole.entries} == {e.encoded for e in later}


def test_what_a_restore_that_was_cut_off_has_loaded_stays_where_it_is() -> None:
    _, chains, ends, later = filled()
    log, events = later[:8], unsequenced(later[5:])
    first = recovered(chains, ends, log, events)
    for count in range(len(first.entries) + 1):
        # With the channels as they were, or with nothing in them when all of it was loaded.
        again = recovered(chains, ends, log, events, first.entries[:count])
        assert sorted(again.entries) == sorted(first.entries)
        assert (again.ends, again.unfit) == (first.ends, 0)
    emptied = recovered(chains, ends, [], [], first.entries)
    assert sorted(emptied.entries) == sorted(first.entries)
    # Whose places these were is not known any more: cursors of the lost store are not good there.
    assert (emptied.ends, emptied.unfit) == (ends, 0)
    assert {one[1:] for one in emptied.commands} == {one[1:] for one in first.commands}
