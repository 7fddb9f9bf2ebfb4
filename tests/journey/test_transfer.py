"""A transfer between two accounts: two steps, each safe to repeat, whoever carries it on."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from bank.v1 import account_pb2 as bank
from bank.v1 import views_pb2
from devstack.embedded import Embedded
from domains.bank.domain import BANK
from eventspine.v1.query_pb2 import GetStateRequest, QueryHeader
from tests.journey.user import User, header, refusal, showing, told

REFUSED = "FAILED_PRECONDITION ACCOUNT_REFUSAL_CLOSED"


class CrashError(Exception):
    """Whoever carried the transfer on has died."""


@dataclass
class Transfer:
    """Carries a transfer on, from its first step, and dies after some steps if it is told to."""

    user: User
    dies_after: int = 99
    cents: int = 30

    async def run(self) -> str:
        """Starts the transfer, and ends it; returns how it ended."""
        self._left = self.dies_after
        await self._step(self.start)
        try:
            await self._step(self.receive)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            await self._step(self.refund)
            return "refunded"
        await self._step(self.complete)
        return "completed"

    async def _step(self, step: Callable[[], Awaitable[object]]) -> None:
        if not self._left:
            raise CrashError
        self._left -= 1
        await step()

    async def start(self) -> bank.StartTransferResponse:
        return await self.user.accounts.StartTransfer(
            bank.StartTransferRequest(
                header=header(),
                account_id="ann",
                transfer_id="t1",
                target_account_id="bob",
                amount_cents=self.cents,
            )
        )

    async def receive(self) -> bank.ReceiveTransferResponse:
        return await self.user.accounts.ReceiveTransfer(
            bank.ReceiveTransferRequest(
                header=header(),
                account_id="bob",
                transfer_id="t1",
                source_account_id="ann",
                amount_cents=self.cents,
            )
        )

    async def complete(self) -> bank.CompleteTransferResponse:
        return await self.user.accounts.CompleteTransfer(
            bank.CompleteTransferRequest(header=header(), account_id="ann", transfer_id="t1")
        )

    async def refund(self) -> bank.RefundTransferResponse:
        return await self.user.accounts.RefundTransfer(
            bank.RefundTransferRequest(header=header(), account_id="ann", transfer_id="t1")
        )


async def kinds(user: User, account: str) -> list[str]:
    records = await user.records(f"account/{account}")
    return [record.type.removeprefix("bank.v1.") for record in records]


async def totals(user: User, *tokens: str) -> views_pb2.BankTotals:
    request = views_pb2.GetBankTotalsRequest(
        header=QueryHeader(**showing("~".join(tokens))), bank="bank"
    )
    return (await user.balances.GetBankTotals(request)).row


async def close(user: User, account: str) -> None:
    request = bank.CloseAccountRequest(header=header(), account_id=account)
    await user.accounts.CloseAccount(request)


async def pending(user: User) -> dict[str, int]:
    reply = await user.queries.GetState(GetStateRequest(stream="account/ann"))
    state = bank.AccountState()
    reply.state.Unpack(state)
    return dict(state.pending_cents)


async def test_money_is_pending_until_the_target_has_received_it(user: User) -> None:
    await user.open("ann", cents=100)
    # The transfer's tokens speak of Ann's stream until Bob has received it.
    await user.balance("bob", **showing((await user.open("bob")).token))
    transfer = Transfer(user)
    shown: list[Sequence[int]] = []
    for step in (transfer.start, transfer.receive, transfer.complete):
        token = (await step()).result.token
        row = await totals(user, token)
        ann = (await user.balance("ann", **showing(token))).row
        bob = (await user.balance("bob", **showing(token))).row
        shown.append(
            (ann.balance_cents, ann.pending_cents, bob.balance_cents, row.in_transfer_cents)
        )
        assert row.balance_cents + row.in_transfer_cents == 100
    assert shown == [(70, 30, 0, 30), (70, 30, 30, 0), (70, 0, 30, 0)]


@pytest.mark.parametrize("steps_done", [0, 1, 2, 3])
async def test_whoever_carries_a_transfer_on_after_a_crash_repeats_what_may_be_done(
    user: User, steps_done: int
) -> None:
    await user.open("ann", cents=100)
    await user.open("bob")
    if steps_done < 3:
        with pytest.raises(CrashError):
            await Transfer(user, dies_after=steps_done).run()
    else:
        await Transfer(user).run()
    # The next one does not know how far the first came, and has other command ids.
    assert await Transfer(user).run() == "completed"
    assert await kinds(user, "ann") == [
        "AccountOpened",
        "MoneyDeposited",
        "TransferStarted",
        "TransferCompleted",
    ]
    assert await kinds(user, "bob") == ["AccountOpened", "TransferReceived"]
    # The totals are fed by both accounts, and each command's token speaks of one of them only.
    tokens = [(await user.deposit(account, 1)).token for account in ("ann", "bob")]
    row = await totals(user, *tokens)
    assert (row.balance_cents, row.in_transfer_cents, row.deposited_cents) == (102, 0, 102)


@pytest.mark.parametrize("steps_done", [1, 2, 3])
async def test_what_the_target_refuses_comes_back_once(user: User, steps_done: int) -> None:
    await user.open("ann", cents=100)
    await user.open("bob")
    await close(user, "bob")
    if steps_done < 3:
        with pytest.raises(CrashError):
            await Transfer(user, dies_after=steps_done).run()
    assert told(await refusal(Transfer(user).receive())) == REFUSED
    assert await Transfer(user).run() == "refunded"
    assert await Transfer(user).run() == "refunded"
    assert (await kinds(user, "ann"))[2:] == ["TransferStarted", "TransferRefunded"]
    assert await kinds(user, "bob") == ["AccountOpened", "AccountClosed"]
    token = (await user.deposit("ann", 1)).token
    assert (await user.balance("ann", **showing(token))).row.balance_cents == 101
    assert (await totals(user, token)).in_transfer_cents == 0


async def test_a_transfer_ends_one_way_only(user: User) -> None:
    await user.open("ann", cents=100)
    await user.open("bob")
    await Transfer(user).run()
    error = await refusal(Transfer(user).refund())
    assert told(error) == "FAILED_PRECONDITION ACCOUNT_REFUSAL_TRANSFER_ENDED"
    with pytest.raises(grpc.aio.AioRpcError):
        await Transfer(user, cents=71).start()
        request = bank.CompleteTransferRequest(header=header(), account_id="ann", transfer_id="no")
        await user.accounts.CompleteTransfer(request)
    assert await pending(user) == {}


async def test_a_transfer_is_found_pending_and_ended_after_a_restart(tmp_path: Path) -> None:
    db = tmp_path / "events.db"
    async with (
        Embedded([BANK], db=db) as platform,
        grpc.aio.insecure_channel(platform.address) as channel,
    ):
        user = User(channel)
        await user.open("ann", cents=100)
        await user.open("bob")
        with pytest.raises(CrashError):
            await Transfer(user, dies_after=2).run()
    async with (
        Embedded([BANK], db=db) as platform,
        grpc.aio.insecure_channel(platform.address) as channel,
    ):
        user = User(channel)
        assert await pending(user) == {"t1": 30}
        assert await Transfer(user).run() == "completed"
        assert await pending(user) == {}
        token = (await user.deposit("bob", 1)).token
        assert (await user.balance("bob", **showing(token))).row.balance_cents == 31
        assert (await totals(user, token)).in_transfer_cents == 0
