"""Rules of subscriptions: where they start, what they send, and resuming without loss.

Each reads from an end of the log that it has taken itself, so that a store may hold any history.
"""

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty

from bank.v1 import account_pb2 as bank
from devstack.conformance.caller import Caller, Reader, cursor_of, refusal, told
from devstack.conformance.rule import holds, refused, same
from devstack.conformance.rules.appends import deposited, opened
from devstack.conformance.rules.commands import MALFORMED
from devstack.conformance.rules.queries import BAD_CURSOR
from eventspine.v1.record_pb2 import EventRecord
from eventspine.v1.subscription_pb2 import EventFilter, SubscribeRequest

OTHER_STORES_CURSOR = "TCA2MzBmNGIzNjUxMTljM2Q0ZTQ3YzNmNWY3NzcyMzlmM-OwxEKY_BwUAZ-1dqQ"
"""A cursor without a filter that a platform over another store has made."""

QUICK = Duration(nanos=100_000_000)
DEPOSITS = 12

Place = tuple[str, int]


def places(records: list[EventRecord]) -> list[Place]:
    """Returns stream and version of each record."""
    return [(record.stream, record.stream_version) for record in records]


async def begun(caller: Caller, **fields: Any) -> Reader:
    """Returns a subscription that has sent all that was stored before it began."""
    reader = caller.subscribe(**fields)
    await reader.until("caught_up")
    return reader


async def all_of(reader: Reader, count: int) -> list[EventRecord]:
    """Reads so many records, which may reach the log a little later, and on until caught up."""
    await reader.taken(count)
    if "caught_up" not in reader.kinds:
        await reader.until("caught_up")
    reader.leave()
    return reader.records


async def now(caller: Caller, wanted: EventFilter) -> str:
    """Returns a cursor of the end of the log, for a filter."""
    reader = await begun(caller, end=Empty(), filter=wanted)
    reader.leave()
    return reader.cursor


def ours(own: str) -> EventFilter:
    """Returns the filter that lets through the events of the rule that asks."""
    return EventFilter(stream_prefix=f"account/{own}")


async def happened(caller: Caller, own: str) -> None:
    """Stores a history of two accounts, in one append after another."""
    for account in (own, own + "-b"):
        await caller.append(f"account/{account}", [opened(account)])
    for cents in range(1, DEPOSITS + 1):
        await caller.append(f"account/{own}", [deposited(own, cents)])


def wanted_places(own: str) -> list[Place]:
    """Returns stream and version of all that has happened, sorted."""
    versions = [(f"account/{own}", version) for version in range(1, DEPOSITS + 2)]
    return sorted([*versions, (f"account/{own}-b", 1)])


async def the_first_message_confirms_and_its_cursor_gives_the_same_events(
    caller: Caller, own: str
) -> None:
    start = await now(caller, ours(own))
    await happened(caller, own)
    reader = caller.subscribe(cursor=start, filter=ours(own))
    await all_of(reader, DEPOSITS + 2)
    same("the first message", reader.kinds[0], "confirmation")
    holds("it names the subscription", reader.messages[0].confirmation.subscription_id)
    again = caller.subscribe(cursor=cursor_of(reader.messages[0]), filter=ours(own))
    await all_of(again, DEPOSITS + 2)
    for records in (reader.records, again.records):
        same("the events", sorted(places(records)), wanted_places(own))


async def batches_are_in_order_within_their_limit_and_tell_sequences(
    caller: Caller, own: str
) -> None:
    start = await now(caller, ours(own))
    await happened(caller, own)
    reader = caller.subscribe(cursor=start, filter=ours(own), batch_records_max=3)
    await all_of(reader, DEPOSITS + 2)
    last: dict[int, int] = {}
    for batch in (message.batch for message in reader.messages if message.HasField("batch")):
        holds("a batch has 1 to 3 records", 1 <= len(batch.records) <= 3)
        same("the number of sequences", len(batch.sequences), len(batch.records))
        for sequence in batch.sequences:
            holds("sequences of a partition rise", sequence > last.get(batch.partition, 0))
            last[batch.partition] = sequence
    versions = [v for stream, v in places(reader.records) if stream == f"account/{own}"]
    same("the versions of a stream", versions, list(range(1, DEPOSITS + 2)))


