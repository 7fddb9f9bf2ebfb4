"""What every ViewRegistry does, together with the ViewStore whose parked keys it lists."""

from typing import NamedTuple

from eventspine.storage.keys import encode_key
from eventspine.storage.ports import ViewRegistry, ViewStore
from eventspine.storage.records import Build, Builds, Parked, ViewBatch

VIEW = "bank.v1.AccountBalance"
FIRST = Build(number=1, code_version=1, state="serving", paused=False)
SECOND = Build(number=2, code_version=3, state="building", paused=True)


class Opened(NamedTuple):
    """The two ports of one store."""

    views: ViewStore
    registry: ViewRegistry


def parked(name: str, sequence: int, *waiting: int) -> Parked:
    return Parked(
        key=encode_key((name,)),
        partition=0,
        sequence=sequence,
        stream=f"account/{name}",
        stream_version=2,
        error="ValueError: no such currency ¤",
        waiting=(sequence, *waiting),
        parked_time_us=1_700_000_000_000_000,
    )


def parking(
    after: int, through: int, *entries: Parked, released: tuple[str, ...] = ()
) -> ViewBatch:
    changes: dict[bytes, Parked | None] = {entry.key: entry for entry in entries}
    changes |= {encode_key((name,)): None for name in released}
    return ViewBatch(f"{VIEW}@1", 0, after, through, {}, changes)


class ViewRegistrySuite:
    """A backend's file gives the fixture `opened`: a new, empty store."""

    async def test_an_unknown_view_has_no_builds_and_revision_0(self, opened: Opened) -> None:
        assert await opened.registry.builds(VIEW) == Builds(0, ())
        assert await opened.registry.views() == []

    async def test_builds_are_given_back_as_they_were_put_oldest_first(
        self, opened: Opened
    ) -> None:
        assert await opened.registry.put(VIEW, 0, [SECOND, FIRST])
        assert await opened.registry.builds(VIEW) == Builds(1, (FIRST, SECOND))

    async def test_only_one_of_two_changes_from_one_revision_is_taken(self, opened: Opened) -> None:
        assert await opened.registry.put(VIEW, 0, [FIRST])
        assert not await opened.registry.put(VIEW, 0, [SECOND])
        assert await opened.registry.builds(VIEW) == Builds(1, (FIRST,))
        assert await opened.registry.put(VIEW, 1, [SECOND])
        assert not await opened.registry.put(VIEW, 1, [FIRST])
        assert not await opened.registry.put(VIEW, 3, [FIRST])
        assert await opened.registry.builds(VIEW) == Builds(2, (SECOND,))

    async def test_views_are_listed_by_name_and_only_those_with_builds(
        self, opened: Opened
    ) -> None:
        for view in ("c", "a", "b"):
            assert await opened.registry.put(view, 0, [FIRST])
        assert await opened.registry.put("b", 1, [])
        assert await opened.registry.views() == ["a", "c"]
        assert await opened.registry.builds("b") == Builds(2, ())

    async def test_parked_keys_are_listed_whole_and_in_order(self, opened: Opened) -> None:
        assert await opened.registry.parked(f"{VIEW}@1") == []
        first, second = parked("a", 4, 6, 9), parked("b", 3)
        await opened.views.save([parking(0, 9, second, first)])
        assert await opened.registry.parked(f"{VIEW}@1") == [first, second]
        assert await opened.registry.parked(f"{VIEW}@2") == []

    async def test_a_parked_key_is_replaced_and_released_with_a_batch(self, opened: Opened) -> None:
        await opened.views.save([parking(0, 4, parked("a", 4), parked("b", 3))])
        await opened.views.save([parking(4, 7, parked("a", 4, 7), released=("b", "unknown"))])
        assert await opened.registry.parked(f"{VIEW}@1") == [parked("a", 4, 7)]

    async def test_a_batch_that_moves_nothing_on_can_release_a_key(self, opened: Opened) -> None:
        await opened.views.save([parking(0, 4, parked("a", 4))])
        await opened.views.save([parking(4, 4, released=("a",))])
        assert await opened.registry.parked(f"{VIEW}@1") == []

    async def test_a_dropped_build_has_nothing_parked(self, opened: Opened) -> None:
        await opened.views.save([parking(0, 4, parked("a", 4))])
        await opened.views.drop(f"{VIEW}@1")
        assert await opened.registry.parked(f"{VIEW}@1") == []
