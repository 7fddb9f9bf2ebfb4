"""Cursors and tokens of elsewhere over real gRPC: told apart from those of here, and refused."""

import pytest
from google.protobuf.message import Message

from eventspine.rpc.token import encode_token
from eventspine.storage.records import StreamPlace
from eventspine.v1.query_pb2 import (
    STALE_POLICY_ANSWER,
)
from eventspine.v1.subscription_pb2 import EventFilter, SubscribeRequest
from query_svc.cursor import LogCursor, RowsCursor, encode_log, encode_rows
from tests.contract.calling import Caller
from tests.contract.queried import (
    EXPIRED,
    INVALID,
    MALFORMED,
    Case,
    Known,
    balance,
    balances,
    check,
    lasting,
    rows,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def changed(text: str) -> str:
    """Returns the text with one character in its middle replaced."""
    place = len(text) // 2
    return f"{text[:place]}{'A' if text[place] != 'A' else 'B'}{text[place + 1 :]}"


CURSORS: dict[str, Case] = {
    "a cursor of garbage": (lambda _: rows(cursor="garbage!"), INVALID, "not made by"),
    "a cursor that is not ASCII": (lambda _: rows(cursor="ü"), INVALID, "not made by"),
    "a cursor of 1 MiB": (lambda _: rows(cursor="A" * (1 << 20)), INVALID, "not made by"),
    "a cursor cut short": (lambda k: rows(cursor=k.rows_cursor[:-1]), INVALID, "not made by"),
    "a cursor changed": (lambda k: rows(cursor=changed(k.rows_cursor)), INVALID, "not made by"),
    "a cursor of a subscription": (lambda k: rows(cursor=k.log_cursor), INVALID, "not made by"),
    "a token for a cursor": (lambda k: rows(cursor=k.token), INVALID, "not made by"),
    "a cursor of another view": (
        lambda k: rows(view="bank.v1.BankTotals", cursor=k.rows_cursor),
        INVALID,
        "another request",
    ),
    "a cursor of another prefix": (
        lambda k: rows(key_prefix=["a"], cursor=k.rows_cursor),
        INVALID,
        "another request",
    ),
    "a cursor of another build": (
        lambda k: rows(build=2, cursor=k.rows_cursor),
        INVALID,
        "another request",
    ),
    "a cursor of another store": (
        lambda k: rows(cursor=k.foreign.rows_cursor),
        EXPIRED,
        "another store",
    ),
    "a typed list's cursor of another store": (
        lambda k: balances(cursor=k.foreign.rows_cursor),
        EXPIRED,
        "another store",
    ),
    "a typed list's cursor of garbage": (lambda _: balances(cursor="~"), INVALID, "not made by"),
    "a subscription's cursor of garbage": (
        lambda _: SubscribeRequest(cursor="garbage!"),
        INVALID,
        "not made by",
    ),
    "a subscription's empty cursor": (lambda _: SubscribeRequest(cursor=""), INVALID, ""),
    "a subscription's cursor changed": (
        lambda k: SubscribeRequest(cursor=changed(k.log_cursor)),
        INVALID,
        "not made by",
    ),
    "a list's cursor for a subscription": (
        lambda k: SubscribeRequest(cursor=k.rows_cursor),
        INVALID,
        "not made by",
    ),
    "a subscription's cursor of another filter": (
        lambda k: SubscribeRequest(cursor=k.log_cursor, filter=EventFilter(categories=["a"])),
        INVALID,
        "another filter",
    ),
    "a subscription's cursor of another store": (
        lambda k: SubscribeRequest(cursor=k.foreign.log_cursor),
        EXPIRED,
        "another store",
    ),
}

TOKENS: dict[str, Case] = {
    "a token without a policy": (
        lambda k: balance(token=k.token),
        MALFORMED,
        "header.stale_policy",
    ),
    "an unknown policy": (
        lambda k: balance(token=k.token, stale_policy=9),
        MALFORMED,
        "header.stale_policy",
    ),
    **{
        f"the token {name}": (
            lambda k, make=make: balance(token=make(k), stale_policy=STALE_POLICY_ANSWER),
            refused,
            word,
        )
        for name, (make, refused, word) in {
            "of garbage": (lambda _: "garbage!", INVALID, "not one that"),
            "cut short": (lambda k: k.token[:-1], INVALID, "not one that"),
            "changed": (lambda k: changed(k.token), INVALID, "not one that"),
            "of 1 MiB": (lambda _: "A" * (1 << 20), INVALID, "characters"),
            "with nothing joined": (lambda k: f"{k.token}~", INVALID, "not one that"),
            "that is a cursor": (lambda k: k.rows_cursor, INVALID, "not one that"),
            "of another store": (lambda k: k.foreign.token, EXPIRED, "another store"),
            "joined of two stores": (
                lambda k: f"{k.token}~{k.foreign.token}",
                EXPIRED,
                "different stores",
            ),
        }.items()
    },
    **{
        f"a wait of {wait.seconds} s and {wait.nanos} ns": (
            lambda _, wait=wait: balance(max_wait=wait),
            MALFORMED,
            "header.max_wait",
        )
        for wait in (lasting(-1), lasting(31), lasting(2**62), lasting(0, -1), lasting(1, 2**30))
    },
}

CASES = {**CURSORS, **TOKENS}


@pytest.mark.parametrize("how", CASES)
async def test_a_cursor_or_token_of_elsewhere_is_refused_and_others_are_answered(
    asked: tuple[Caller, Known], how: str
) -> None:
    caller, known = asked
    make, refused, told = CASES[how]
    check(await caller.refusal(make(known)), refused, told)
    assert (await caller.one(balance())).row.balance_cents == 5


async def test_forged_cursors_and_tokens_do_no_harm(asked: tuple[Caller, Known]) -> None:
    """The checksum is no secret: whoever forges a place gets a refusal, never a crash."""
    caller, _ = asked
    identity = caller.platform.parts.backend.identity.store_id
    plain = bytes(8)
    forged: list[Message] = [
        SubscribeRequest(cursor=encode_log(LogCursor(identity, plain, sequences)))
        for sequences in ((), (1, 2, 3), (2**63,), (2**70 - 1,))
    ]
    forged += [
        rows(cursor=encode_rows(RowsCursor(identity, plain, build, b"\xff\x00")))
        for build in (0, 1, 2**32, 2**64 - 1)
    ]
    for request in forged:
        error = await caller.refusal(request)
        assert error.reason in ("ERROR_REASON_CURSOR_INVALID", "ERROR_REASON_CURSOR_EXPIRED")
    for version in (3, 2**63 - 1):
        token = encode_token(identity, [StreamPlace("account/a", version), StreamPlace("x\0", 1)])
        answer = await caller.one(
            balance(token=token, stale_policy=STALE_POLICY_ANSWER, max_wait=lasting(0, 1_000_000))
        )
        assert answer.result.stale
