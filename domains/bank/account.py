"""Decides commands to one account; promise: no cent appears or vanishes, and a repeat is harmless.

A transfer takes two accounts, and one append goes to one stream, so it takes two steps. The source
keeps the money pending from `TransferStarted` until it hears how the transfer ended: received by
the target (`TransferCompleted`) or refused there (`TransferRefunded`). Every step may be repeated.
"""

from collections.abc import Sequence

from google.protobuf.message import Message

from bank.v1 import account_pb2 as pb
from eventspine.domain.aggregate import Aggregate
from eventspine.domain.errors import RefusalError
from eventspine.domain.refusal import refuse

AMOUNT_CENTS_MAX = 10**15
BALANCE_CENTS_MAX = 10**15
OWNER_CHARACTERS_MAX = 200
TRANSFER_ID_BYTES_MAX = 200

Events = Sequence[Message]
NOTHING: Events = ()


def _refuse(value: int, text: str, /, **metadata: str) -> RefusalError:
    return refuse(pb.AccountRefusal, value, text, **metadata)


def _check_amount(amount_cents: int) -> None:
    if not 1 <= amount_cents <= AMOUNT_CENTS_MAX:
        raise _refuse(
            pb.ACCOUNT_REFUSAL_AMOUNT_INVALID,
            f"amount_cents is {amount_cents}; send 1 to {AMOUNT_CENTS_MAX}",
            field="amount_cents",
        )


def _check_opened(state: pb.AccountState, account_id: str) -> None:
    if not state.opened:
        raise _refuse(
            pb.ACCOUNT_REFUSAL_NOT_OPEN,
            f"account {account_id} was never opened; open it first",
            account_id=account_id,
        )


def _check_open(state: pb.AccountState, account_id: str) -> None:
    _check_opened(state, account_id)
    if state.closed:
        raise _refuse(
            pb.ACCOUNT_REFUSAL_CLOSED,
            f"account {account_id} is closed; use another one",
            account_id=account_id,
        )


def _check_room(state: pb.AccountState, amount_cents: int) -> None:
    """Money that is pending may come back, so it counts as held."""
    held_cents = state.balance_cents + sum(state.pending_cents.values())
    if held_cents + amount_cents > BALANCE_CENTS_MAX:
        raise _refuse(
            pb.ACCOUNT_REFUSAL_BALANCE_TOO_LARGE,
            f"the account holds {held_cents} cents, pending ones included, and may hold at most "
            f"{BALANCE_CENTS_MAX}; put in less",
            held_cents=str(held_cents),
        )


def _check_funds(state: pb.AccountState, amount_cents: int) -> None:
    if state.balance_cents < amount_cents:
        raise _refuse(
            pb.ACCOUNT_REFUSAL_INSUFFICIENT_FUNDS,
            f"the balance is {state.balance_cents} cents, under {amount_cents}; take out less",
            balance_cents=str(state.balance_cents),
        )


def _check_transfer(transfer_id: str, *, field: str, other_id: str, account_id: str) -> None:
    if not 1 <= len(transfer_id.encode()) <= TRANSFER_ID_BYTES_MAX:
        raise _refuse(
            pb.ACCOUNT_REFUSAL_TRANSFER_INVALID,
            f"transfer_id is empty or too long; send 1 to {TRANSFER_ID_BYTES_MAX} bytes",
            field="transfer_id",
        )
    if not other_id or other_id == account_id:
        raise _refuse(
            pb.ACCOUNT_REFUSAL_TRANSFER_INVALID,
            f"{field} is empty or the account itself; name the other account",
            field=field,
        )


def _unknown_transfer(transfer_id: str) -> RefusalError:
    return _refuse(
        pb.ACCOUNT_REFUSAL_TRANSFER_UNKNOWN,
        f"the account never started transfer {transfer_id}; start it first",
        transfer_id=transfer_id,
    )


def _ended_transfer(transfer_id: str, ended: str) -> RefusalError:
    return _refuse(
        pb.ACCOUNT_REFUSAL_TRANSFER_ENDED,
        f"transfer {transfer_id} was {ended}; start a new transfer with another id",
        transfer_id=transfer_id,
    )


