"""Shows the statement of each account; promise: one line an event, and the lines add up."""

from bank.v1 import account_pb2 as pb
from bank.v1.views_pb2 import StatementLine
from eventspine.domain.view import Folding, Key, View, ViewEvent

_MICROSECONDS = 1_000_000


def _keys(event: ViewEvent) -> tuple[Key, ...]:
    return ((event.data.account_id, event.stream_version),)


def _line(row: StatementLine, event: ViewEvent, change_cents: int) -> StatementLine:
    row.kind = event.data.DESCRIPTOR.name
    row.change_cents = change_cents
    seconds, microseconds = divmod(event.append_time_us, _MICROSECONDS)
    time = row.append_time
    time.seconds = seconds
    time.nanos = microseconds * 1_000
    return row


def apply_no_money(row: StatementLine, event: ViewEvent) -> StatementLine:
    """The account was opened or closed."""
    return _line(row, event, 0)


def apply_money_in(row: StatementLine, event: ViewEvent) -> StatementLine:
    """A deposit."""
    return _line(row, event, event.data.amount_cents)


def apply_money_out(row: StatementLine, event: ViewEvent) -> StatementLine:
    """A withdrawal."""
    return _line(row, event, -event.data.amount_cents)


def apply_transfer_in(row: StatementLine, event: ViewEvent) -> StatementLine:
    """A transfer came in, or came back."""
    row.transfer_id = event.data.transfer_id
    return _line(row, event, event.data.amount_cents)


def apply_transfer_out(row: StatementLine, event: ViewEvent) -> StatementLine:
    """A transfer left."""
    row.transfer_id = event.data.transfer_id
    return _line(row, event, -event.data.amount_cents)


def apply_transfer_completed(row: StatementLine, event: ViewEvent) -> StatementLine:
    """A transfer ended; its money had left before."""
    row.transfer_id = event.data.transfer_id
    return _line(row, event, 0)


STATEMENT = View(
    row=StatementLine,
    foldings={
        pb.AccountOpened: Folding(_keys, apply_no_money),
        pb.MoneyDeposited: Folding(_keys, apply_money_in),
        pb.MoneyWithdrawn: Folding(_keys, apply_money_out),
        pb.TransferStarted: Folding(_keys, apply_transfer_out),
        pb.TransferReceived: Folding(_keys, apply_transfer_in),
        pb.TransferCompleted: Folding(_keys, apply_transfer_completed),
        pb.TransferRefunded: Folding(_keys, apply_transfer_in),
        pb.AccountClosed: Folding(_keys, apply_no_money),
    },
)