async def what_is_sent_is_what_is_stored(caller: Caller, own: str) -> None:
    await happened(caller, own)
    reader = caller.subscribe(after_version=0, filter=EventFilter(stream=f"account/{own}"))
    sent = await all_of(reader, DEPOSITS + 1)
    stored = await caller.records(f"account/{own}")
    same("the encoded records", encoded(sent), encoded(stored))


def encoded(records: list[EventRecord]) -> list[bytes]:
    """Returns the encodings of records."""
    return [record.SerializeToString() for record in records]


async def all_that_was_stored_comes_before_caught_up_and_what_follows_is_live(
    caller: Caller, own: str
) -> None:
    wanted = EventFilter(stream=f"account/{own}")
    await happened(caller, own)
    first = caller.subscribe(after_version=0, filter=wanted)
    # What is stored may reach the log a little later; from here on it is there.
    await first.taken(DEPOSITS + 1)
    first.leave()
    reader = await begun(caller, after_version=0, filter=wanted)
    same("the events before it", len(reader.records), DEPOSITS + 1)
    await caller.append(f"account/{own}", [deposited(own, 99)])
    await reader.taken(DEPOSITS + 2)
    reader.leave()
    event = bank.MoneyDeposited.FromString(reader.records[-1].payload)
    same("the amount of the live event", event.amount_cents, 99)


async def a_reader_resumes_at_any_cursor_without_loss_or_repetition(
    caller: Caller, own: str
) -> None:
    start = await now(caller, ours(own))
    await happened(caller, own)
    reader = caller.subscribe(cursor=start, filter=ours(own), batch_records_max=1)
    await all_of(reader, DEPOSITS + 2)
    for at, message in enumerate(reader.messages, 1):
        seen = [record for earlier in reader.messages[:at] for record in earlier.batch.records]
        later = caller.subscribe(cursor=cursor_of(message), filter=ours(own))
        await later.until("caught_up")
        later.leave()
        found = sorted(places(seen) + places(later.records))
        same(f"the events around message {at}", found, wanted_places(own))


async def a_subscription_from_the_end_sends_only_what_comes_later(caller: Caller, own: str) -> None:
    await caller.append(f"account/{own}", [opened(own), deposited(own, 1)])
    settled = caller.subscribe(after_version=0, filter=EventFilter(stream=f"account/{own}"))
    await settled.taken(2)
    settled.leave()
    reader = await begun(caller, end=Empty(), filter=ours(own))
    same("the events before it caught up", places(reader.records), [])
    await caller.append(f"account/{own}", [deposited(own, 2)])
    await reader.taken(1)
    reader.leave()
    same("the events", places(reader.records), [(f"account/{own}", 3)])


async def a_subscription_after_a_version_begins_with_the_next(caller: Caller, own: str) -> None:
    await happened(caller, own)
    wanted = EventFilter(stream=f"account/{own}")
    reader = caller.subscribe(after_version=DEPOSITS, filter=wanted)
    await reader.taken(1)
    reader.leave()
    same("the events", places(reader.records), [(f"account/{own}", DEPOSITS + 1)])


async def a_subscription_from_the_beginning_sends_events_in_order(caller: Caller, own: str) -> None:
    await caller.open(own)
    reader = caller.subscribe(batch_records_max=10)
    await reader.taken(1)
    reader.leave()
    batch = reader.messages[-1].batch
    same("the first sequence of a partition", batch.sequences[0], 1)
    dense = list(range(1, len(batch.sequences) + 1))
    same("the sequences, as nothing is filtered", list(batch.sequences), dense)