def _received_key(source_account_id: str, transfer_id: str) -> str:
    """A transfer id is unique in its source only; the length keeps ids with a `/` apart."""
    return f"{len(source_account_id)}/{source_account_id}/{transfer_id}"


def decide_open(state: pb.AccountState, command: pb.OpenAccountRequest) -> Events:
    """Opens an account that was never opened."""
    if not 1 <= len(command.owner) <= OWNER_CHARACTERS_MAX:
        raise _refuse(
            pb.ACCOUNT_REFUSAL_OWNER_INVALID,
            f"owner is empty or too long; send 1 to {OWNER_CHARACTERS_MAX} characters",
            field="owner",
        )
    if state.opened:
        raise _refuse(
            pb.ACCOUNT_REFUSAL_ALREADY_OPEN,
            f"account {command.account_id} was opened before; choose another account_id",
            account_id=command.account_id,
        )
    return (pb.AccountOpened(account_id=command.account_id, owner=command.owner),)


def decide_deposit(state: pb.AccountState, command: pb.DepositRequest) -> Events:
    """Puts money in from outside."""
    amount_cents = command.amount_cents
    _check_amount(amount_cents)
    _check_open(state, command.account_id)
    _check_room(state, amount_cents)
    return (pb.MoneyDeposited(account_id=command.account_id, amount_cents=amount_cents),)


def decide_withdraw(state: pb.AccountState, command: pb.WithdrawRequest) -> Events:
    """Takes money out to outside, as far as the balance reaches."""
    amount_cents = command.amount_cents
    _check_amount(amount_cents)
    _check_open(state, command.account_id)
    _check_funds(state, amount_cents)
    return (pb.MoneyWithdrawn(account_id=command.account_id, amount_cents=amount_cents),)


def decide_start_transfer(state: pb.AccountState, command: pb.StartTransferRequest) -> Events:
    """Takes the money of a new transfer out and keeps it pending; an old one stays as it is."""
    _check_amount(command.amount_cents)
    _check_transfer(
        command.transfer_id,
        field="target_account_id",
        other_id=command.target_account_id,
        account_id=command.account_id,
    )
    if command.transfer_id in state.pending_cents or command.transfer_id in state.ended_transfers:
        return NOTHING
    _check_open(state, command.account_id)
    _check_funds(state, command.amount_cents)
    return (
        pb.TransferStarted(
            account_id=command.account_id,
            transfer_id=command.transfer_id,
            target_account_id=command.target_account_id,
            amount_cents=command.amount_cents,
        ),
    )


def decide_receive_transfer(state: pb.AccountState, command: pb.ReceiveTransferRequest) -> Events:
    """Puts the money of a transfer in, once."""
    _check_amount(command.amount_cents)
    _check_transfer(
        command.transfer_id,
        field="source_account_id",
        other_id=command.source_account_id,
        account_id=command.account_id,
    )
    if _received_key(command.source_account_id, command.transfer_id) in state.received_transfers:
        return NOTHING
    _check_open(state, command.account_id)
    _check_room(state, command.amount_cents)
    return (
        pb.TransferReceived(
            account_id=command.account_id,
            transfer_id=command.transfer_id,
            source_account_id=command.source_account_id,
            amount_cents=command.amount_cents,
        ),
    )


def decide_complete_transfer(state: pb.AccountState, command: pb.CompleteTransferRequest) -> Events:
    """Ends a pending transfer that its target has received."""
    transfer_id = command.transfer_id
    if transfer_id in state.ended_transfers:
        if not state.ended_transfers[transfer_id]:
            raise _ended_transfer(transfer_id, "refunded")
        return NOTHING
    if transfer_id not in state.pending_cents:
        raise _unknown_transfer(transfer_id)
    return (
        pb.TransferCompleted(
            account_id=command.account_id,
            transfer_id=transfer_id,
            amount_cents=state.pending_cents[transfer_id],
        ),
    )


