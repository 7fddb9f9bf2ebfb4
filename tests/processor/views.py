"""Views over the bank's events that fail when they are told to, for the processor's suites."""

from collections.abc import Sequence
from typing import Any

from bank.v1 import account_pb2 as account
from bank.v1 import views_pb2 as rows
from eventspine.domain.declared import Declarations, ViewDeclaration
from eventspine.domain.options import key_fields
from eventspine.domain.view import Folding, Key, View, ViewEvent

BALANCE = "bank.v1.AccountBalance"
TOTALS = "bank.v1.BankTotals"


class Poison:
    """Which events cannot be applied at the moment, or their keys not be told."""

    def __init__(self) -> None:
        self.amounts: set[int] = set()
        self.keyless: set[int] = set()

    def check(self, amount_cents: int) -> None:
        if amount_cents in self.amounts:
            raise ValueError(f"cannot apply {amount_cents}")


def declarations(poison: Poison, *, versions: Sequence[int] = (1, 2)) -> Declarations:
    """Declares balances in some code versions, and totals in one.

    Version 2 of the balances folds as version 1 does, version 3 counts every deposit twice.
    """
    balance = rows.AccountBalance
    return Declarations(
        commands={},
        queries=(),
        events={},
        views={
            BALANCE: ViewDeclaration(
                name=BALANCE,
                row=balance,
                key_fields=tuple(key_fields(balance.DESCRIPTOR)),
                partition_field_count=1,
                versions={version: _balances(poison, version) for version in versions},
            ),
            TOTALS: ViewDeclaration(
                name=TOTALS,
                row=rows.BankTotals,
                key_fields=tuple(key_fields(rows.BankTotals.DESCRIPTOR)),
                partition_field_count=1,
                versions={1: _totals()},
            ),
        },
        aggregates={},
    )


def _balances(poison: Poison, version: int) -> View[rows.AccountBalance]:
    def keys(event: ViewEvent) -> list[Key]:
        if getattr(event.data, "amount_cents", 0) in poison.keyless:
            raise ValueError("cannot tell the keys")
        return [(event.data.account_id,)]

    def deposited(row: Any, event: ViewEvent) -> Any:
        # What was changed before the error must not be seen.
        row.balance_cents += event.data.amount_cents * (2 if version == 3 else 1)
        row.owner = event.data.account_id
        poison.check(event.data.amount_cents)
        return row

    def closed(row: Any, event: ViewEvent) -> Any:
        return None

    return View(
        row=rows.AccountBalance,
        foldings={
            account.MoneyDeposited: Folding(keys, deposited),
            account.AccountClosed: Folding(keys, closed),
        },
        version=version,
    )


def _totals() -> View[rows.BankTotals]:
    def deposited(row: Any, event: ViewEvent) -> Any:
        row.deposited_cents += event.data.amount_cents
        return row

    def merge(partials: Sequence[Any]) -> Any:
        return rows.BankTotals(
            bank="bank", deposited_cents=sum(row.deposited_cents for row in partials)
        )

    return View(
        row=rows.BankTotals,
        foldings={account.MoneyDeposited: Folding(lambda event: [("bank",)], deposited)},
        merge=merge,
    )
