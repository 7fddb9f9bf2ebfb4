"""The account's deciders, in sentences."""

import pytest
from google.protobuf.message import Message

from bank.v1 import account_pb2 as pb
from domains.bank.account import ACCOUNT, BALANCE_CENTS_MAX
from eventspine.domain.given import check_aggregate, given

OPENED = pb.AccountOpened(account_id="a", owner="Ada")
DEPOSITED = pb.MoneyDeposited(account_id="a", amount_cents=100)
STARTED = pb.TransferStarted(
    account_id="a", transfer_id="t", target_account_id="b", amount_cents=40
)
COMPLETED = pb.TransferCompleted(account_id="a", transfer_id="t", amount_cents=40)
REFUNDED = pb.TransferRefunded(account_id="a", transfer_id="t", amount_cents=40)
RECEIVED = pb.TransferReceived(
    account_id="a", transfer_id="t", source_account_id="s", amount_cents=40
)
CLOSED = pb.AccountClosed(account_id="a")

OPEN = pb.OpenAccountRequest(account_id="a", owner="Ada")
DEPOSIT = pb.DepositRequest(account_id="a", amount_cents=100)
WITHDRAW = pb.WithdrawRequest(account_id="a", amount_cents=30)
START = pb.StartTransferRequest(
    account_id="a", transfer_id="t", target_account_id="b", amount_cents=40
)
RECEIVE = pb.ReceiveTransferRequest(
    account_id="a", transfer_id="t", source_account_id="s", amount_cents=40
)
COMPLETE = pb.CompleteTransferRequest(account_id="a", transfer_id="t")
REFUND = pb.RefundTransferRequest(account_id="a", transfer_id="t")
CLOSE = pb.CloseAccountRequest(account_id="a")
COMMANDS = [OPEN, DEPOSIT, WITHDRAW, START, RECEIVE, COMPLETE, REFUND, CLOSE]


@pytest.mark.parametrize(
    "history",
    [
        [OPENED, DEPOSITED, STARTED, RECEIVED, COMPLETED],
        [OPENED, DEPOSITED, RECEIVED, STARTED, REFUNDED],
        [OPENED, CLOSED],
    ],
)
def test_the_laws_of_deciders_hold(history: list[Message]) -> None:
    check_aggregate(ACCOUNT, history, COMMANDS, repeatable={pb.DepositRequest, pb.WithdrawRequest})


def test_an_account_is_opened_once() -> None:
    given(ACCOUNT).when(OPEN).then(OPENED)
    given(ACCOUNT, OPENED).when(OPEN).refused(pb.ACCOUNT_REFUSAL_ALREADY_OPEN)
    given(ACCOUNT, OPENED, CLOSED).when(OPEN).refused(pb.ACCOUNT_REFUSAL_ALREADY_OPEN)


@pytest.mark.parametrize("owner", ["", "x" * 201])
def test_an_owner_is_required_and_short(owner: str) -> None:
    command = pb.OpenAccountRequest(account_id="a", owner=owner)
    given(ACCOUNT).when(command).refused(pb.ACCOUNT_REFUSAL_OWNER_INVALID, "200 characters")


def test_money_goes_in_and_out_of_an_open_account() -> None:
    given(ACCOUNT, OPENED).when(DEPOSIT).then(DEPOSITED)
    withdrawn = pb.MoneyWithdrawn(account_id="a", amount_cents=30)
    given(ACCOUNT, OPENED, DEPOSITED).when(WITHDRAW).then(withdrawn)
    given(ACCOUNT, OPENED, DEPOSITED, withdrawn).state(
        pb.AccountState(opened=True, balance_cents=70)
    )


@pytest.mark.parametrize("command", [DEPOSIT, WITHDRAW, START, RECEIVE, CLOSE])
def test_an_account_that_is_not_open_does_nothing(command: Message) -> None:
    given(ACCOUNT).when(command).refused(pb.ACCOUNT_REFUSAL_NOT_OPEN, "open it first")
    given(ACCOUNT, OPENED, CLOSED).when(command).refused(pb.ACCOUNT_REFUSAL_CLOSED)


@pytest.mark.parametrize("amount_cents", [0, -1, 10**15 + 1, 2**63 - 1])
@pytest.mark.parametrize("command", [DEPOSIT, WITHDRAW, START, RECEIVE])
def test_an_amount_is_1_to_10_to_the_15_cents(command: Message, amount_cents: int) -> None:
    wrong = type(command).FromString(command.SerializeToString())
    wrong.amount_cents = amount_cents
    given(ACCOUNT, OPENED).when(wrong).refused(pb.ACCOUNT_REFUSAL_AMOUNT_INVALID, "amount_cents")


@pytest.mark.parametrize("command", [WITHDRAW, START])
def test_no_more_leaves_than_the_balance(command: Message) -> None:
    little = pb.MoneyDeposited(account_id="a", amount_cents=29)
    given(ACCOUNT, OPENED, little).when(command).refused(pb.ACCOUNT_REFUSAL_INSUFFICIENT_FUNDS)


def test_money_that_is_pending_cannot_be_spent_again() -> None:
    command = pb.WithdrawRequest(account_id="a", amount_cents=61)
    given(ACCOUNT, OPENED, DEPOSITED, STARTED).when(command).refused(
        pb.ACCOUNT_REFUSAL_INSUFFICIENT_FUNDS
    )


