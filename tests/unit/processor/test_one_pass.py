"""The quick pass over a page makes what the steps one by one make, or nothing."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from google.protobuf.message import Message

from bank.v1 import account_pb2 as account
from bank.v1.views_pb2 import AccountBalance
from eventspine.domain.fold import Touched
from eventspine.domain.view import Folding, View, ViewEvent
from eventspine.storage.keys import encode_key
from eventspine.storage.memory.registry import MemoryViewRegistry
from eventspine.storage.memory.views import MemoryViewStore
from eventspine.storage.records import LogEntry, PartialRow
from eventspine.v1.record_pb2 import EventRecord
from processor_svc.decode import classes_of, decode
from processor_svc.one_pass import Pass, fold_page
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


def passed(page: Sequence[LogEntry], builds: Sequence[BuildRows]) -> list[Pass]:
    passes = [rows.begin() for rows in builds]
    fold_page([entry.encoded for entry in page], page[0].sequence - 1, passes)
    return passes


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

    async def fold(self, log: Sequence[LogEntry], through: int) -> None:
        for rows in self.builds:
            if self.quick and not rows.careful:
                (one,) = passed(log[rows.reached : through], [rows])
                if not one.failed:
                    await self._fold(rows, one.held, through)
                    continue
                rows.undo()
            batch = decode(log[rows.reached : through], classes_of([rows.view]))
            await self._fold(rows, rows.key(batch), through)

    async def _fold(self, rows: BuildRows, touched: Touched, through: int) -> None:
        await rows.load(self.store, rows.absent(touched))
        rows.fold(touched, through)

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
            reached = min(reached + chance.randrange(1, 30), len(log))
            for side in (quick, slow):
                await side.fold(log, reached)
            for mine, other in zip(quick.builds, slow.builds, strict=True):
                assert mine.batch() == other.batch(), f"seed={seed}"
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
    passes = passed(page, side.builds)
    assert not any(one.failed or one.held for one in passes)
    assert side.builds[0].changed_rows == 13


def deposit(sequence: int, name: str, amount: int) -> LogEntry:
    return entry(sequence, account.MoneyDeposited(account_id=name, amount_cents=amount))


def withdrawal(sequence: int, name: str, amount: int) -> LogEntry:
    return entry(sequence, account.MoneyWithdrawn(account_id=name, amount_cents=amount))


def shown(rows: BuildRows) -> dict[bytes, PartialRow]:
    """Returns what a build would save."""
    return dict(rows.batch().rows)


async def test_a_build_that_fails_is_put_back_to_what_was_saved_and_the_other_goes_on() -> None:
    side = Side(quick=True)
    await side.open()
    log = [deposit(1, "a", 50), deposit(2, "b", 50)]
    await side.fold(log, 2)
    await side.save()
    balances, deposits = side.builds
    log += [deposit(3, "a", 60), deposit(4, "c", 60)]
    await side.fold(log, 4)
    log += [withdrawal(5, "a", REFUSED), deposit(6, "a", 70)]
    passes = passed(log[4:], side.builds)
    assert [one.failed for one in passes] == [True, False]
    balances.undo()
    assert (balances.changed_rows, balances.reached, balances.careful) == (0, 2, True)
    deposits.fold(passes[1].held, 6)
    balance = AccountBalance.FromString(shown(deposits)[encode_key(("a",))].encoded or b"")
    assert balance.balance_cents == ((50 * 3 + 60) * 3 + 70)
    # From there on it makes what steps alone make.
    steps = Side(quick=False)
    await steps.open()
    await steps.fold(log, 2)
    await steps.save()
    await steps.fold(log, 6)
    side.builds.remove(deposits)
    await side.fold(log, 6)
    assert balances.batch() == steps.builds[0].batch()


async def test_a_build_is_careful_from_what_it_parks_to_the_next_save() -> None:
    side = Side(quick=True)
    await side.open()
    log = [deposit(1, "a", 50), withdrawal(2, "a", REFUSED), deposit(3, "b", 20)]
    for through, careful in ((1, False), (2, True), (3, True)):
        await side.fold(log, through)
        assert side.builds[0].careful is careful
    await side.save()
    assert not side.builds[0].careful
    # What comes to a parked key waits, and that has to be saved as well.
    await side.fold([*log, deposit(4, "a", 20)], 4)
    assert side.builds[0].waiting(encode_key(("a",))) == (2, 4)
    assert side.builds[0].careful


async def test_events_of_rows_that_are_not_in_memory_are_held_back_in_order() -> None:
    side = Side(quick=True)
    await side.open()
    await side.fold([deposit(1, "a", 50)], 1)
    await side.save()
    await side.open()
    page = [deposit(number, name, 20) for number, name in ((2, "a"), (3, "b"), (4, "a"))]
    (one,) = passed(page, side.builds[:1])
    held = {key: [entry.sequence for entry in group] for key, group in one.held.items()}
    assert held == {("a",): [2, 4], ("b",): [3]}
    assert side.builds[0].changed_rows == 0
