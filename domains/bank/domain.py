"""Declares the bank domain: accounts, their balances and statements, and totals over all."""

from bank.v1 import account_pb2, views_pb2
from domains.bank.account import ACCOUNT
from domains.bank.balances import BALANCES
from domains.bank.statement import STATEMENT
from domains.bank.totals import TOTALS
from eventspine.domain.domain import Domain

BANK = Domain(
    name="bank",
    protos=(account_pb2, views_pb2),
    aggregates=(ACCOUNT,),
    views=(BALANCES, STATEMENT, TOTALS),
)
