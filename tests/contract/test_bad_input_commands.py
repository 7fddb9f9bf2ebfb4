"""Bad commands over real gRPC: each is refused with its field and its cure, and stores nothing."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from bank.v1 import account_pb2 as pb
from eventspine.client.errors import CallError
from eventspine.rpc import limits
from eventspine.v1.command_pb2 import AppendRequest, CommandHeader, NewEvent, WaitFor
from eventspine.v1.query_pb2 import GetStreamRequest
from eventspine.v1.record_pb2 import Expectation
from flights.v1 import flight_pb2
from tests.contract.calling import (
    Caller,
    anyhow,
    appending,
    bank_and_flights,
    calling,
    deposit,
    header,
    opening,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

BAD_IDS = {
    "over-long": "x" * 201,
    "over-long in bytes only": "ü" * 101,
    "not in NFC form": "e\u0301",
    "with a control character": "a\nb",
    "with a NUL": "a\0",
    "with a line separator": "a\u2028",
    "with a right-to-left override": "a\u202e",
    "with a non-character": "a\uffff",
}
TOO_MUCH = "RESOURCE_EXHAUSTED LIMIT_EXCEEDED"
MALFORMED = "INVALID_ARGUMENT INVALID_REQUEST"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", "sqlite"])
async def caller(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Caller]:
    """A platform whose account `a` is at version 1, and another caller beside the bad one."""
    folder: Path = tmp_path_factory.mktemp("store")
    db = folder / "store.db" if request.param == "sqlite" else None
    async with calling(bank_and_flights(db)) as first:
        await first.one(opening("a"))
        yield first


def wait(**fields: Any) -> CommandHeader:
    return header(wait_for=WaitFor(**fields))


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(value * 1e9))
    return duration


def event(**fields: Any) -> NewEvent:
    known = {"type": "bank.v1.MoneyDeposited"}
    return NewEvent(**{**known, **fields})


def events(*new: NewEvent, **fields: Any) -> AppendRequest:
    return AppendRequest(
        **{"header": header(expected=anyhow()), "stream": "account/a", "events": new, **fields}
    )


def of_size(size: int) -> NewEvent:
    """Returns an event whose payload has exactly so many bytes."""
    opened = pb.AccountOpened(owner="x" * (size - 8))
    opened.owner += "x" * (size - opened.ByteSize())
    assert opened.ByteSize() == size
    return event(type="bank.v1.AccountOpened", payload=opened.SerializeToString())


WRONG_FIELDS: dict[str, tuple[Callable[[], Message], str]] = {
    **{
        f"a command id {how}": (lambda bad=bad: deposit(command_id=bad), "header.command_id")
        for how, bad in {**BAD_IDS, "missing": ""}.items()
    },
    **{
        f"an account id {how}": (lambda bad=bad: deposit(bad), "account_id")
        for how, bad in {**BAD_IDS, "missing": ""}.items()
    },
    **{
        f"a correlation id {how}": (
            lambda bad=bad: deposit(correlation_id=bad),
            "header.correlation_id",
        )
        for how, bad in BAD_IDS.items()
    },
    **{
        f"a stream's id {how}": (lambda bad=bad: events(event(), stream=f"account/{bad}"), "stream")
        for how, bad in {**BAD_IDS, "missing": ""}.items()
    },
    **{
        f"the stream {bad!r}": (lambda bad=bad: events(event(), stream=bad), "stream")
        for bad in ("", "account", "/a", "Account/a", "acc ount/a", f"{'a' * 65}/a", "nobody/a")
    },
    "a causation id over-long": (
        lambda: deposit(causation_id="x" * 201),
        "header.causation_id",
    ),
    "a metadata key that is empty": (lambda: deposit(metadata={"": "v"}), "header.metadata key"),
    "no header": (lambda: pb.DepositRequest(account_id="a"), "header.command_id"),
    "an expectation of no kind": (lambda: deposit(expected=Expectation()), "header.expected"),
    "an expectation of version 0": (
        lambda: deposit(expected=Expectation(version=0)),
        "header.expected.version",
    ),
    "no expectation on Append": (lambda: events(event(), header=header()), "header.expected"),
    "no events": (events, "events"),
    "an event id over-long": (lambda: events(event(event_id="x" * 201)), "events[0].event_id"),
    "an event id twice": (lambda: events(event(event_id="e"), event(event_id="e")), "events"),
    "an event without a type": (lambda: events(event(type="")), "events[0].type"),
    "a type with a control character": (lambda: events(event(type="a\0")), "events[0].type"),
    "an event of another category": (
        lambda: events(event(), event(type="flights.v1.FlightDeparted")),
        "events[1].type",
    ),
    "a payload of garbage": (lambda: events(event(payload=b"\xff" * 9)), "events[0].payload"),
    "a payload cut short": (lambda: events(event(payload=b"\x0a\x05ab")), "events[0].payload"),
    "a payload without UTF-8": (
        lambda: events(event(payload=b"\x0a\x01\xff")),
        "events[0].payload",
    ),
    "a wait without a limit": (
        lambda: pb.DepositRequest(header=wait(), account_id="a"),
        "header.wait_for.max_wait",
    ),
    "a wait for an unknown view": (
        lambda: pb.DepositRequest(
            header=wait(views=["no.v1.Such"], max_wait=seconds(1)), account_id="a"
        ),
        "header.wait_for.views[0]",
    ),
    **{
        f"a wait of {value} s": (
            lambda value=value: pb.DepositRequest(
                header=wait(max_wait=seconds(value)), account_id="a"
            ),
            "header.wait_for.max_wait",
        )
        for value in (0, -1, 30.1, 9_000_000_000)
    },
    "a wait of no duration": (
        lambda: pb.DepositRequest(
            header=wait(max_wait=Duration(seconds=2**63 - 1, nanos=-1)), account_id="a"
        ),
        "header.wait_for.max_wait",
    ),
}


OVER_LIMITS: dict[str, tuple[Callable[[], Message], str, int]] = {
    "a payload of 1 MiB + 1": (
        lambda: events(of_size(limits.EVENT_BYTES_MAX + 1)),
        "event_bytes",
        limits.EVENT_BYTES_MAX,
    ),
    "1,001 events": (lambda: events(*[event()] * 1_001), "events", 1_000),
    "metadata of 16 KiB + 1": (
        lambda: deposit(metadata={"k": "v" * limits.METADATA_BYTES_MAX}),
        "metadata_bytes",
        limits.METADATA_BYTES_MAX,
    ),
    "a command of 4 MiB + 1": (
        lambda: pb.OpenAccountRequest(
            header=header(), account_id="b", owner="x" * limits.COMMAND_BYTES_MAX
        ),
        "command_bytes",
        limits.COMMAND_BYTES_MAX,
    ),
    "events of 4 MiB + 1": (
        lambda: events(*[of_size(limits.EVENT_BYTES_MAX)] * 4, event(payload=b"\x10\x01")),
        "command_bytes",
        limits.COMMAND_BYTES_MAX,
    ),
    "a request of 5 MiB": (
        lambda: pb.OpenAccountRequest(header=header(), account_id="b", owner="x" * (5 << 20)),
        "request_bytes",
        limits.REQUEST_BYTES_MAX,
    ),
}


async def check_nothing_happened(caller: Caller) -> None:
    """The stream is where it was, and others are served."""
    assert (await caller.one(GetStreamRequest(stream="account/a"))).last_version == 1
    other = await caller.one(deposit("a", dry_run=True))
    assert len(other.result.would_append) == 1


def reason_of(error: CallError) -> str:
    assert error.domain == "eventspine.v1"
    return f"{error.code.name} {error.reason.removeprefix('ERROR_REASON_')}"


@pytest.mark.parametrize("how", WRONG_FIELDS)
async def test_a_malformed_command_is_refused_and_its_field_named(caller: Caller, how: str) -> None:
    make, field = WRONG_FIELDS[how]
    error = await caller.refusal(make())
    assert reason_of(error) == MALFORMED
    assert list(error.violations) == [field]
    await check_nothing_happened(caller)


@pytest.mark.parametrize("how", OVER_LIMITS)
async def test_a_command_over_a_limit_is_refused_and_the_limit_named(
    caller: Caller, how: str
) -> None:
    make, limit, maximum = OVER_LIMITS[how]
    error = await caller.refusal(make())
    assert reason_of(error) == TOO_MUCH
    assert (error.metadata["limit"], error.metadata["maximum"]) == (limit, str(maximum))
    assert int(error.metadata["actual"]) > maximum
    await check_nothing_happened(caller)


async def test_what_is_exactly_at_the_limits_is_stored_and_read_back(caller: Caller) -> None:
    full = of_size(limits.EVENT_BYTES_MAX)
    stored = await caller.one(events(full, stream=f"account/{'x' * 200}"))
    assert stored.result.last_version == 1
    many = await caller.one(events(*[event()] * 1_000, stream="account/many"))
    assert many.result.last_version == 1_000
    largest = await caller.one(events(*[full] * 3, stream="account/large"))
    assert largest.result.last_version == 3


async def test_an_event_of_no_declared_type_is_refused_by_its_name(caller: Caller) -> None:
    for name in ("no.v1.Such", "bank.v1.AccountState", "bank.v1.AccountBalance", "MoneyDeposited"):
        error = await caller.refusal(events(event(), event(type=name)))
        assert reason_of(error) == "INVALID_ARGUMENT TYPE_UNKNOWN"
        assert error.metadata["type"] == name
        assert "events[1].type" in error.status.message
    await check_nothing_happened(caller)


async def test_an_expected_version_that_no_stream_can_reach_is_a_conflict(caller: Caller) -> None:
    for version in (2, 2**63, 2**64 - 1):
        for request in (deposit, appending):
            arguments = [pb.MoneyDeposited()] if request is appending else []
            error = await caller.refusal(request(*arguments, expected=Expectation(version=version)))
            assert reason_of(error) == "ABORTED STREAM_VERSION_CONFLICT"
            assert error.conflict is not None
            assert (error.conflict.actual_version, len(error.conflict.missed)) == (1, 0)
    await check_nothing_happened(caller)


def packed(name: str, value: bytes = b"", *, prefix: str = "type.googleapis.com/") -> AnyMessage:
    return AnyMessage(type_url=f"{prefix}{name}", value=value)


@pytest.mark.parametrize(
    "batch",
    [
        [packed("bank.v1.DepositRequest", b"\xff")],
        [packed("bank.v1.DepositRequest", b"\x12\x01\xff")],
        [packed("bank.v1.DepositRequest", b"\x0a\x7f")],
        [],
    ],
    ids=["garbage", "no UTF-8", "cut short", "empty"],
)
async def test_a_batch_with_a_command_that_is_no_message_stores_nothing_at_all(
    caller: Caller, batch: list[AnyMessage]
) -> None:
    error = await caller.bulk_refusal([deposit("a"), *batch] if batch else [])
    assert reason_of(error) == MALFORMED
    assert list(error.violations) == ["commands[1]" if batch else "commands"]
    await check_nothing_happened(caller)


@pytest.mark.parametrize(
    ("batch", "limit"),
    [
        ([deposit("a")] * 1_001, "commands"),
        ([packed("bank.v1.DepositRequest", bytes(limits.COMMAND_BYTES_MAX + 1))], "command_bytes"),
        ([packed("bank.v1.DepositRequest", bytes(5 << 20))], "request_bytes"),
    ],
    ids=["1,001 commands", "over 4 MiB", "5 MiB"],
)
async def test_a_batch_over_a_limit_ends_the_stream_and_stores_nothing(
    caller: Caller, batch: list[Any], limit: str
) -> None:
    error = await caller.bulk_refusal(batch)
    assert reason_of(error) == TOO_MUCH
    assert error.metadata["limit"] == limit
    await check_nothing_happened(caller)


async def test_wrong_types_in_a_batch_are_verdicts_and_the_others_are_decided(
    caller: Caller,
) -> None:
    wrong = [
        packed("no.v1.Such"),
        packed("bank.v1.MoneyDeposited"),
        packed("eventspine.v1.AppendRequest"),
        packed("", prefix=""),
        packed("google.protobuf.Any"),
        packed("bank.v1.DepositRequest", b"", prefix="x/y\0/"),
        deposit("", command_id="no account"),
        flight_pb2.DepartFlightRequest(header=header("no flight"), flight_id="\n"),
        opening("a", command_id="open already"),
    ]
    good = opening("from a batch", command_id="good")
    verdicts = await caller.verdicts([*wrong, good])
    assert len(verdicts) == len(wrong) + 1
    failed = {v.command_id: v.failure for v in verdicts if v.HasField("failure") and v.command_id}
    assert {name: failure.reason for name, failure in failed.items()} == {
        "no account": "ERROR_REASON_INVALID_REQUEST",
        "no flight": "ERROR_REASON_INVALID_REQUEST",
        "open already": "ACCOUNT_REFUSAL_ALREADY_OPEN",
    }
    nameless = [v.failure.reason for v in verdicts if not v.command_id]
    assert sorted(nameless) == ["ERROR_REASON_INVALID_REQUEST"] + ["ERROR_REASON_TYPE_UNKNOWN"] * 5
    (stored,) = [v for v in verdicts if v.HasField("result")]
    assert (stored.command_id, stored.result.last_version) == ("good", 1)
