"""The bank's views: what they show, their laws, and that money is conserved."""

import random

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from bank.v1 import account_pb2 as pb
from bank.v1.views_pb2 import AccountBalance, BankTotals, StatementLine
from domains.bank.account import ACCOUNT
from domains.bank.balances import BALANCES
from domains.bank.domain import BANK
from domains.bank.statement import STATEMENT
from domains.bank.totals import TOTALS
from eventspine.domain.declare import declare
from eventspine.domain.errors import RefusalError
from eventspine.domain.given import check_view, given, happened
from eventspine.domain.view import View, ViewEvent

ADA = happened(
    "account/ada",
    pb.AccountOpened(account_id="ada", owner="Ada"),
    pb.MoneyDeposited(account_id="ada", amount_cents=100),
    pb.TransferStarted(account_id="ada", transfer_id="t", target_account_id="bob", amount_cents=40),
    pb.TransferStarted(account_id="ada", transfer_id="u", target_account_id="x", amount_cents=5),
    pb.TransferCompleted(account_id="ada", transfer_id="t", amount_cents=40),
    pb.TransferRefunded(account_id="ada", transfer_id="u", amount_cents=5),
    append_time_us=1_500_000,
)
BOB = happened(
    "account/bob",
    pb.AccountOpened(account_id="bob", owner="Bob"),
    pb.TransferReceived(
        account_id="bob", transfer_id="t", source_account_id="ada", amount_cents=40
    ),
    pb.MoneyWithdrawn(account_id="bob", amount_cents=40),
    pb.AccountClosed(account_id="bob"),
)


@pytest.mark.parametrize("view", [BALANCES, STATEMENT, TOTALS], ids=lambda view: view.name)
def test_the_laws_of_views_hold(view: View[Message]) -> None:
    assert check_view(view, [*ADA, *BOB])


def test_the_domain_is_declared_rightly() -> None:
    assert len(declare([BANK]).commands) == 8


def test_a_balance_stands_beside_what_is_pending() -> None:
    given(BALANCES, *ADA[:4]).shows(
        AccountBalance(account_id="ada", owner="Ada", balance_cents=55, pending_cents=45)
    )
    given(BALANCES, *ADA, *BOB).shows(
        AccountBalance(account_id="ada", owner="Ada", balance_cents=60),
        AccountBalance(account_id="bob", owner="Bob", closed=True),
    )


def test_a_statement_has_a_line_for_each_event_and_adds_up() -> None:
    rows = [row for row in check_view(STATEMENT, ADA, rounds=1).values()]
    assert [row.change_cents for row in rows] == [0, 100, -40, -5, 0, 5]
    assert [row.transfer_id for row in rows] == ["", "", "t", "u", "t", "u"]
    assert rows[1] == StatementLine(
        account_id="ada",
        stream_version=2,
        kind="MoneyDeposited",
        change_cents=100,
        append_time=Timestamp(seconds=2, nanos=500_000_000),
    )


def test_totals_count_money_between_accounts_apart() -> None:
    given(TOTALS, *ADA[:3], *BOB[:1]).shows(
        BankTotals(
            bank="bank",
            open_accounts=2,
            balance_cents=60,
            in_transfer_cents=40,
            deposited_cents=100,
        )
    )
    given(TOTALS, *ADA, *BOB).shows(
        BankTotals(
            bank="bank",
            open_accounts=1,
            balance_cents=60,
            deposited_cents=100,
            withdrawn_cents=40,
        )
    )


def _any_command(chance: random.Random, account_id: str) -> Message:
    other, transfer_id = chance.choice("abcz"), chance.choice("qrstuvwxyz")
    amount_cents = chance.randint(1, 50)
    money = {"account_id": account_id, "amount_cents": amount_cents}
    commands = [
        pb.OpenAccountRequest(account_id=account_id, owner="o"),
        pb.DepositRequest(**money),
        pb.WithdrawRequest(**money),
        pb.StartTransferRequest(**money, transfer_id=transfer_id, target_account_id=other),
        pb.CloseAccountRequest(account_id=account_id),
    ]
    # Seldom closed, so that much happens.
    return chance.choices(commands, weights=[20, 40, 15, 40, 1])[0]


def _carry_on(event: Message) -> list[Message]:
    """What whoever carries transfers on sends after an event; the receipt may be refused."""
    if isinstance(event, pb.TransferStarted):
        return [
            pb.ReceiveTransferRequest(
                account_id=event.target_account_id,
                transfer_id=event.transfer_id,
                source_account_id=event.account_id,
                amount_cents=event.amount_cents,
            )
        ]
    if isinstance(event, pb.TransferReceived):
        return [
            pb.CompleteTransferRequest(
                account_id=event.source_account_id, transfer_id=event.transfer_id
            )
        ]
    return []


def _a_day_at_the_bank(seed: int) -> list[ViewEvent]:
    chance = random.Random(seed)
    # Account z is never opened, so what is sent there comes back.
    streams: dict[str, list[Message]] = {name: [] for name in "abcz"}
    events: list[ViewEvent] = []
    waiting = [_any_command(chance, chance.choice("abc")) for _ in range(150)]
    while waiting:
        command = waiting.pop(0)
        history = streams[command.account_id]
        try:
            decided = ACCOUNT.decide(ACCOUNT.fold(history), command)
        except RefusalError:
            if isinstance(command, pb.ReceiveTransferRequest):
                refund = pb.RefundTransferRequest(
                    account_id=command.source_account_id, transfer_id=command.transfer_id
                )
                waiting.insert(chance.randint(0, len(waiting)), refund)
            continue
        for event in decided:
            stream, version = f"account/{command.account_id}", len(history) + 1
            history.append(event)
            events += happened(stream, event, first_version=version)
            for follow in _carry_on(event):
                waiting.insert(chance.randint(0, len(waiting)), follow)
    return events


@pytest.mark.parametrize("seed", range(5))
def test_no_cent_appears_or_vanishes(seed: int) -> None:
    events = _a_day_at_the_bank(seed)
    assert len(events) > 50
    (totals,) = check_view(TOTALS, events, seed=seed, rounds=1).values()
    balances = check_view(BALANCES, events, seed=seed, rounds=1).values()
    lines = check_view(STATEMENT, events, seed=seed, rounds=1).values()
    held = sum(row.balance_cents for row in balances)
    assert totals.balance_cents == held == sum(line.change_cents for line in lines)
    assert totals.balance_cents == totals.deposited_cents - totals.withdrawn_cents
    assert totals.in_transfer_cents == 0
    assert all(row.pending_cents == 0 for row in balances)
    assert all(row.balance_cents >= 0 for row in balances)
    assert totals.open_accounts == sum(not row.closed for row in balances)
