"""The quick pass over a page makes what the steps one by one make, or nothing."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from google.protobuf.message import Message

from bank.v1 import account_pb2 as account
from bank.v1.views_pb2 import AccountBalance
from eventspine.domain.view import Folding, Key, View, ViewEvent
from eventspine.storage.memory.registry import MemoryViewRegistry
from eventspine.storage.memory.views import MemoryViewStore
from eventspine.storage.records import LogEntry
from eventspine.v1.record_pb2 import EventRecord
from processor_svc.decode import classes_of, decode
from processor_svc.one_pass import fold_page
from processor_svc.rows import BuildRows

KEYLESS, NO_KEY, REFUSED, DELETES, NO_ROW, UNDECODABLE = range(1, 7)
"""Amounts of a deposit that make something fail, each in its own way, or delete the row."""

GOOD = 10
"""From this amount on all is well."""


def keys_of(event: ViewEvent) -> Iterable[Any]:
    # A withdrawal touches its account, that of the house, and its account again.
    yield (event.data.account_id,)
    if event.data.amount_cents == KEYLESS:
        raise ValueError("the keys cannot be told")
    if event.data.amount_cents == NO_KEY:
        yield (17,)
    if isinstance(event.data, account.MoneyWithdrawn):
        yield ("house",)
        yield (event.data.account_id,)


def apply(row: AccountBalance, event: ViewEvent) -> Any:
    amount = event.data.amount_cents
    row.balance_cents = (row.balance_cents * 3 + amount) % 1_000_003
    row.owner = f"{event.stream} {event.stream_version} {event.append_time_us}"
    if amount == REFUSED:
        raise ValueError("cannot be applied")
    if amount == NO_ROW:
        return "no row"
    return None if amount == DELETES else row


FOLDING = Folding(keys_of, apply)
BALANCES = View(
    row=AccountBalance,
    foldings={account.MoneyDeposited: FOLDING, account.MoneyWithdrawn: FOLDING},
)
DEPOSITS = View(row=AccountBalance, foldings={account.MoneyDeposited: FOLDING})


def entry(sequence: int, event: Message, *, payload: bytes | None = None) -> LogEntry:
    record = EventRecord(
        stream=f"account/{sequence % 7}", stream_version=sequence, type=event.DESCRIPTOR.full_name
    )
    record.payload = event.SerializeToString() if payload is None else payload
    record.append_time.FromMicroseconds(1_700_000_000_000_000 + sequence)
    place = (0, sequence, record.stream, record.stream_version, record.type)
    return LogEntry(*place, record.SerializeToString())


def history(chance: random.Random, count: int, *, bad: float) -> list[LogEntry]:
    """Returns a log; so large a part of its events cannot be folded, or deletes a row."""
    entries = []
    for sequence in range(1, count + 1):
        name = f"a{chance.randrange(12)}"
        amount = chance.randrange(1, GOOD) if chance.random() < bad else chance.randrange(GOOD, 99)
        kinds = (account.MoneyDeposited, account.MoneyWithdrawn)
        event: Message = chance.choice(kinds)(account_id=name, amount_cents=amount)
        if chance.random() < 0.1:
            event = account.AccountClosed(account_id=name)
        payload = b"\xff" if amount == UNDECODABLE else None
        entries.append(entry(sequence, event, payload=payload))
    if bad and chance.random() < 0.5:
        broken = chance.randrange(count)
        entries[broken] = entries[broken]._replace(encoded=b"\xff")
    return entries


class Side:
    """Builds of both views on a store of their own."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.store = MemoryViewStore()
        self.registry = MemoryViewRegistry(self.store)
        self.builds = [
            BuildRows(f"{name}@1", 0, view, now_us=lambda: 5, rows_max=6)
            for name, view in (("balances", BALANCES), ("deposits", DEPOSITS))
        ]

    async def open(self) -> None:
        for rows in self.builds:
            await rows.open(self.store, self.registry)

    async def fold(self, page: Sequence[LogEntry]) -> None:
        passes = [rows.begin() for rows in self.builds]
        if self.quick:
            records = [entry.encoded for entry in page]
            fold_page(records, page[0].sequence - 1, passes)
        for rows, one in zip(self.builds, passes, strict=True):
            if self.quick and not one.failed:
                touched = rows.take(one)
            else:
                touched = rows.key(decode(page, classes_of([rows.view])))
            await rows.load(self.store, rows.absent(touched))
            rows.fold(touched, page[-1].sequence)

    async def save(self) -> None:
        await self.store.save([rows.batch() for rows in self.builds])
        for rows in self.builds:
            rows.saved()


