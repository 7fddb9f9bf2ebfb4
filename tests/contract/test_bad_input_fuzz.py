"""Chance against every method: whatever comes, the answer names a cause that we know.

A failure prints its seed; set EVENTSPINE_SEED to it to see the same again.
"""

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from eventspine.rpc.method import Method
from tests.contract.calling import Caller, bank_and_flights, calling, deposit, opening
from tests.contract.queried import filled

SEED = int(os.environ.get("EVENTSPINE_SEED") or random.randrange(2**32))
SHOTS = 24
OPEN_SECONDS = 0.05

TEXTS = (
    *("", "a", "b", "account/a", "account/z", "flight/a", "/", "a/", "~", "AA", "null", "[]"),
    *('"a"', '["a"]', '["bank"]', "[1e999]", "bank", "bank.v1.AccountBalance", "account"),
    *("bank.v1.BankTotals", "bank.v1.StatementLine", "bank.v1.MoneyDeposited", "2013-01-01"),
    *("JFK", "x" * 201, "\0", "e\u0301", "\u2028", "\U0001f642", "-1", str(2**64), "true"),
)
NUMBERS = (0, 1, 2, 5, 500, 2**31 - 1, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1)
LOWEST = {FieldDescriptor.CPPTYPE_INT32: -(2**31), FieldDescriptor.CPPTYPE_INT64: -(2**63)}
HIGHEST = {
    FieldDescriptor.CPPTYPE_INT32: 2**31 - 1,
    FieldDescriptor.CPPTYPE_INT64: 2**63 - 1,
    FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1,
    FieldDescriptor.CPPTYPE_UINT64: 2**64 - 1,
}


class Chance:
    """Requests by chance, out of one seed.

    Attributes:
        texts: What texts are made of: cursors and tokens of the platform among them.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.texts = [*TEXTS]

    def raw(self, kind: type[Message]) -> bytes:
        """Returns bytes: chance alone, a message, or a message that was damaged."""
        how = self._random.randrange(6)
        if how == 0:
            return self._random.randbytes(self._random.randrange(200))
        raw = bytearray(self.message(kind).SerializeToString())
        if how == 1 and raw:
            raw[self._random.randrange(len(raw))] = self._random.randrange(256)
        elif how == 2 and raw:
            del raw[self._random.randrange(len(raw)) :]
        return bytes(raw)

    def message(self, kind: type[Any], depth: int = 0) -> Any:
        """Returns a message whose fields are set by chance; deeper ones less often."""
        message = kind()
        absent = self._random.choice((0.0, 0.2, 0.6))
        for field in kind.DESCRIPTOR.fields:
            if depth < 5 and self._random.random() >= absent:
                self._set(message, field, depth)
        return message

    def _set(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        count = self._random.choice((0, 1, 1, 3)) if field.is_repeated else 1
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            for _ in range(count):
                getattr(message, field.name)[self._text()] = self._text()
        elif inner is not None:
            for _ in range(count):
                made = self.message(GetMessageClass(inner), depth + 1)
                place = getattr(message, field.name)
                (place.add() if field.is_repeated else place).CopyFrom(made)
        elif field.is_repeated:
            getattr(message, field.name).extend(self._value(field) for _ in range(count))
        else:
            setattr(message, field.name, self._value(field))

    def _value(self, field: FieldDescriptor) -> Any:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return self._text() if field.type == FieldDescriptor.TYPE_STRING else self._bytes()
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            # A dry run stores nothing, so that it would find less.
            return self._random.random() < 0.2
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return self._random.choice((0, 1, 2, 3, 77, -1))
        if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            return self._random.choice((0.0, -1.0, float("nan"), float("inf")))
        number = min(self._random.choice(NUMBERS), HIGHEST[kind])
        return self._random.choice((number, max(-number, LOWEST.get(kind, 0))))

    def _text(self) -> str:
        return self._random.choice(self.texts)

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._random.randrange(12))


async def shoot(caller: Caller, method: Method, raw: bytes) -> str | None:
    """Sends bytes to a method; returns what is wrong with its answer."""
    error = await caller.raw(method, raw, OPEN_SECONDS)
    if error is None:
        return None
    bad = error.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) or not error.reason
    return f"{method.service}/{method.name}({raw!r}): {error}" if bad else None


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
async def test_no_request_by_chance_is_answered_by_internal_or_unknown(
    backend: str, tmp_path: Path
) -> None:
    chance = Chance(SEED)
    db = tmp_path / "store.db" if backend == "sqlite" else None
    async with calling(bank_and_flights(db)) as caller:
        known = await filled(caller)
        chance.texts += [known.rows_cursor, known.log_cursor, known.token] * 3
        for method in caller.methods:
            shots = [b"", *(chance.raw(method.request) for _ in range(SHOTS))]
            found = await asyncio.gather(*(shoot(caller, method, raw) for raw in shots))
            assert [wrong for wrong in found if wrong] == [], f"EVENTSPINE_SEED={SEED}"
        assert (await caller.one(opening("alive"))).result.last_version == 1
        assert (await caller.one(deposit("alive"))).result.last_version == 2


async def test_an_empty_request_is_answered_by_every_method() -> None:
    answers = {"GetStatus", "ListViews", "Verify", "Export", "Audit", "GetAuditStatus"}
    async with calling(bank_and_flights(None)) as caller:
        for method in caller.methods:
            error = await caller.raw(method, b"", OPEN_SECONDS)
            lists = method.name.startswith("List") and error is None
            if method.name in answers or lists:
                assert error is None
                continue
            assert error is not None, method
            assert error.code.name in ("INVALID_ARGUMENT", "NOT_FOUND"), method
            assert error.domain == "eventspine.v1"
            assert error.violations or error.reason == "ERROR_REASON_VIEW_NOT_FOUND"
