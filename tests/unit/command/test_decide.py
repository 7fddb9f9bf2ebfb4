"""Deciding is pure: state and command in, events out."""

from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.message import Message

from bank.v1 import account_pb2 as pb
from command_svc.command import Category, Expected, categories
from command_svc.decide import check_sizes, decide_command, evolve_state, met
from domains.bank.domain import BANK
from eventspine.domain.aggregate import Aggregate
from eventspine.domain.declare import declare
from eventspine.domain.errors import DomainDefectError, RefusalError
from eventspine.rpc.errors import LimitExceededError
from eventspine.rpc.limits import EVENT_BYTES_MAX, EVENTS_MAX
from eventspine.v1.error_reason_pb2 import ErrorReason

ACCOUNT = categories(declare([BANK]))["account"]
COMMAND = pb.DepositRequest(account_id="a", amount_cents=5)


def category(decided: Any) -> Category:
    """Returns the accounts' category with a decider that returns, or raises, `decided`."""

    def decide(state: Any, command: Any) -> Sequence[Message]:
        if isinstance(decided, Exception):
            raise decided
        return decided  # type: ignore[no-any-return]

    aggregate = Aggregate(
        category="account",
        state=pb.AccountState,
        deciders={pb.DepositRequest: decide},
        evolvers=ACCOUNT.aggregate.evolvers,
        refusals=pb.AccountRefusal.DESCRIPTOR,
    )
    return Category("account", aggregate, ACCOUNT.by_class, ACCOUNT.by_name)


def test_events_come_with_their_type_and_encoding() -> None:
    event = pb.MoneyDeposited(account_id="a", amount_cents=5)
    (decided,) = decide_command(category([event]), pb.AccountState(), COMMAND)
    assert decided.type.name == "bank.v1.MoneyDeposited"
    assert decided.payload == event.SerializeToString()
    assert len(decided.type.fingerprint) == 8


def test_events_that_are_decided_already_stay_as_they_are() -> None:
    events = decide_command(category([pb.AccountOpened()]), pb.AccountState(), COMMAND)
    assert decide_command(ACCOUNT, None, events) is events


def test_nothing_to_do_is_no_event() -> None:
    assert decide_command(category([]), pb.AccountState(), COMMAND) == ()


def test_a_refusal_goes_through() -> None:
    with pytest.raises(RefusalError, match="never opened"):
        decide_command(ACCOUNT, pb.AccountState(), COMMAND)


@pytest.mark.parametrize(
    "decided",
    [
        ZeroDivisionError("a defect"),
        [pb.AccountState()],
        ["no message"],
        None,
        RefusalError(ErrorReason.DESCRIPTOR.values[1], "not ours"),
    ],
    ids=["raises", "an undeclared event", "no message", "nothing at all", "a foreign refusal"],
)
def test_what_a_decider_must_not_do_is_a_defect_of_the_domain(decided: Any) -> None:
    with pytest.raises(DomainDefectError):
        decide_command(category(decided), pb.AccountState(), COMMAND)


def test_a_failing_evolver_is_a_defect_of_the_domain() -> None:
    events = decide_command(category([pb.AccountOpened()]), pb.AccountState(), COMMAND)
    with pytest.raises(DomainDefectError, match="AccountOpened"):
        evolve_state(ACCOUNT, None, events)


def test_the_state_after_the_events_is_the_evolvers() -> None:
    events = decide_command(category([pb.AccountOpened()]), pb.AccountState(), COMMAND)
    assert evolve_state(ACCOUNT, pb.AccountState(), events).opened


@pytest.mark.parametrize(
    ("event", "count"),
    [
        (pb.AccountOpened(), EVENTS_MAX + 1),
        (pb.AccountOpened(owner="x" * EVENT_BYTES_MAX), 1),
        (pb.AccountOpened(owner="x" * (EVENT_BYTES_MAX - 4)), 5),
    ],
    ids=["too many", "one too large", "together too large"],
)
def test_events_over_a_limit_are_refused(event: Message, count: int) -> None:
    with pytest.raises(LimitExceededError):
        decide_command(category([event] * count), pb.AccountState(), COMMAND)


def test_events_just_inside_the_limits_are_decided() -> None:
    full = pb.AccountOpened(owner="x" * (EVENT_BYTES_MAX - 4))
    assert full.ByteSize() == EVENT_BYTES_MAX
    check_sizes(decide_command(category([full] * 4), pb.AccountState(), COMMAND))


@pytest.mark.parametrize(
    ("expected", "versions"),
    [
        (None, {0, 1, 2}),
        (Expected("any", 0), {0, 1, 2}),
        (Expected("version", 2), {2}),
        (Expected("no_stream", 0), {0}),
        (Expected("stream_exists", 0), {1, 2}),
    ],
)
def test_an_expectation_is_met_at_its_versions_only(
    expected: Expected | None, versions: set[int]
) -> None:
    assert {version for version in range(3) if met(expected, version)} == versions
