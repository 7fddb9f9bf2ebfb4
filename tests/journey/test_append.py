"""The generic append: events that a client has decided itself, under the expectation it names."""

import asyncio

import pytest
from google.protobuf.empty_pb2 import Empty

from bank.v1 import account_pb2 as bank
from eventspine.v1.command_pb2 import AppendRequest, NewEvent
from eventspine.v1.record_pb2 import Expectation
from flights.v1 import flight_pb2
from tests.journey.user import ANYHOW, BALANCES, User, header, packed, projected, refusal, told

OPENED = bank.AccountOpened(account_id="ann", owner="Ann")


def deposited(cents: int) -> bank.MoneyDeposited:
    return bank.MoneyDeposited(account_id="ann", amount_cents=cents)


async def test_events_that_a_client_decided_are_stored_all_at_once_and_shown(user: User) -> None:
    events = [OPENED, deposited(3), deposited(4)]
    result = await user.append("account/ann", events, wait_for=projected(BALANCES))
    assert (result.stream, result.last_version, result.event_count) == ("account/ann", 3, 3)
    records = await user.records("account/ann")
    assert [record.payload for record in records] == [e.SerializeToString() for e in events]
    assert (await user.balance("ann")).row.balance_cents == 7
    # Typed commands are decided on what was appended.
    assert (await user.deposit("ann", 1)).last_version == 4


async def test_event_ids_are_the_clients_or_derived_from_the_command(user: User) -> None:
    request = AppendRequest(
        header=header("mine", expected=ANYHOW),
        stream="account/ann",
        events=[packed(OPENED), packed(deposited(1))],
    )
    request.events[1].event_id = "chosen"
    await user.commands.Append(request)
    ids = [record.event_id for record in await user.records("account/ann")]
    assert ids == ["mine.0", "chosen"]


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        (Expectation(version=2), True),
        (Expectation(version=1), False),
        (Expectation(version=3), False),
        (Expectation(no_stream=Empty()), False),
        (Expectation(stream_exists=Empty()), True),
        (Expectation(any=Empty()), True),
    ],
    ids=["version", "older", "newer", "no_stream", "stream_exists", "any"],
)
async def test_each_expectation_on_a_stream_with_events(
    user: User, expected: Expectation, holds: bool
) -> None:
    await user.append("account/ann", [OPENED, deposited(1)])
    append = user.append("account/ann", [deposited(2)], expected=expected)
    if holds:
        assert (await append).last_version == 3
        return
    error = await refusal(append)
    assert told(error) == "ABORTED STREAM_VERSION_CONFLICT"
    assert error.conflict is not None
    assert error.conflict.actual_version == 2
    records = await user.records("account/ann")
    assert len(records) == 2
    known = expected.version if expected.HasField("version") else 0
    assert list(error.conflict.missed) == records[known:]


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        (Expectation(version=1), False),
        (Expectation(no_stream=Empty()), True),
        (Expectation(stream_exists=Empty()), False),
        (Expectation(any=Empty()), True),
    ],
    ids=["version", "no_stream", "stream_exists", "any"],
)
async def test_each_expectation_on_a_stream_without_events(
    user: User, expected: Expectation, holds: bool
) -> None:
    append = user.append("account/ann", [OPENED], expected=expected)
    if holds:
        assert (await append).last_version == 1
        return
    error = await refusal(append)
    assert error.conflict is not None
    assert (error.conflict.actual_version, list(error.conflict.missed)) == (0, [])


@pytest.mark.parametrize("expected", [None, Expectation()], ids=["absent", "empty"])
async def test_an_append_without_an_expectation_is_refused(
    user: User, expected: Expectation | None
) -> None:
    error = await refusal(user.append("account/ann", [OPENED], expected=expected))
    assert told(error) == "INVALID_ARGUMENT INVALID_REQUEST"
    assert [path.startswith("header.expected") for path in error.violations] == [True]


async def test_an_append_takes_effect_once(user: User) -> None:
    first = await user.append("account/ann", [OPENED], command_id="one")
    # What was expected then is not asked again: the first answer stands.
    await user.append("account/ann", [deposited(1)])
    again = await user.append("account/ann", [OPENED], command_id="one")
    assert (again.last_version, again.replayed) == (first.last_version, True)
    other = await refusal(user.append("account/ann", [deposited(9)], command_id="one"))
    assert told(other) == "ALREADY_EXISTS COMMAND_ID_REUSED"
    assert len(await user.records("account/ann")) == 2


async def test_an_event_belongs_to_the_category_of_its_stream(user: User) -> None:
    foreign = flight_pb2.FlightCancelled(flight_id="f")
    error = await refusal(user.append("account/ann", [foreign]))
    assert told(error) == "INVALID_ARGUMENT INVALID_REQUEST"
    assert "category `flight`, not `account`" in error.violations["events[0].type"]


async def test_one_bad_event_stores_none_of_its_append(user: User) -> None:
    request = AppendRequest(
        header=header(expected=ANYHOW),
        stream="account/ann",
        events=[packed(OPENED), NewEvent(type="bank.v1.MoneyDeposited", payload=b"\xff")],
    )
    error = await refusal(user.commands.Append(request))
    assert list(error.violations) == ["events[1].payload"]
    assert told(await refusal(user.deposit("ann", 1))) == "NOT_FOUND ACCOUNT_REFUSAL_NOT_OPEN"


async def test_of_writers_that_expect_the_same_version_one_wins(user: User) -> None:
    await user.append("account/ann", [OPENED])
    expected = Expectation(version=1)
    attempts = [
        asyncio.ensure_future(user.append("account/ann", [deposited(n)], expected=expected))
        for n in range(1, 21)
    ]
    done = await asyncio.gather(*attempts, return_exceptions=True)
    won = [result for result in done if not isinstance(result, BaseException)]
    assert [result.last_version for result in won] == [2]
    assert len(await user.records("account/ann")) == 2


async def test_an_append_may_be_tried_dry(user: User) -> None:
    result = await user.append("account/ann", [OPENED, deposited(2)], dry_run=True)
    assert [packed.TypeName() for packed in result.would_append] == [
        "bank.v1.AccountOpened",
        "bank.v1.MoneyDeposited",
    ]
    assert (result.last_version, result.event_count, result.token) == (0, 0, "")
    assert told(await refusal(user.deposit("ann", 1))) == "NOT_FOUND ACCOUNT_REFUSAL_NOT_OPEN"
