"""What every EventLog does."""

import pytest

from eventspine.storage.errors import LogMovedError
from eventspine.storage.ports import EventLog
from eventspine.storage.records import LogPlace, StreamPlace
from tests.storage.appends import append_of, entries_of


class EventLogSuite:
    """A backend's file gives the fixture `log` and a method that puts entries into it."""

    async def fill(self, log: EventLog, streams: list[str]) -> None:
        """Puts two events of each stream into an empty log, in order."""
        await log.extend(0, 0, entries_of(self.appends(streams)))

    @staticmethod
    def appends(streams: list[str]) -> list:
        return [append_of(stream, 0, "c", events=2) for stream in streams]

    async def test_a_new_log_is_empty(self, log: EventLog) -> None:
        assert await log.ends() == (0,)
        assert await log.read(0) == []
        assert await log.positions([StreamPlace("a/1", 1)]) == [None]

    async def test_sequences_are_dense_and_keep_the_order(self, log: EventLog) -> None:
        streams = ["b/1", "a/1", "c/1"]
        await self.fill(log, streams)
        assert await log.read(0) == entries_of(self.appends(streams))
        assert await log.ends() == (6,)

    async def test_it_is_read_in_parts(self, log: EventLog) -> None:
        await self.fill(log, ["a/1", "b/1", "c/1"])
        assert [entry.sequence for entry in await log.read(0, after=1, limit=3)] == [2, 3, 4]
        assert [entry.sequence for entry in await log.read(0, after=4, limit=3)] == [5, 6]
        assert await log.read(0, after=6) == []
        assert await log.read(0, after=2**64 - 1) == []

    async def test_its_records_alone_are_those_of_its_entries(self, log: EventLog) -> None:
        await self.fill(log, ["a/1", "b/1", "c/1"])
        for after, limit in ((0, 500), (1, 3), (4, 3), (6, 500), (2**64 - 1, 500)):
            entries = await log.read(0, after=after, limit=limit)
            encoded = await log.read_encoded(0, after=after, limit=limit)
            assert encoded == [entry.encoded for entry in entries]

    async def test_the_place_of_each_version_of_a_stream_is_known(self, log: EventLog) -> None:
        await self.fill(log, ["a/1", "b/1"])
        places = [StreamPlace("b/1", 2), StreamPlace("b/1", 3), StreamPlace("a/1", 1)]
        assert await log.positions(places) == [LogPlace(0, 4), None, LogPlace(0, 1)]
        assert await log.positions([]) == []

    async def test_the_last_version_of_each_stream_is_known(self, log: EventLog) -> None:
        assert await log.versions(["a/1"]) == [0]
        await self.fill(log, ["a/1", "b/1"])
        assert await log.versions(["b/1", "c/1", "a/1"]) == [2, 0, 2]
        assert await log.versions([]) == []

    async def test_taking_over_tells_the_end(self, log: EventLog) -> None:
        assert await log.take_over(0) == 0
        await self.fill(log, ["a/1", "b/1"])
        assert await log.take_over(0) == 4

    async def test_entries_that_do_not_follow_the_end_are_refused_and_change_nothing(
        self, log: EventLog
    ) -> None:
        entries = entries_of(self.appends(["a/1"]))
        await log.extend(0, 0, entries)
        for after in (0, 1, 3):
            with pytest.raises(LogMovedError):
                await log.extend(0, after, entries)
        assert await log.read(0) == entries
