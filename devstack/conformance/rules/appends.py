"""Rules of the generic append and of the bulk path."""

import hashlib

from google.protobuf.message import Message

from bank.v1 import account_pb2 as bank
from devstack.conformance.caller import (
    ANYHOW,
    Caller,
    depositing,
    header,
    opening,
    packed,
    withdrawing,
)
from devstack.conformance.rule import holds, refused, same
from devstack.conformance.rules.commands import MALFORMED, REUSED
from eventspine.v1.command_pb2 import AppendRequest, CommandVerdict, NewEvent
from eventspine.v1.record_pb2 import Expectation

TOO_MUCH = "RESOURCE_EXHAUSTED LIMIT_EXCEEDED"
UNKNOWN = "INVALID_ARGUMENT TYPE_UNKNOWN"
CHAIN_BYTES = 34
"""How much of an encoded record its chain hash takes, at the end."""


def opened(own: str) -> bank.AccountOpened:
    """Returns the first event of an account."""
    return bank.AccountOpened(account_id=own, owner="Ann")


def deposited(own: str, cents: int) -> bank.MoneyDeposited:
    """Returns a later event of an account."""
    return bank.MoneyDeposited(account_id=own, amount_cents=cents)


async def an_append_stores_all_its_events_in_order(caller: Caller, own: str) -> None:
    stream, events = f"account/{own}", [opened(own), deposited(own, 1), deposited(own, 2)]
    result = await caller.append(stream, events)
    same("version and events", (result.last_version, result.event_count), (3, 3))
    records = await caller.records(stream)
    same("the payloads", [r.payload for r in records], [e.SerializeToString() for e in events])
    same("the versions", [r.stream_version for r in records], [1, 2, 3])
    await caller.withdraw(own, 3)


async def an_append_without_an_expectation_is_refused(caller: Caller, own: str) -> None:
    for expected in (None, Expectation()):
        call = caller.append(f"account/{own}", [opened(own)], expected=expected)
        error = await refused(call, MALFORMED)
        named = [path.startswith("header.expected") for path in error.violations]
        same("whether the fields named are of the expectation", named, [True])


async def an_append_sent_again_stores_nothing_and_other_content_is_refused(
    caller: Caller, own: str
) -> None:
    stream = f"account/{own}"
    first = await caller.append(stream, [opened(own)], command_id="one")
    await caller.append(stream, [deposited(own, 1)])
    again = await caller.append(stream, [opened(own)], command_id="one")
    found = (again.last_version, again.replayed)
    same("version and replayed", found, (first.last_version, True))
    await refused(caller.append(stream, [deposited(own, 9)], command_id="one"), REUSED)
    same("the events stored", len(await caller.records(stream)), 2)


async def one_bad_event_stores_none_of_its_append(caller: Caller, own: str) -> None:
    bad = NewEvent(type="bank.v1.MoneyDeposited", payload=b"\xff")
    request = AppendRequest(
        header=header(expected=ANYHOW),
        stream=f"account/{own}",
        events=[packed(opened(own)), bad],
    )
    error = await refused(caller.commands.Append(request), MALFORMED)
    same("the fields named", list(error.violations), ["events[1].payload"])
    await refused(caller.records(f"account/{own}"), "NOT_FOUND STREAM_NOT_FOUND")


async def an_event_of_a_type_that_nobody_declares_is_refused(caller: Caller, own: str) -> None:
    request = AppendRequest(
        header=header(expected=ANYHOW),
        stream=f"account/{own}",
        events=[NewEvent(type="no.Such")],
    )
    error = await refused(caller.commands.Append(request), UNKNOWN)
    same("the type told", error.metadata.get("type"), "no.Such")


async def a_stream_without_a_category_or_of_an_unknown_one_is_refused(
    caller: Caller, own: str
) -> None:
    for stream in ("", own, f"no-such-category/{own}", "account/"):
        error = await refused(caller.append(stream, [opened(own)]), MALFORMED)
        same("the fields named", list(error.violations), ["stream"])


async def more_than_1000_events_or_an_event_over_1_mib_is_refused_and_the_limit_told(
    caller: Caller, own: str
) -> None:
    stream = f"account/{own}"
    many = await refused(caller.append(stream, [deposited(own, 1)] * 1_001), TOO_MUCH)
    told_of = (many.metadata.get("maximum"), many.metadata.get("actual"))
    same("maximum and actual", told_of, ("1000", "1001"))
    large = bank.AccountOpened(account_id=own, owner="x" * 1024 * 1024)
    big = await refused(caller.append(stream, [large]), TOO_MUCH)
    same("maximum", big.metadata.get("maximum"), str(1024 * 1024))


