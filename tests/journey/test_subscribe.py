"""Subscriptions over gRPC: every start, every filter, and what tells a reader where it stands."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty

from bank.v1 import account_pb2 as bank
from devstack.embedded import Embedded
from eventspine.v1.record_pb2 import EventRecord
from eventspine.v1.subscription_pb2 import EventFilter
from flights.v1 import flight_pb2
from tests.journey.test_flights import departing, scheduling
from tests.journey.user import (
    BALANCES,
    User,
    depositing,
    opening,
    projected,
    refusal,
    showing,
    slow_channel,
    told,
)

SECONDS = 20.0
THOUSANDS = 24
QUICK = Duration(nanos=100_000_000)

Event = tuple[str, int]


def places(records: Sequence[EventRecord]) -> list[Event]:
    return [(record.stream, record.stream_version) for record in records]


def by_stream(records: Sequence[EventRecord]) -> dict[str, list[EventRecord]]:
    """Returns the records of each stream in their order, which alone is promised."""
    streams: dict[str, list[EventRecord]] = {}
    for record in records:
        streams.setdefault(record.stream, []).append(record)
    return streams


async def happened(user: User) -> list[EventRecord]:
    """Lets a few things happen to accounts and flights; returns their records as they came."""
    await user.execute(
        [
            opening("ann"),
            opening("anton"),
            opening("bob"),
            depositing("ann", 1),
            depositing("bob", 2),
            scheduling("f1", "09:00"),
            departing("f1", 3),
            depositing("ann", 4),
            scheduling("f2", "10:00"),
        ]
    )
    reader = user.subscribe()
    records = list(await reader.taken(9))
    reader.leave()
    return records


Passes = Callable[[EventRecord], bool]
FILTERS: dict[str, tuple[EventFilter, Passes]] = {
    "all": (EventFilter(), lambda r: True),
    "stream": (EventFilter(stream="account/ann"), lambda r: r.stream == "account/ann"),
    "category": (EventFilter(categories=["flight"]), lambda r: r.stream.startswith("flight/")),
    "categories": (EventFilter(categories=["flight", "account"]), lambda r: True),
    "prefix": (EventFilter(stream_prefix="account/an"), lambda r: r.stream[8:10] == "an"),
    "type": (
        EventFilter(types=["bank.v1.MoneyDeposited", "flights.v1.FlightDeparted"]),
        lambda r: r.type in ("bank.v1.MoneyDeposited", "flights.v1.FlightDeparted"),
    ),
    "every part": (
        EventFilter(
            stream_prefix="account/",
            categories=["account"],
            types=["bank.v1.MoneyDeposited"],
            stream="account/ann",
        ),
        lambda r: (r.stream, r.type) == ("account/ann", "bank.v1.MoneyDeposited"),
    ),
    "nothing": (EventFilter(stream_prefix="account/zoe"), lambda r: False),
}


async def test_what_passes_each_filter_is_sent_from_history_and_live(user: User) -> None:
    records = await happened(user)
    readers = {name: user.subscribe(filter=wanted) for name, (wanted, _) in FILTERS.items()}
    async with asyncio.timeout(SECONDS):
        for name, (_, passes) in FILTERS.items():
            await readers[name].until("caught_up")
            assert readers[name].kinds[0] == "confirmation"
            expected = by_stream([r for r in records if passes(r)])
            assert by_stream(readers[name].records) == expected, name
        await user.execute([depositing("ann", 5), depositing("bob", 6), departing("f2", 7)])
        whole = user.subscribe()
        records = await whole.taken(12)
        for name, (_, passes) in FILTERS.items():
            # A checkpoint comes on every kind, also when the filter lets nothing through.
            await readers[name].until("checkpoint")
            wanted = places([r for r in records if passes(r)])
            await readers[name].taken(len(wanted))
            assert sorted(places(readers[name].records)) == sorted(wanted), name
            readers[name].leave()
    whole.leave()


async def test_each_start_sends_what_lies_after_it(user: User) -> None:
    records = await happened(user)
    starts: dict[str, tuple[dict[str, Any], set[Event]]] = {
        "beginning": ({"beginning": Empty()}, {*places(records)}),
        "end": ({"end": Empty()}, set()),
        "after a version": (
            {"after_version": 1, "filter": EventFilter(stream="account/ann")},
            {("account/ann", 2), ("account/ann", 3)},
        ),
        "after none": (
            {"after_version": 0, "filter": EventFilter(stream="account/ann")},
            {("account/ann", 1), ("account/ann", 2), ("account/ann", 3)},
        ),
    }
    async with asyncio.timeout(SECONDS):
        for name, (start, expected) in starts.items():
            reader = user.subscribe(**start)
            await reader.until("caught_up")
            assert {*places(reader.records)} == expected, name
            reader.leave()


async def test_from_a_time_everything_as_young_is_sent_and_a_minute_more_at_most(
    user: User,
) -> None:
    records = await happened(user)
    moment = records[4].append_time
    young = [r for r in records if r.append_time.ToMicroseconds() >= moment.ToMicroseconds()]
    async with asyncio.timeout(SECONDS):
        reader = user.subscribe(time=moment)
        await reader.until("caught_up")
    assert {*places(young)} <= {*places(reader.records)}
    reader.leave()


@pytest.mark.parametrize("name", ["all", "stream", "type"])
async def test_a_reader_resumes_at_any_message_without_loss_or_repetition(
    user: User, name: str
) -> None:
    event_filter, passes = FILTERS[name]
    records = [record for record in await happened(user) if passes(record)]
    async with asyncio.timeout(SECONDS):
        reader = user.subscribe(filter=event_filter, batch_records_max=1)
        await reader.until("caught_up")
        assert by_stream(reader.records) == by_stream(records)
        for message in reader.messages:
            kind = message.WhichOneof("message")
            cursor = getattr(message, kind).cursor
            before = reader.messages[: reader.messages.index(message) + 1]
            seen = [record for earlier in before for record in earlier.batch.records]
            later = user.subscribe(filter=event_filter, cursor=cursor)
            await later.until("caught_up")
            assert by_stream([*seen, *later.records]) == by_stream(records)
            later.leave()
    reader.leave()


async def test_a_cursor_goes_with_its_filter_only(user: User) -> None:
    await happened(user)
    reader = user.subscribe(filter=EventFilter(categories=["account"]))
    await reader.until("caught_up")
    for event_filter in (EventFilter(), EventFilter(categories=["flight"])):
        error = await refusal(user.subscribe(filter=event_filter, cursor=reader.cursor).read())
        assert told(error) == "INVALID_ARGUMENT CURSOR_INVALID"
    # The order in which a filter names things means nothing.
    pair = ["account", "flight"]
    both = user.subscribe(filter=EventFilter(categories=pair))
    await both.until("caught_up")
    again = user.subscribe(filter=EventFilter(categories=pair[::-1]), cursor=both.cursor)
    assert (await again.read()).HasField("confirmation")
    for open_reader in (reader, both, again):
        open_reader.leave()


def bulky(owner_bytes: int = 1_000) -> list[bank.AccountOpened]:
    return [bank.AccountOpened(account_id="big", owner="o" * owner_bytes)] * 1_000


async def live(reader: Any) -> None:
    """Waits until a reader has caught up; it may have before, with a log that was still growing."""
    since = "".join(f"{kind} " for kind in reader.kinds).rpartition("fell_behind ")[2]
    if "caught_up" not in since:
        await reader.until("caught_up")


async def test_a_reader_that_falls_behind_is_told_and_gets_everything(
    platform: Embedded, user: User
) -> None:
    async with slow_channel(platform.address) as slow, asyncio.timeout(SECONDS):
        reader = User(slow).subscribe(end=Empty(), batch_records_max=1_000)
        await reader.until("caught_up")
        for number in range(THOUSANDS):
            await user.append(f"account/{number}", bulky())
        behind = await reader.until("fell_behind")
        assert behind.fell_behind.lag_events > 10_000
        # Resuming at that place is as good as going on.
        seen = len(reader.records)
        other = user.subscribe(cursor=behind.fell_behind.cursor, batch_records_max=1_000)
        await other.taken(THOUSANDS * 1_000 - seen)
        await live(other)
        assert seen + len(other.records) == THOUSANDS * 1_000
        await reader.taken(THOUSANDS * 1_000)
        await live(reader)
        assert sorted(places(reader.records)) == sorted(
            (f"account/{n}", version) for n in range(THOUSANDS) for version in range(1, 1_001)
        )
        assert reader.kinds.count("fell_behind") == 1
        other.leave()


async def test_a_silent_subscription_beats_without_lag(user: User) -> None:
    opened = await user.open("ann")
    await user.balance("ann", **showing(opened.token))
    reader = user.subscribe(heartbeat_interval=QUICK)
    await reader.until("caught_up")
    async with asyncio.timeout(SECONDS):
        first = (await reader.until("heartbeat")).heartbeat
        second = (await reader.until("heartbeat")).heartbeat
    for beat in (first, second):
        assert (beat.lag_events, beat.lag.ToMicroseconds()) == (0, 0)
    assert first.cursor == second.cursor
    assert second.time.ToMicroseconds() - first.time.ToMicroseconds() >= 80_000
    reader.leave()


async def test_a_reader_of_a_long_history_hears_how_far_it_still_has_to_go(user: User) -> None:
    events = [bank.MoneyDeposited(account_id="ann", amount_cents=1)] * 1_000
    for number in range(10):
        result = await user.append(f"account/{number}", events, wait_for=projected(BALANCES))
        assert result.projected
    async with asyncio.timeout(SECONDS):
        reader = user.subscribe(batch_records_max=1, heartbeat_interval=QUICK)
        beat = (await reader.until("heartbeat")).heartbeat
    # The first heartbeat comes while the history is being sent, for it takes longer than 100 ms.
    assert beat.lag_events == 10_000 - len(reader.records) > 0
    assert beat.lag.ToMicroseconds() > 0
    reader.leave()


async def test_two_readers_of_a_stream_of_flights_see_the_same(user: User) -> None:
    wanted = EventFilter(types=[flight_pb2.FlightDeparted.DESCRIPTOR.full_name])
    readers = [user.subscribe(end=Empty(), filter=wanted) for _ in range(2)]
    async with asyncio.timeout(SECONDS):
        for reader in readers:
            await reader.until("caught_up")
        await happened(user)
        for reader in readers:
            (record,) = await reader.taken(1)
            event = flight_pb2.FlightDeparted.FromString(record.payload)
            assert (event.flight_id, event.departure_delay_minutes) == ("f1", 3)
            reader.leave()
