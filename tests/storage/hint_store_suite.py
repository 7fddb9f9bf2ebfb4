"""What every HintStore and every AuditStore does."""

from eventspine.storage.ports import AuditStore, HintStore
from eventspine.storage.records import AuditMark, HintWriter


class HintStoreSuite:
    """A backend's file gives the fixture `hints`: a new, empty store."""

    async def test_hints_are_found_by_writer_and_window(self, hints: HintStore) -> None:
        await hints.note("w1", 1, {"account/a", "account/ü"})
        await hints.note("w1", 2, ["account/c"])
        await hints.note("w2", 1, ["account/d"])
        assert set(await hints.streams("w1", 1)) == {"account/a", "account/ü"}
        assert await hints.streams("w1", 2) == ["account/c"]
        assert await hints.streams("w2", 1) == ["account/d"]
        assert await hints.streams("w2", 2) == []

    async def test_a_hint_that_is_left_twice_is_one(self, hints: HintStore) -> None:
        await hints.note("w1", 1, ["account/a"])
        await hints.note("w1", 1, ["account/a", "account/b"])
        assert sorted(await hints.streams("w1", 1)) == ["account/a", "account/b"]

    async def test_no_hints_leave_nothing(self, hints: HintStore) -> None:
        await hints.note("w1", 1, [])
        assert await hints.streams("w1", 1) == []

    async def test_a_thousand_hints_at_once_are_kept(self, hints: HintStore) -> None:
        streams = {f"account/{number:04}-{'x' * 180}" for number in range(1_000)}
        await hints.note("w1", 1, streams)
        assert set(await hints.streams("w1", 1)) == streams

    async def test_a_window_is_dropped_whole_and_no_other(self, hints: HintStore) -> None:
        await hints.note("w1", 1, ["account/a", "account/b"])
        await hints.note("w1", 2, ["account/a"])
        await hints.drop("w1", 1)
        await hints.drop("w1", 1)
        assert await hints.streams("w1", 1) == []
        assert await hints.streams("w1", 2) == ["account/a"]

    async def test_a_writer_is_known_by_its_last_beat(self, hints: HintStore) -> None:
        await hints.beat(HintWriter("w1", 1, 1, 1))
        await hints.beat(HintWriter("w2", 1, 1, 1))
        await hints.beat(HintWriter("w1", 2, 3, 7))
        assert sorted(await hints.writers()) == [
            HintWriter("w1", 2, 3, 7),
            HintWriter("w2", 1, 1, 1),
        ]

    async def test_a_writer_is_forgotten_and_no_other(self, hints: HintStore) -> None:
        await hints.beat(HintWriter("w1", 1, 1, 1))
        await hints.beat(HintWriter("w2", 1, 1, 1))
        await hints.forget("w1")
        await hints.forget("w1")
        assert await hints.writers() == [HintWriter("w2", 1, 1, 1)]


class AuditStoreSuite:
    """A backend's file gives the fixture `audits`: a new store that was never audited."""

    async def test_a_store_that_was_never_audited_has_zeros(self, audits: AuditStore) -> None:
        assert await audits.load() == AuditMark(0, 0, 0, 0, 0, 0, ())

    async def test_a_mark_comes_back_as_it_was(self, audits: AuditStore) -> None:
        mark = AuditMark(1_700_000_000_000_000, 1_700_000_000_500_000, 3, 9, 2, 40, ("a/ü", "b/1"))
        await audits.save(mark)
        assert await audits.load() == mark

    async def test_an_older_mark_that_comes_late_is_dropped(self, audits: AuditStore) -> None:
        later = AuditMark(through_us=20, ended_us=30, cycles=2)
        await audits.save(later)
        await audits.save(AuditMark(through_us=10, ended_us=15, cycles=1))
        assert await audits.load() == later