async def a_filter_lets_through_what_passes_every_part_of_it(caller: Caller, own: str) -> None:
    deposits = "bank.v1.MoneyDeposited"
    stream, other = f"account/{own}", f"account/{own}-b"
    filters = [
        (EventFilter(stream=other), {(other, 1), (other, 2)}),
        (ours(own), {(stream, 1), (stream, 2), (other, 1), (other, 2)}),
        (EventFilter(stream_prefix=other, types=[deposits]), {(other, 2)}),
        (EventFilter(stream=stream, categories=["account"]), {(stream, 1), (stream, 2)}),
    ]
    starts = [await now(caller, wanted) for wanted, _ in filters]
    for account in (own, own + "-b"):
        await caller.append(f"account/{account}", [opened(account), deposited(account, 5)])
    for start, (wanted, passes) in zip(starts, filters, strict=True):
        reader = caller.subscribe(cursor=start, filter=wanted)
        await all_of(reader, len(passes))
        same("the events", sorted(places(reader.records)), sorted(passes))


async def a_checkpoint_comes_also_when_the_filter_lets_nothing_through(
    caller: Caller, own: str
) -> None:
    reader = await begun(caller, end=Empty(), filter=EventFilter(stream=f"account/{own}-nobody"))
    before = reader.cursor
    await caller.append(f"account/{own}", [opened(own)])
    checkpoint = await reader.until("checkpoint")
    reader.leave()
    same("the events", places(reader.records), [])
    holds("its cursor has moved on", cursor_of(checkpoint) != before)


async def a_silent_subscription_beats(caller: Caller, own: str) -> None:
    wanted = EventFilter(stream=f"account/{own}-nobody")
    reader = await begun(caller, end=Empty(), filter=wanted, heartbeat_interval=QUICK)
    first = (await reader.until("heartbeat")).heartbeat
    second = (await reader.until("heartbeat")).heartbeat
    reader.leave()
    passed = second.time.ToMicroseconds() - first.time.ToMicroseconds()
    holds("heartbeats tell the time", passed > 0)
    holds("a heartbeat has a cursor", first.cursor and second.cursor)


async def a_cursor_goes_with_its_filter_only(caller: Caller, own: str) -> None:
    cursor = await now(caller, ours(own))
    for wanted in (EventFilter(), EventFilter(categories=["account"])):
        call = caller.subscribe(filter=wanted, cursor=cursor).read()
        await refused(call, BAD_CURSOR)


async def a_cursor_that_this_store_did_not_make_is_refused(caller: Caller, own: str) -> None:
    await refused(caller.subscribe(cursor=own).read(), BAD_CURSOR)
    error = await refusal(caller.subscribe(cursor=OTHER_STORES_CURSOR).read())
    # Only who makes cursors in the same way can tell that another store made this one.
    known = ("FAILED_PRECONDITION CURSOR_EXPIRED", BAD_CURSOR)
    holds(f"{told(error)} is the refusal of another store's cursor", told(error) in known)


async def a_subscription_without_a_start_or_over_a_limit_is_refused(
    caller: Caller, own: str
) -> None:
    no_start = caller.queries.Subscribe(SubscribeRequest(filter=ours(own)))
    error = await refused(Reader(no_start).read(), MALFORMED)
    same("the fields named", list(error.violations), ["start"])
    await refused(caller.subscribe(after_version=1).read(), MALFORMED)
    hasty = Duration(nanos=1_000)
    await refused(caller.subscribe(heartbeat_interval=hasty).read(), MALFORMED)
    large = caller.subscribe(batch_records_max=1_001).read()
    await refused(large, "RESOURCE_EXHAUSTED LIMIT_EXCEEDED")


RULES = (
    the_first_message_confirms_and_its_cursor_gives_the_same_events,
    batches_are_in_order_within_their_limit_and_tell_sequences,
    what_is_sent_is_what_is_stored,
    all_that_was_stored_comes_before_caught_up_and_what_follows_is_live,
    a_reader_resumes_at_any_cursor_without_loss_or_repetition,
    a_subscription_from_the_end_sends_only_what_comes_later,
    a_subscription_after_a_version_begins_with_the_next,
    a_subscription_from_the_beginning_sends_events_in_order,
    a_filter_lets_through_what_passes_every_part_of_it,
    a_checkpoint_comes_also_when_the_filter_lets_nothing_through,
    a_silent_subscription_beats,
    a_cursor_goes_with_its_filter_only,
    a_cursor_that_this_store_did_not_make_is_refused,
    a_subscription_without_a_start_or_over_a_limit_is_refused,
)
