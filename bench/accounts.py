"""The work that is measured: deposits to a thousand open accounts, one small event each."""

import itertools
from collections.abc import Iterable, Iterator

from bank.v1.account_pb2 import DepositRequest, OpenAccountRequest

ACCOUNTS = 1_000

_numbers = itertools.count(1)


def account_id(number: int) -> str:
    """Returns the id of an account, which are counted from 0."""
    return f"account-{number:05}"


def openings(count: int = ACCOUNTS) -> list[OpenAccountRequest]:
    """Returns the commands that open the accounts."""
    requests = []
    for number in range(count):
        request = OpenAccountRequest(account_id=account_id(number), owner=f"Owner {number}")
        request.header.command_id = f"open-{number}"
        requests.append(request)
    return requests


def deposits(count: int, accounts: int = ACCOUNTS) -> list[DepositRequest]:
    """Returns new deposits to the accounts in turn; no command id comes twice in a process."""
    return list(_deposits(itertools.islice(_numbers, count), accounts))


def _deposits(numbers: Iterable[int], accounts: int) -> Iterator[DepositRequest]:
    for number in numbers:
        request = DepositRequest(account_id=account_id(number % accounts), amount_cents=100)
        request.header.command_id = f"deposit-{number:09}"
        yield request
