"""What the bank's views have to show, folded from records by code that shares none with them."""

from collections import defaultdict
from collections.abc import Iterable

from bank.v1 import account_pb2 as pb
from eventspine.v1.record_pb2 import EventRecord
from tests.faults.checker import Entry

Rows = dict[tuple[str, str], object]
"""By view and key: balances, statements and totals."""


def folded(log: Iterable[Entry]) -> Rows:
    """Folds the records of opened accounts, deposits and withdrawals."""
    balances: dict[str, int] = defaultdict(int)
    rows: Rows = {}
    opened = deposited = withdrawn = 0
    for entry in log:
        record = EventRecord.FromString(entry.encoded)
        account, change = record.stream.removeprefix("account/"), 0
        if record.type == "bank.v1.AccountOpened":
            opened += 1
        elif record.type == "bank.v1.MoneyDeposited":
            change = pb.MoneyDeposited.FromString(record.payload).amount_cents
            deposited += change
        elif record.type == "bank.v1.MoneyWithdrawn":
            change = -pb.MoneyWithdrawn.FromString(record.payload).amount_cents
            withdrawn -= change
        balances[account] += change
        rows["statement", f"{account} {record.stream_version}"] = change
    rows |= {("balance", account): cents for account, cents in balances.items()}
    if opened:
        rows["totals", "bank"] = (opened, deposited - withdrawn, deposited, withdrawn)
    return rows
