"""Subscriptions keep their whole contract, whatever the backend and the number of partitions."""

import random

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp

from bank.v1 import account_pb2 as bank
from eventspine.rpc.errors import (
    CursorExpiredError,
    CursorInvalidError,
    InvalidRequestError,
    LimitExceededError,
    ShuttingDownError,
)
from eventspine.v1.subscription_pb2 import EventFilter, SubscribeRequest, SubscribeResponse
from query_svc.cursor import LogCursor, decode_log, encode_log
from tests.query.conftest import Make
from tests.query.world import (
    SECOND_US,
    START_US,
    World,
    cursor_of,
    in_order,
    kind,
    records_of,
)

BEGINNING = Empty()
ACCOUNTS = ("alice", "bob", "carol", "dave", "eve")


def caught_up(message: SubscribeResponse) -> bool:
    return kind(message) == "caught_up"


def sorted_by_stream(records: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(records)


async def history(world: World, request: SubscribeRequest) -> list[SubscribeResponse]:
    """Returns everything up to the first time that the subscription has caught up."""
    async with world.subscribe(request) as reader:
        return await reader.until(caught_up)


async def written(world: World, rounds: int) -> None:
    for _ in range(rounds):
        for account in ACCOUNTS:
            await world.deposit(account, 2)
    await world.settled()


async def test_a_subscription_from_the_beginning_is_confirmed_then_sends_all_then_says_so(
    world: World,
) -> None:
    await written(world, 20)
    messages = await history(world, SubscribeRequest(beginning=BEGINNING, batch_records_max=7))
    assert kind(messages[0]) == "confirmation"
    assert messages[0].confirmation.subscription_id
    assert {kind(message) for message in messages[1:-1]} == {"batch"}
    assert sorted(records_of(messages)) == sorted(in_order(world.written))


async def test_records_come_in_the_order_of_their_partition_with_their_sequences(
    world: World,
) -> None:
    await written(world, 20)
    messages = await history(world, SubscribeRequest(beginning=BEGINNING, batch_records_max=7))
    seen: dict[int, list[int]] = {}
    for message in messages:
        if kind(message) == "batch":
            assert 1 <= len(message.batch.records) <= 7
            assert len(message.batch.sequences) == len(message.batch.records)
            seen.setdefault(message.batch.partition, []).extend(message.batch.sequences)
    ends = await world.backend.log.ends()
    assert seen == {p: list(range(1, end + 1)) for p, end in enumerate(ends) if end}
    stored = {entry.encoded for entry in world.written}
    sent = [r.SerializeToString() for m in messages for r in m.batch.records]
    assert stored == set(sent)


async def test_from_the_end_only_what_is_stored_afterwards_is_sent(world: World) -> None:
    await written(world, 3)
    async with world.subscribe(SubscribeRequest(end=Empty())) as reader:
        assert kind(await reader.next()) == "confirmation"
        assert caught_up(await reader.next())
        new = await world.deposit("zoe", 3)
        batch = await reader.next()
        assert records_of([batch]) == in_order(new)


async def test_a_live_subscription_gets_each_burst_as_it_comes(world: World) -> None:
    async with world.subscribe(SubscribeRequest(beginning=BEGINNING)) as reader:
        await reader.until(caught_up)
        for _ in range(5):
            new = await world.deposit("alice", 4)
            got: list[tuple[str, int]] = []
            while len(got) < len(new):
                got += records_of([await reader.next()])
            assert got == in_order(new)


async def test_resuming_at_random_places_neither_loses_nor_repeats(make: Make) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201 # a failure has to be repeatable
    chance = random.Random(seed)
    world = await make(checkpoint_events=13)
    await written(world, 15)
    filters = (
        EventFilter(),
        EventFilter(stream_prefix="account/a"),
        EventFilter(stream="account/bob"),
        EventFilter(types=["bank.v1.AccountClosed"]),
    )
    for wanted in filters:
        start = SubscribeRequest(beginning=BEGINNING, filter=wanted, batch_records_max=3)
        whole = records_of(await history(world, start))
        got: list[tuple[str, int]] = []
        request = start
        while True:
            async with world.subscribe(request) as reader:
                messages = [await reader.next()]
                for _ in range(chance.randrange(6)):
                    if caught_up(messages[-1]):
                        break
                    messages.append(await reader.next())
            got += records_of(messages)
            if caught_up(messages[-1]):
                break
            cursor = cursor_of(messages[-1])
            request = SubscribeRequest(
                cursor=cursor, filter=wanted, batch_records_max=chance.randrange(1, 6)
            )
        assert sorted(got) == sorted(whole)
        assert len(set(got)) == len(got)


@pytest.mark.parametrize("near_events", [0, 1_000])
async def test_after_a_version_of_one_stream_the_rest_of_it_is_sent(
    make: Make, near_events: int
) -> None:
    world = await make(near_events=near_events)
    await written(world, 10)
    for version in (0, 1, 7, 20):
        wanted = EventFilter(stream="account/carol")
        request = SubscribeRequest(after_version=version, filter=wanted, batch_records_max=4)
        messages = await history(world, request)
        assert records_of(messages) == [("account/carol", v) for v in range(version + 1, 21)]


@pytest.mark.parametrize("near_events", [0, 1_000])
async def test_one_stream_goes_on_live_after_its_history_and_resumes_anywhere(
    make: Make, near_events: int
) -> None:
    world = await make(near_events=near_events)
    await written(world, 10)
    wanted = EventFilter(stream="account/carol")
    request = SubscribeRequest(beginning=BEGINNING, filter=wanted, batch_records_max=4)
    async with world.subscribe(request) as reader:
        messages = await reader.until(caught_up)
        await written(world, 2)
        while len(records_of(messages)) < 24:
            messages.append(await reader.next())
    whole = records_of(messages)
    assert whole == [("account/carol", version) for version in range(1, 25)]
    for place, message in enumerate(messages):
        resumed = SubscribeRequest(cursor=cursor_of(message), filter=wanted)
        rest = records_of(await history(world, resumed))
        assert records_of(messages[: place + 1]) + rest == whole


@pytest.mark.parametrize("near_events", [0, 1_000])
async def test_a_stream_that_does_not_exist_yet_is_followed_from_its_first_event(
    make: Make, near_events: int
) -> None:
    world = await make(near_events=near_events)
    await written(world, 2)
    wanted = EventFilter(stream="account/new")
    async with world.subscribe(SubscribeRequest(after_version=0, filter=wanted)) as reader:
        assert not records_of(await reader.until(caught_up))
        await written(world, 1)
        new = await world.deposit("new", 2)
        messages = await reader.until(lambda message: kind(message) == "batch")
        assert records_of(messages) == in_order(new)


async def test_a_version_that_the_stream_has_not_is_refused_by_field(world: World) -> None:
    await world.deposit("alice", 3)
    wanted = EventFilter(stream="account/alice")
    with pytest.raises(InvalidRequestError, match=r"after_version: is 4; .* at version 3"):
        await history(world, SubscribeRequest(after_version=4, filter=wanted))
    with pytest.raises(InvalidRequestError, match=r"after_version: .*filter\.stream"):
        await history(world, SubscribeRequest(after_version=1))


async def test_from_a_time_nothing_younger_is_left_out_and_nothing_much_older_is_sent(
    make: Make,
) -> None:
    world = await make()
    chance = random.Random(7)
    times: dict[tuple[str, int], int] = {}
    for second in range(0, 600, 3):
        # Several writers: their clocks are up to half a minute off.
        at = START_US + (second + chance.randrange(-30, 30)) * SECOND_US
        for entry in await world.deposit(chance.choice(ACCOUNTS), at=at):
            times[entry.stream, entry.stream_version] = at
    await world.settled()
    world.now = START_US + 600 * SECOND_US
    for second in (-100, 0, 1, 299, 300, 599, 640):
        moment = START_US + second * SECOND_US
        start = Timestamp(seconds=moment // SECOND_US)
        sent = records_of(await history(world, SubscribeRequest(time=start)))
        assert {place for place, at in times.items() if at >= moment} <= set(sent)
        assert all(times[place] >= moment - 60 * SECOND_US for place in sent)


async def test_a_time_that_no_clock_can_show_yet_is_refused(world: World) -> None:
    ahead = Timestamp(seconds=START_US // SECOND_US + 61)
    with pytest.raises(InvalidRequestError, match="time: is in the future"):
        await history(world, SubscribeRequest(time=ahead))
    with pytest.raises(InvalidRequestError, match="time: is no time"):
        await history(world, SubscribeRequest(time=Timestamp(seconds=1 << 60)))


@pytest.mark.parametrize(
    "wanted",
    [
        EventFilter(stream="account/alice"),
        EventFilter(categories=["loan", "account"]),
        EventFilter(categories=["loan"]),
        EventFilter(stream_prefix="account/al"),
        EventFilter(types=["bank.v1.AccountClosed", "bank.v1.AccountOpened"]),
        EventFilter(stream_prefix="account/", types=["bank.v1.AccountClosed"]),
        EventFilter(categories=["loan"], types=["bank.v1.AccountClosed"]),
    ],
)
async def test_exactly_the_events_that_pass_every_part_of_the_filter_are_sent(
    world: World, wanted: EventFilter
) -> None:
    for stream in ("account/alice", "account/alma", "account/bob", "loan/alice", "loans/al"):
        await world.write(stream, bank.AccountOpened(), bank.MoneyDeposited(), bank.AccountClosed())
    await world.settled()
    expected = [
        (entry.stream, entry.stream_version)
        for entry in world.written
        if (not wanted.stream or entry.stream == wanted.stream)
        and (not wanted.categories or entry.stream.split("/")[0] in wanted.categories)
        and entry.stream.startswith(wanted.stream_prefix)
        and (not wanted.types or entry.type in wanted.types)
    ]
    messages = await history(world, SubscribeRequest(beginning=BEGINNING, filter=wanted))
    assert sorted(records_of(messages)) == sorted(expected)


async def test_a_filter_that_lets_nothing_through_still_gets_checkpoints(make: Make) -> None:
    world = await make(checkpoint_events=40, checkpoint_seconds=0.05)
    await written(world, 20)
    wanted = EventFilter(types=["bank.v1.AccountClosed"])
    request = SubscribeRequest(beginning=BEGINNING, filter=wanted)
    async with world.subscribe(request) as reader:
        before = await reader.until(caught_up)
        assert not records_of(before)
        await world.deposit("alice", 3)
        live = await reader.until(lambda message: kind(message) == "checkpoint")
        assert decode_log(cursor_of(live[-1])).sequences == await world.backend.log.ends()


async def test_a_long_stretch_that_does_not_pass_is_marked_by_checkpoints(make: Make) -> None:
    world = await make(checkpoint_events=1_000)
    for _ in range(12):
        await world.deposit("alice", 500)
    await world.settled()
    wanted = EventFilter(stream_prefix="account/b")
    request = SubscribeRequest(beginning=BEGINNING, filter=wanted)
    kinds = [kind(message) for message in await history(world, request)]
    assert kinds.count("checkpoint") >= 4


async def test_a_long_stream_of_which_nothing_passes_is_marked_by_checkpoints_that_resume(
    make: Make,
) -> None:
    world = await make(checkpoint_events=1_000, near_events=100)
    for _ in range(12):
        await world.deposit("alice", 500)
    await world.write("account/alice", bank.AccountClosed(account_id="alice"))
    await world.settled()
    wanted = EventFilter(stream="account/alice", types=["bank.v1.AccountClosed"])
    request = SubscribeRequest(beginning=BEGINNING, filter=wanted)
    messages = await history(world, request)
    checkpoints = [message for message in messages if kind(message) == "checkpoint"]
    assert len(checkpoints) >= 4
    for checkpoint in checkpoints:
        resumed = SubscribeRequest(cursor=cursor_of(checkpoint), filter=wanted)
        sent = records_of(await history(world, resumed))
        later = messages[messages.index(checkpoint) :]
        assert sent == records_of(later)


@pytest.mark.parametrize(
    "wanted", [EventFilter(), EventFilter(stream="account/alice"), EventFilter(stream_prefix="a")]
)
async def test_a_checkpoint_comes_on_every_kind_of_subscription(
    make: Make, wanted: EventFilter
) -> None:
    world = await make(checkpoint_seconds=0.05)
    request = SubscribeRequest(beginning=BEGINNING, filter=wanted)
    async with world.subscribe(request) as reader:
        await reader.until(caught_up)
        await world.deposit("alice")
        messages = await reader.until(lambda message: kind(message) == "checkpoint")
        assert len(records_of(messages)) == 1


async def test_a_reader_that_was_live_is_told_that_it_fell_behind_and_caught_up_again(
    make: Make,
) -> None:
    world = await make(fell_behind_events=50)
    async with world.subscribe(SubscribeRequest(beginning=BEGINNING)) as reader:
        await reader.until(caught_up)
        await written(world, 10)
        behind = await reader.until(lambda message: kind(message) == "fell_behind")
        assert behind[-1].fell_behind.lag_events == 100 - len(records_of(behind))
        rest = await reader.until(caught_up)
        assert len(records_of(behind + rest)) == 100
        again = SubscribeRequest(cursor=behind[-1].fell_behind.cursor)
        assert records_of(await history(world, again)) == records_of(rest)


async def test_a_process_that_has_not_seen_the_end_of_the_log_yet_says_caught_up_only_behind_it(
    world: World,
) -> None:
    # As another instance sees it: in the log, and the bus has not brought it here.
    entries = await world.deposit("alice", 3, published=False)
    async with world.subscribe(SubscribeRequest(beginning=BEGINNING)) as reader:
        messages = await reader.until(caught_up)
    assert records_of(messages) == in_order(entries)


async def test_a_silent_subscription_gets_heartbeats_without_lag(make: Make) -> None:
    world = await make()
    await written(world, 1)
    request = SubscribeRequest(beginning=BEGINNING, heartbeat_interval=Duration(nanos=100_000_000))
    async with world.subscribe(request) as reader:
        await reader.until(caught_up)
        for _ in range(2):
            heartbeat = (await reader.next()).heartbeat
            assert heartbeat.lag_events == 0
            assert heartbeat.lag == Duration()
            assert heartbeat.time == Timestamp(seconds=START_US // SECOND_US)
            assert decode_log(heartbeat.cursor).sequences == await world.backend.log.ends()


async def test_a_slow_reader_gets_heartbeats_with_its_lag_in_events_and_seconds(
    make: Make,
) -> None:
    world = await make()
    for second in range(10):
        await world.deposit("alice", at=START_US + second * SECOND_US)
    await world.settled()
    world.now = START_US + 60 * SECOND_US
    request = SubscribeRequest(
        beginning=BEGINNING,
        batch_records_max=1,
        heartbeat_interval=Duration(nanos=100_000_000),
    )
    async with world.subscribe(request) as reader:
        await reader.until(lambda message: kind(message) == "batch")
        # The reader takes nothing for longer than its interval.
        await world.tail.wait(0, 1 << 40, 0.15)
        heartbeat = (await reader.until(lambda message: kind(message) == "heartbeat"))[-1].heartbeat
        looked_at = sum(decode_log(heartbeat.cursor).sequences)
        assert heartbeat.lag_events == 10 - looked_at
        assert heartbeat.lag == Duration(seconds=60 - looked_at)


async def test_events_whose_bus_message_is_lost_are_sent_all_the_same(world: World) -> None:
    async with world.subscribe(SubscribeRequest(beginning=BEGINNING)) as reader:
        await reader.until(caught_up)
        lost = await world.deposit("alice", 2, published=False)
        got = records_of(await reader.until(lambda message: kind(message) == "batch"))
        assert got == in_order(lost)


async def test_large_records_come_in_batches_of_about_a_mebibyte(world: World) -> None:
    event = bank.AccountOpened(account_id="a", owner="o" * 400_000)
    for _ in range(3):
        await world.write("account/large", event, event)
    await world.write("account/large", bank.AccountOpened(owner="o" * (1 << 20)))
    await world.settled()
    messages = await history(world, SubscribeRequest(beginning=BEGINNING))
    assert records_of(messages) == [("account/large", version) for version in range(1, 8)]
    batches = [message for message in messages if kind(message) == "batch"]
    assert all(batch.ByteSize() < 1_100_000 for batch in batches)
    assert len(batches) == 4


async def test_subscriptions_at_the_same_place_send_the_very_same_bytes(world: World) -> None:
    handler = world.method("Subscribe").server_stream
    assert handler is not None
    await written(world, 4)
    replies = []
    for _ in range(2):
        async with world.subscribe(SubscribeRequest(beginning=BEGINNING)) as reader:
            batches = []
            while not batches:
                raw = await reader.raw()
                if isinstance(raw, bytes):
                    batches.append(raw)
            replies += batches
    assert replies[0] is replies[1]


async def test_a_place_beyond_the_beginning_is_demanded(world: World) -> None:
    with pytest.raises(InvalidRequestError, match="start: is missing"):
        await history(world, SubscribeRequest())


@pytest.mark.parametrize(
    ("request_", "error", "text"),
    [
        ({"cursor": "garbage"}, CursorInvalidError, "not made by this platform"),
        ({"cursor": "ü"}, CursorInvalidError, "not made by this platform"),
        ({"cursor": "A" * 100_000}, CursorInvalidError, "not made by this platform"),
        ({"cursor": ""}, CursorInvalidError, "not made by this platform"),
        ({"end": BEGINNING, "batch_records_max": 1_001}, LimitExceededError, "1000"),
        (
            {"end": BEGINNING, "heartbeat_interval": Duration(seconds=-1)},
            InvalidRequestError,
            "heartbeat_interval",
        ),
        (
            {"end": BEGINNING, "heartbeat_interval": Duration(seconds=301)},
            InvalidRequestError,
            "heartbeat_interval",
        ),
        (
            {"end": BEGINNING, "filter": EventFilter(stream="no slash")},
            InvalidRequestError,
            "filter.stream",
        ),
        (
            {"end": BEGINNING, "filter": EventFilter(categories=[""])},
            InvalidRequestError,
            "filter.categories",
        ),
        (
            {"end": BEGINNING, "filter": EventFilter(types=["t"] * 101)},
            LimitExceededError,
            "filter.types",
        ),
        (
            {"end": BEGINNING, "filter": EventFilter(stream_prefix="p" * 266)},
            LimitExceededError,
            "filter.stream_prefix",
        ),
    ],
)
async def test_a_malformed_request_is_refused_by_name(
    world: World, request_: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await history(world, SubscribeRequest(**request_))


async def test_a_cursor_serves_only_the_filter_that_it_was_made_with(world: World) -> None:
    await written(world, 1)
    wanted = EventFilter(types=["a", "b"], categories=["x", "y"])
    start = SubscribeRequest(beginning=BEGINNING, filter=wanted)
    cursor = cursor_of((await history(world, start))[-1])
    same = EventFilter(types=["b", "a"], categories=["y", "x", "x"])
    assert caught_up((await history(world, SubscribeRequest(cursor=cursor, filter=same)))[-1])
    for other in (EventFilter(), EventFilter(types=["a"]), EventFilter(categories=["a", "b"])):
        with pytest.raises(CursorInvalidError, match="another filter"):
            await history(world, SubscribeRequest(cursor=cursor, filter=other))


async def test_a_cursor_of_another_store_or_beyond_the_end_has_expired(make: Make) -> None:
    world, other = await make(), await make()
    await written(world, 2)
    cursor = cursor_of((await history(world, SubscribeRequest(beginning=BEGINNING)))[-1])
    with pytest.raises(CursorExpiredError, match="another store"):
        await history(other, SubscribeRequest(cursor=cursor))
    here = decode_log(cursor)
    beyond = here._replace(sequences=tuple(at + 1 for at in here.sequences))
    with pytest.raises(CursorExpiredError, match="beyond the end"):
        await history(world, SubscribeRequest(cursor=encode_log(beyond)))
    elsewhere = LogCursor(here.store_id, here.fingerprint, (*here.sequences, 0))
    with pytest.raises(CursorExpiredError, match="other partitions"):
        await history(world, SubscribeRequest(cursor=encode_log(elsewhere)))


async def test_a_process_that_stops_ends_its_subscriptions_so_that_they_go_on_elsewhere(
    world: World,
) -> None:
    async with world.subscribe(SubscribeRequest(beginning=BEGINNING)) as reader:
        await reader.until(caught_up)
        await world.service.stop()
        with pytest.raises(ShuttingDownError):
            await reader.next()
