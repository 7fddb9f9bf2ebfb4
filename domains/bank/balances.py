"""Shows the balance of each account; promise: one row an account, fed by its own stream only."""

from bank.v1 import account_pb2 as pb
from bank.v1.views_pb2 import AccountBalance
from eventspine.domain.view import Folding, Key, View, ViewEvent


def _keys(event: ViewEvent) -> tuple[Key, ...]:
    return ((event.data.account_id,),)


def apply_opened(row: AccountBalance, event: ViewEvent) -> AccountBalance:
    """The row begins with its owner."""
    row.owner = event.data.owner
    return row


def apply_money_in(row: AccountBalance, event: ViewEvent) -> AccountBalance:
    """A deposit, or the receipt of a transfer."""
    row.balance_cents += event.data.amount_cents
    return row


def apply_money_out(row: AccountBalance, event: ViewEvent) -> AccountBalance:
    """A withdrawal."""
    row.balance_cents -= event.data.amount_cents
    return row


def apply_transfer_started(row: AccountBalance, event: ViewEvent) -> AccountBalance:
    """Money waits for the other account."""
    row.balance_cents -= event.data.amount_cents
    row.pending_cents += event.data.amount_cents
    return row


def apply_transfer_completed(row: AccountBalance, event: ViewEvent) -> AccountBalance:
    """Money that waited is gone."""
    row.pending_cents -= event.data.amount_cents
    return row


def apply_transfer_refunded(row: AccountBalance, event: ViewEvent) -> AccountBalance:
    """Money that waited is back."""
    row.pending_cents -= event.data.amount_cents
    row.balance_cents += event.data.amount_cents
    return row


def apply_closed(row: AccountBalance, event: ViewEvent) -> AccountBalance:
    """The row stays, marked."""
    row.closed = True
    return row


BALANCES = View(
    row=AccountBalance,
    foldings={
        pb.AccountOpened: Folding(_keys, apply_opened),
        pb.MoneyDeposited: Folding(_keys, apply_money_in),
        pb.MoneyWithdrawn: Folding(_keys, apply_money_out),
        pb.TransferStarted: Folding(_keys, apply_transfer_started),
        pb.TransferReceived: Folding(_keys, apply_money_in),
        pb.TransferCompleted: Folding(_keys, apply_transfer_completed),
        pb.TransferRefunded: Folding(_keys, apply_transfer_refunded),
        pb.AccountClosed: Folding(_keys, apply_closed),
    },
)
