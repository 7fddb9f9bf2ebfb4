"""What is over a limit or malformed is refused with the field's name, and stores nothing."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from bank.v1 import account_pb2 as pb
from eventspine.rpc.errors import InvalidRequestError, LimitExceededError, TypeUnknownError
from eventspine.rpc.limits import EVENT_BYTES_MAX, EVENTS_MAX, METADATA_BYTES_MAX
from eventspine.storage.connect import open_memory
from eventspine.v1.command_pb2 import AppendRequest, NewEvent, WaitFor
from eventspine.v1.record_pb2 import Expectation
from tests.command.bank_service import (
    BankService,
    anyhow,
    append_request,
    deposit,
    header,
    opening,
    running,
)

OPENED = pb.AccountOpened(account_id="a", owner="Ann")


def payload(size: int) -> bytes:
    """Returns an encoded AccountOpened of exactly `size` bytes, over 128 KiB."""
    overhead = pb.AccountOpened(owner="x" * 200_000).ByteSize() - 200_000
    return pb.AccountOpened(owner="x" * (size - overhead)).SerializeToString()


def large(*sizes: int) -> AppendRequest:
    request = append_request(expected=anyhow())
    for size in sizes:
        request.events.add(type="bank.v1.AccountOpened", payload=payload(size))
    return request


@pytest.mark.parametrize(
    "request_",
    [
        large(EVENT_BYTES_MAX),
        large(*[EVENT_BYTES_MAX] * 4),
        append_request(*[OPENED] * EVENTS_MAX, expected=anyhow()),
        opening("a" * 200, "c" * 200),
        opening(metadata={"k": "v" * (METADATA_BYTES_MAX - 1)}),
    ],
    ids=["1 MiB", "4 MiB", "1,000 events", "ids", "metadata"],
)
async def test_what_is_just_inside_a_limit_is_stored(request_: Message) -> None:
    async with running(open_memory()) as bank:
        assert (await bank.call(request_)).event_count >= 1


@pytest.mark.parametrize(
    "request_",
    [
        large(EVENT_BYTES_MAX + 1),
        large(*[EVENT_BYTES_MAX] * 3, EVENT_BYTES_MAX - 200_000, 200_001),
        append_request(*[OPENED] * (EVENTS_MAX + 1), expected=anyhow()),
        opening(metadata={"k": "v" * METADATA_BYTES_MAX}),
        pb.OpenAccountRequest(header=header(), account_id="a", owner="x" * 4 * 1024 * 1024),
    ],
    ids=["1 MiB + 1", "4 MiB + 1", "1,001 events", "metadata", "typed command"],
)
async def test_what_is_just_over_a_limit_is_refused_and_stores_nothing(request_: Message) -> None:
    async with running(open_memory()) as bank:
        with pytest.raises(LimitExceededError) as refused:
            await bank.call(request_)
        assert int(refused.value.metadata["actual"]) > int(refused.value.metadata["maximum"])
        assert bank.store.appends == []


def with_event(**fields: Any) -> AppendRequest:
    request = append_request(expected=anyhow())
    request.events.append(NewEvent(**{"type": "bank.v1.AccountOpened", **fields}))
    return request


def an_event_id_that_another_event_gets() -> AppendRequest:
    request = append_request(OPENED, OPENED, command_id="mine", expected=anyhow())
    request.events[0].event_id = "mine.1"
    return request


def twice_the_same_event_id() -> AppendRequest:
    request = append_request(OPENED, OPENED, expected=anyhow())
    for event in request.events:
        event.event_id = "same"
    return request


def waiting(**fields: Any) -> pb.OpenAccountRequest:
    return opening(wait_for=WaitFor(**fields))


SECOND = Duration(seconds=1)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.DepositRequest(account_id="a", amount_cents=1), "header.command_id"),
        (opening(command_id="c" * 201), "header.command_id"),
        (opening(command_id="a\x00b"), "header.command_id"),
        (opening(correlation_id="c" * 201), "header.correlation_id"),
        (opening(causation_id="\n"), "header.causation_id"),
        (opening(expected=Expectation()), "header.expected"),
        (opening(expected=Expectation(version=0)), "header.expected.version"),
        (opening(""), "account_id"),
        (opening("a" * 201), "account_id"),
        (append_request(OPENED), "header.expected"),
        (append_request(expected=anyhow()), "events"),
        (append_request(OPENED, stream="nothing", expected=anyhow()), "stream"),
        (append_request(OPENED, stream="Account/a", expected=anyhow()), "stream"),
        (append_request(OPENED, stream="unknown/a", expected=anyhow()), "stream"),
        (with_event(type=""), "events[0].type"),
        (with_event(event_id="x" * 201), "events[0].event_id"),
        (with_event(payload=b"\xff\xff"), "events[0].payload"),
        (twice_the_same_event_id(), "events"),
        (an_event_id_that_another_event_gets(), "events"),
        (waiting(views=["no.such.View"], max_wait=SECOND), "header.wait_for.views[0]"),
        (waiting(), "header.wait_for.max_wait"),
        (waiting(max_wait=Duration(seconds=31)), "header.wait_for.max_wait"),
        (waiting(max_wait=Duration(seconds=-1)), "header.wait_for.max_wait"),
    ],
)
async def test_a_malformed_field_is_named_and_nothing_is_stored(
    request_: Message, field: str
) -> None:
    async with running(open_memory()) as bank:
        with pytest.raises(InvalidRequestError) as refused:
            await bank.call(request_)
        assert [violation.field for violation in refused.value.violations] == [field]
        assert (bank.store.appends, bank.store.reads) == ([], 0)


async def test_an_event_of_an_unknown_type_is_refused(bank: BankService) -> None:
    with pytest.raises(TypeUnknownError) as refused:
        await bank.call(with_event(type="no.such.Event"))
    assert refused.value.metadata == {"type": "no.such.Event"}
    with pytest.raises(TypeUnknownError):
        await bank.call(with_event(type="bank.v1.DepositRequest"))
    assert bank.store.appends == []


async def test_appended_events_count_for_the_decider(bank: BankService) -> None:
    await bank.call(append_request(OPENED, expected=anyhow()))
    assert (await bank.call(deposit())).last_version == 2


async def test_a_client_may_choose_the_ids_of_its_events(bank: BankService) -> None:
    request = append_request(OPENED, OPENED, expected=anyhow(), command_id="mine")
    request.events[0].event_id = "chosen"
    await bank.call(request)
    assert [record.event_id for record in await bank.records()] == ["chosen", "mine.1"]