def decide_refund_transfer(state: pb.AccountState, command: pb.RefundTransferRequest) -> Events:
    """Puts the money of a pending transfer that its target refused back."""
    transfer_id = command.transfer_id
    if transfer_id in state.ended_transfers:
        if state.ended_transfers[transfer_id]:
            raise _ended_transfer(transfer_id, "completed")
        return NOTHING
    if transfer_id not in state.pending_cents:
        raise _unknown_transfer(transfer_id)
    return (
        pb.TransferRefunded(
            account_id=command.account_id,
            transfer_id=transfer_id,
            amount_cents=state.pending_cents[transfer_id],
        ),
    )


def decide_close(state: pb.AccountState, command: pb.CloseAccountRequest) -> Events:
    """Closes an account that holds nothing."""
    _check_open(state, command.account_id)
    if state.balance_cents or state.pending_cents:
        raise _refuse(
            pb.ACCOUNT_REFUSAL_NOT_EMPTY,
            f"account {command.account_id} holds {state.balance_cents} cents and "
            f"{len(state.pending_cents)} pending transfers; empty it first",
            balance_cents=str(state.balance_cents),
            pending_transfers=str(len(state.pending_cents)),
        )
    return (pb.AccountClosed(account_id=command.account_id),)


def evolve_opened(state: pb.AccountState, event: pb.AccountOpened) -> pb.AccountState:
    """The account is open and empty."""
    state.opened = True
    return state


def evolve_deposited(state: pb.AccountState, event: pb.MoneyDeposited) -> pb.AccountState:
    """The balance grows."""
    state.balance_cents += event.amount_cents
    return state


def evolve_withdrawn(state: pb.AccountState, event: pb.MoneyWithdrawn) -> pb.AccountState:
    """The balance shrinks."""
    state.balance_cents -= event.amount_cents
    return state


def evolve_transfer_started(state: pb.AccountState, event: pb.TransferStarted) -> pb.AccountState:
    """The amount is pending."""
    state.balance_cents -= event.amount_cents
    state.pending_cents[event.transfer_id] = event.amount_cents
    return state


def evolve_transfer_received(state: pb.AccountState, event: pb.TransferReceived) -> pb.AccountState:
    """The balance grows, and the transfer is known."""
    state.balance_cents += event.amount_cents
    state.received_transfers[_received_key(event.source_account_id, event.transfer_id)] = True
    return state


def evolve_transfer_completed(
    state: pb.AccountState, event: pb.TransferCompleted
) -> pb.AccountState:
    """The amount is no longer pending."""
    state.pending_cents.pop(event.transfer_id)
    state.ended_transfers[event.transfer_id] = True
    return state


def evolve_transfer_refunded(state: pb.AccountState, event: pb.TransferRefunded) -> pb.AccountState:
    """The amount is back."""
    state.balance_cents += state.pending_cents.pop(event.transfer_id)
    state.ended_transfers[event.transfer_id] = False
    return state


def evolve_closed(state: pb.AccountState, event: pb.AccountClosed) -> pb.AccountState:
    """The account takes nothing any more."""
    state.closed = True
    return state


ACCOUNT = Aggregate(
    category="account",
    state=pb.AccountState,
    deciders={
        pb.OpenAccountRequest: decide_open,
        pb.DepositRequest: decide_deposit,
        pb.WithdrawRequest: decide_withdraw,
        pb.StartTransferRequest: decide_start_transfer,
        pb.ReceiveTransferRequest: decide_receive_transfer,
        pb.CompleteTransferRequest: decide_complete_transfer,
        pb.RefundTransferRequest: decide_refund_transfer,
        pb.CloseAccountRequest: decide_close,
    },
    evolvers={
        pb.AccountOpened: evolve_opened,
        pb.MoneyDeposited: evolve_deposited,
        pb.MoneyWithdrawn: evolve_withdrawn,
        pb.TransferStarted: evolve_transfer_started,
        pb.TransferReceived: evolve_transfer_received,
        pb.TransferCompleted: evolve_transfer_completed,
        pb.TransferRefunded: evolve_transfer_refunded,
        pb.AccountClosed: evolve_closed,
    },
    refusals=pb.AccountRefusal.DESCRIPTOR,
)