@pytest.mark.parametrize("bad", [0.0, 0.01, 0.1])
async def test_the_quick_pass_and_the_steps_make_the_same(  # noqa: C901 # one walk, two sides
    bad: float,
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(20):
        log = history(chance, 150, bad=bad)
        quick, slow = Side(quick=True), Side(quick=False)
        for side in (quick, slow):
            await side.open()
        reached = 0
        while reached < len(log):
            page = log[reached : reached + chance.randrange(1, 30)]
            for side in (quick, slow):
                await side.fold(page)
            for mine, other in zip(quick.builds, slow.builds, strict=True):
                assert mine.batch() == other.batch(), f"seed={seed}"
            reached = page[-1].sequence
            step = chance.random()
            if step < 0.4:
                for side in (quick, slow):
                    await side.save()
            elif step < 0.5:
                # What was not saved is lost, and read again.
                for side in (quick, slow):
                    await side.open()
                reached = quick.builds[0].reached


async def test_most_of_a_good_history_goes_quickly() -> None:
    side = Side(quick=True)
    await side.open()
    page = history(random.Random(1), 100, bad=0.0)
    passes = [rows.begin() for rows in side.builds]
    fold_page([entry.encoded for entry in page], 0, passes)
    assert not any(one.failed or one.held for one in passes)
    assert len(set(passes[0].changed)) == 13


async def test_a_build_that_fails_is_put_back_and_the_other_goes_on() -> None:
    side = Side(quick=True)
    await side.open()
    await side.fold([entry(1, account.MoneyDeposited(account_id="a", amount_cents=50))])
    await side.save()
    balances, deposits = side.builds
    before = balances._rows[("a",)].SerializeToString()
    page = [
        entry(2, account.MoneyDeposited(account_id="a", amount_cents=60)),
        entry(3, account.MoneyWithdrawn(account_id="a", amount_cents=REFUSED)),
        entry(4, account.MoneyDeposited(account_id="a", amount_cents=70)),
    ]
    passes = [rows.begin() for rows in side.builds]
    fold_page([entry.encoded for entry in page], 1, passes)
    assert [one.failed for one in passes] == [True, False]
    assert balances._rows[("a",)].SerializeToString() == before
    assert balances._seen == {("a",): 1}
    assert balances.changed_rows == 0
    deposits.take(passes[1])
    assert deposits._seen == {("a",): 4}
    assert deposits._rows[("a",)].balance_cents == (50 * 3 + 60) * 3 + 70


async def test_events_of_rows_that_are_not_in_memory_are_held_back_in_order() -> None:
    side = Side(quick=True)
    await side.open()
    await side.fold([entry(1, account.MoneyDeposited(account_id="a", amount_cents=50))])
    await side.save()
    await side.open()
    deposit: dict[str, Key] = {name: (name,) for name in ("a", "b")}
    page = [
        entry(number, account.MoneyDeposited(account_id=name, amount_cents=20))
        for number, name in ((2, "a"), (3, "b"), (4, "a"))
    ]
    one = side.builds[0].begin()
    fold_page([entry.encoded for entry in page], 1, [one])
    held = {key: [entry.sequence for entry in group] for key, group in one.held.items()}
    assert held == {deposit["a"]: [2, 4], deposit["b"]: [3]}
    assert not list(one.changed)