@pytest.mark.parametrize("command", [DEPOSIT, RECEIVE])
def test_an_account_has_a_largest_balance_and_pending_money_counts(command: Message) -> None:
    full = pb.MoneyDeposited(account_id="a", amount_cents=BALANCE_CENTS_MAX)
    sent = pb.TransferStarted(
        account_id="a", transfer_id="u", target_account_id="b", amount_cents=BALANCE_CENTS_MAX
    )
    given(ACCOUNT, OPENED, full).when(command).refused(pb.ACCOUNT_REFUSAL_BALANCE_TOO_LARGE)
    given(ACCOUNT, OPENED, full, sent).when(command).refused(pb.ACCOUNT_REFUSAL_BALANCE_TOO_LARGE)


def test_a_transfer_starts_once_and_keeps_its_money_pending() -> None:
    given(ACCOUNT, OPENED, DEPOSITED).when(START).then(STARTED)
    given(ACCOUNT, OPENED, DEPOSITED, STARTED).when(START).then()
    given(ACCOUNT, OPENED, DEPOSITED, STARTED, COMPLETED).when(START).then()
    given(ACCOUNT, OPENED, DEPOSITED, STARTED).state(
        pb.AccountState(opened=True, balance_cents=60, pending_cents={"t": 40})
    )


@pytest.mark.parametrize(
    "command",
    [
        pb.StartTransferRequest(account_id="a", target_account_id="b", amount_cents=1),
        pb.StartTransferRequest(account_id="a", transfer_id="t", amount_cents=1),
        pb.StartTransferRequest(
            account_id="a", transfer_id="t", target_account_id="a", amount_cents=1
        ),
        pb.StartTransferRequest(
            account_id="a", transfer_id="t" * 201, target_account_id="b", amount_cents=1
        ),
        pb.ReceiveTransferRequest(account_id="a", source_account_id="s", amount_cents=1),
        pb.ReceiveTransferRequest(account_id="a", transfer_id="t", amount_cents=1),
    ],
)
def test_a_transfer_names_itself_and_another_account(command: Message) -> None:
    given(ACCOUNT, OPENED, DEPOSITED).when(command).refused(pb.ACCOUNT_REFUSAL_TRANSFER_INVALID)


def test_a_transfer_is_received_once_per_source() -> None:
    given(ACCOUNT, OPENED).when(RECEIVE).then(RECEIVED)
    given(ACCOUNT, OPENED, RECEIVED).when(RECEIVE).then()
    other = pb.ReceiveTransferRequest(
        account_id="a", transfer_id="t", source_account_id="s2", amount_cents=40
    )
    received = pb.TransferReceived(
        account_id="a", transfer_id="t", source_account_id="s2", amount_cents=40
    )
    given(ACCOUNT, OPENED, RECEIVED).when(other).then(received)


def test_ids_with_a_slash_are_not_taken_for_one_another() -> None:
    received = pb.TransferReceived(
        account_id="a", transfer_id="c", source_account_id="s/b", amount_cents=1
    )
    command = pb.ReceiveTransferRequest(
        account_id="a", transfer_id="b/c", source_account_id="s", amount_cents=1
    )
    given(ACCOUNT, OPENED, received).when(command).then(
        pb.TransferReceived(
            account_id="a", transfer_id="b/c", source_account_id="s", amount_cents=1
        )
    )


def test_a_transfer_ends_one_way_only() -> None:
    pending = [OPENED, DEPOSITED, STARTED]
    given(ACCOUNT, *pending).when(COMPLETE).then(COMPLETED)
    given(ACCOUNT, *pending, COMPLETED).when(COMPLETE).then()
    given(ACCOUNT, *pending, COMPLETED).when(REFUND).refused(pb.ACCOUNT_REFUSAL_TRANSFER_ENDED)
    given(ACCOUNT, *pending).when(REFUND).then(REFUNDED)
    given(ACCOUNT, *pending, REFUNDED).when(REFUND).then()
    given(ACCOUNT, *pending, REFUNDED).when(COMPLETE).refused(pb.ACCOUNT_REFUSAL_TRANSFER_ENDED)


@pytest.mark.parametrize("command", [COMPLETE, REFUND])
def test_a_transfer_that_never_started_cannot_end(command: Message) -> None:
    given(ACCOUNT, OPENED).when(command).refused(pb.ACCOUNT_REFUSAL_TRANSFER_UNKNOWN)


def test_a_refund_gives_the_money_back() -> None:
    given(ACCOUNT, OPENED, DEPOSITED, STARTED, REFUNDED).state(
        pb.AccountState(opened=True, balance_cents=100, ended_transfers={"t": False})
    )


def test_only_an_empty_account_is_closed() -> None:
    given(ACCOUNT, OPENED).when(CLOSE).then(CLOSED)
    given(ACCOUNT, OPENED, DEPOSITED).when(CLOSE).refused(pb.ACCOUNT_REFUSAL_NOT_EMPTY)
    everything = pb.TransferStarted(
        account_id="a", transfer_id="t", target_account_id="b", amount_cents=100
    )
    given(ACCOUNT, OPENED, DEPOSITED, everything).when(CLOSE).refused(
        pb.ACCOUNT_REFUSAL_NOT_EMPTY, "1 pending"
    )
