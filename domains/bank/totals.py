"""Shows totals over all accounts; promise: sums only, so the order across accounts is no matter.

Every account feeds the one row, so each partition of the log keeps a partial row of its own and
`merge` adds them up.
"""

from collections.abc import Sequence

from bank.v1 import account_pb2 as pb
from bank.v1.views_pb2 import BankTotals
from eventspine.domain.view import Folding, Key, View, ViewEvent

_BANK = "bank"
_KEYS: tuple[Key, ...] = ((_BANK,),)


def _keys(event: ViewEvent) -> tuple[Key, ...]:
    return _KEYS


def apply_opened(row: BankTotals, event: ViewEvent) -> BankTotals:
    """One account more."""
    row.open_accounts += 1
    return row


def apply_deposited(row: BankTotals, event: ViewEvent) -> BankTotals:
    """Money from outside."""
    row.balance_cents += event.data.amount_cents
    row.deposited_cents += event.data.amount_cents
    return row


def apply_withdrawn(row: BankTotals, event: ViewEvent) -> BankTotals:
    """Money to outside."""
    row.balance_cents -= event.data.amount_cents
    row.withdrawn_cents += event.data.amount_cents
    return row


def apply_transfer_started(row: BankTotals, event: ViewEvent) -> BankTotals:
    """Money is between two accounts."""
    row.balance_cents -= event.data.amount_cents
    row.in_transfer_cents += event.data.amount_cents
    return row


def apply_transfer_arrived(row: BankTotals, event: ViewEvent) -> BankTotals:
    """Money between two accounts came to one of them: the target, or back to the source."""
    row.balance_cents += event.data.amount_cents
    row.in_transfer_cents -= event.data.amount_cents
    return row


def apply_closed(row: BankTotals, event: ViewEvent) -> BankTotals:
    """One account less."""
    row.open_accounts -= 1
    return row


def merge(rows: Sequence[BankTotals]) -> BankTotals:
    """Adds up partial rows."""
    return BankTotals(
        bank=_BANK,
        open_accounts=sum(row.open_accounts for row in rows),
        balance_cents=sum(row.balance_cents for row in rows),
        in_transfer_cents=sum(row.in_transfer_cents for row in rows),
        deposited_cents=sum(row.deposited_cents for row in rows),
        withdrawn_cents=sum(row.withdrawn_cents for row in rows),
    )


TOTALS = View(
    row=BankTotals,
    # The completion of a transfer moves nothing: its money was received before.
    foldings={
        pb.AccountOpened: Folding(_keys, apply_opened),
        pb.MoneyDeposited: Folding(_keys, apply_deposited),
        pb.MoneyWithdrawn: Folding(_keys, apply_withdrawn),
        pb.TransferStarted: Folding(_keys, apply_transfer_started),
        pb.TransferReceived: Folding(_keys, apply_transfer_arrived),
        pb.TransferRefunded: Folding(_keys, apply_transfer_arrived),
        pb.AccountClosed: Folding(_keys, apply_closed),
    },
    merge=merge,
)