async def what_ties_events_together_is_kept_beside_them(caller: Caller, own: str) -> None:
    request = AppendRequest(
        header=header(
            "mine",
            expected=ANYHOW,
            metadata={"who": "Zoë"},
            correlation_id="larger",
            causation_id="cause",
        ),
        stream=f"account/{own}",
        events=[packed(opened(own)), packed(deposited(own, 1))],
    )
    request.events[1].event_id = "chosen"
    await caller.commands.Append(request)
    for record, event_id in zip(
        await caller.records(request.stream), ("mine.0", "chosen"), strict=True
    ):
        found = (record.event_id, record.command_id, record.correlation_id, record.causation_id)
        same("the ids", found, (event_id, "mine", "larger", "cause"))
        same("the metadata", dict(record.metadata), {"who": "Zoë"})


async def the_chain_of_a_stream_can_be_computed_again(caller: Caller, own: str) -> None:
    await caller.append(f"account/{own}", [opened(own), deposited(own, 1), deposited(own, 2)])
    before = bytes(32)
    for record in await caller.records(f"account/{own}"):
        encoded = record.SerializeToString()[:-CHAIN_BYTES]
        before = hashlib.sha256(before + encoded).digest()
        same("the chain hash", record.chain_hash, before)


def outcome(verdict: CommandVerdict) -> str:
    """Says what became of a command."""
    if verdict.HasField("result"):
        return f"stored {verdict.result.last_version}"
    return f"{verdict.failure.code} {verdict.failure.domain} {verdict.failure.reason}"


async def every_command_of_a_bulk_has_a_verdict_and_streams_keep_their_order(
    caller: Caller, own: str
) -> None:
    accounts = [f"{own}-{n}" for n in range(5)]
    batches: list[list[Message]] = [[opening(account) for account in accounts]]
    batches += [[depositing(account, turn) for account in accounts] for turn in range(1, 21)]
    ids = [c.header.command_id for batch in batches for c in batch]  # type: ignore[attr-defined] # all are commands
    verdicts = await caller.execute(*batches)
    same("the ids of the verdicts", sorted(v.command_id for v in verdicts), sorted(ids))
    same("the verdicts", {v.WhichOneof("verdict") for v in verdicts}, {"result"})
    amounts = [
        bank.MoneyDeposited.FromString(record.payload).amount_cents
        for record in await caller.records(f"account/{accounts[3]}", from_version=2)
    ]
    same("the deposits in order", amounts, list(range(1, 21)))
    again = await caller.execute(*batches)
    same("whether each was replayed", {v.result.replayed for v in again}, {True})


async def commands_of_a_bulk_fail_each_for_itself(caller: Caller, own: str) -> None:
    await caller.open(own, cents=10)
    await caller.deposit(own, 2, command_id="same")
    wanted = {
        "good": (depositing(own, 1, command_id="good"), "stored 4"),
        "poor": (
            withdrawing(own, 1_000, command_id="poor"),
            "9 bank.v1 ACCOUNT_REFUSAL_INSUFFICIENT_FUNDS",
        ),
        "late": (
            depositing(own, 1, command_id="late", expected=Expectation(version=1)),
            "10 eventspine.v1 ERROR_REASON_STREAM_VERSION_CONFLICT",
        ),
        "same": (
            depositing(own, 3, command_id="same"),
            "6 eventspine.v1 ERROR_REASON_COMMAND_ID_REUSED",
        ),
        "nameless": (
            depositing("", 1, command_id="nameless"),
            "3 eventspine.v1 ERROR_REASON_INVALID_REQUEST",
        ),
        "last": (withdrawing(own, 5, command_id="last"), "stored 5"),
    }
    verdicts = await caller.execute([command for command, _ in wanted.values()])
    found = {verdict.command_id: outcome(verdict) for verdict in verdicts}
    same("what became of each", found, {name: said for name, (_, said) in wanted.items()})


async def an_empty_batch_of_a_bulk_is_refused_and_an_unknown_command_has_its_verdict(
    caller: Caller, own: str
) -> None:
    await refused(caller.execute([]), MALFORMED)
    verdicts = await caller.execute([opened(own), opening(own)])
    found = sorted(outcome(verdict) for verdict in verdicts)
    same("the verdicts", found, ["3 eventspine.v1 ERROR_REASON_TYPE_UNKNOWN", "stored 1"])
    (unknown,) = [v.failure for v in verdicts if v.HasField("failure")]
    holds("the failure tells the type", unknown.metadata["type"] == "bank.v1.AccountOpened")


RULES = (
    an_append_stores_all_its_events_in_order,
    an_append_without_an_expectation_is_refused,
    an_append_sent_again_stores_nothing_and_other_content_is_refused,
    one_bad_event_stores_none_of_its_append,
    an_event_of_a_type_that_nobody_declares_is_refused,
    a_stream_without_a_category_or_of_an_unknown_one_is_refused,
    more_than_1000_events_or_an_event_over_1_mib_is_refused_and_the_limit_told,
    what_ties_events_together_is_kept_beside_them,
    the_chain_of_a_stream_can_be_computed_again,
    every_command_of_a_bulk_has_a_verdict_and_streams_keep_their_order,
    commands_of_a_bulk_fail_each_for_itself,
    an_empty_batch_of_a_bulk_is_refused_and_an_unknown_command_has_its_verdict,
)
