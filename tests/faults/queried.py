"""The rows of the bank's views as queries answer them, in the shape in which `folding` has them."""

from typing import Any

from bank.v1 import views_pb2
from eventspine.client.client import Client
from eventspine.v1.query_pb2 import STALE_POLICY_FAIL, ListRowsRequest, QueryHeader
from tests.faults.folding import Rows

VIEWS = (views_pb2.AccountBalance, views_pb2.StatementLine, views_pb2.BankTotals)


async def rows_of(client: Client, token: str) -> Rows:
    """Reads all rows of the bank's views; an empty token demands nothing of them."""
    header = QueryHeader(token=token, stale_policy=STALE_POLICY_FAIL)
    found: Rows = {}
    for kind in VIEWS:
        async for batch in client.read(
            ListRowsRequest(header=header, view=kind.DESCRIPTOR.full_name)
        ):
            for packed in batch.rows:
                found.update([row_of(kind.FromString(packed.value))])
    return found


def row_of(row: Any) -> tuple[tuple[str, str], object]:
    if isinstance(row, views_pb2.AccountBalance):
        return ("balance", row.account_id), row.balance_cents
    if isinstance(row, views_pb2.StatementLine):
        return ("statement", f"{row.account_id} {row.stream_version}"), row.change_cents
    totals = row.open_accounts, row.balance_cents, row.deposited_cents, row.withdrawn_cents
    return ("totals", row.bank), totals
