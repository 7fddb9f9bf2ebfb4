"""What tells commands apart, and what is remembered of them."""

from typing import Any

import pytest

from bank.v1 import account_pb2 as pb
from command_svc.encode import digest_request
from command_svc.recent import RecentCommands
from eventspine.storage.records import CommandRow
from eventspine.v1.command_pb2 import CommandHeader
from eventspine.v1.record_pb2 import Expectation


def digest(amount: int = 5, account: str = "a", **header: Any) -> bytes:
    head = CommandHeader(command_id="c", **header)
    request = pb.DepositRequest(header=head, account_id=account, amount_cents=amount)
    return digest_request(request)[0]


@pytest.mark.parametrize(
    "other",
    [
        digest(metadata={"k": "v"}),
        digest(correlation_id="x", causation_id="y"),
        digest(dry_run=True),
    ],
)
def test_a_repeat_with_other_circumstances_is_the_same_command(other: bytes) -> None:
    assert other == digest()


@pytest.mark.parametrize(
    "other",
    [
        digest(amount=6),
        digest(account="b"),
        digest(expected=Expectation(version=1)),
        digest_request(pb.WithdrawRequest(account_id="a", amount_cents=5))[0],
    ],
)
def test_other_content_is_another_command(other: bytes) -> None:
    assert other != digest()


def test_the_length_of_the_header_makes_no_other_command() -> None:
    assert digest(metadata={"k": "v" * 500}) == digest(correlation_id="x" * 100) == digest()


def test_a_digest_is_the_one_that_earlier_versions_have_stored() -> None:
    stored = "8010ef4340564fc47358a870f4032fae638c6fdd7ab7f4d948416fbeadf47d28"
    assert digest(expected=Expectation(version=1)).hex() == stored


def test_a_digest_leaves_the_request_as_it_was() -> None:
    request = pb.DepositRequest(header=CommandHeader(command_id="c"), account_id="a")
    before = request.SerializeToString()
    digest_request(request)
    assert request.SerializeToString() == before


def test_the_last_commands_are_remembered_and_older_ones_are_not() -> None:
    recent = RecentCommands(10)
    rows = [CommandRow(f"c{n}", b"", n, 1, 0) for n in range(100)]
    for row in rows:
        recent.put("s", row)
    assert all(recent.get("s", row.command_id) == row for row in rows[-10:])
    assert sum(recent.get("s", row.command_id) is not None for row in rows) < 20
    assert recent.get("other", "c99") is None
