"""Folding a batch: per key, in order, once; a bad event parks its key and no other."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.message import Message

from bank.v1 import account_pb2, views_pb2
from eventspine.domain import Folding, View, ViewEvent
from eventspine.domain.fold import (
    KEY_LENGTH_MAX,
    Folded,
    FoldEntry,
    check_key,
    fold,
    keys_of,
    new_row,
)
from eventspine.domain.given import happened

POISON_CENTS = 13


def keys(event: ViewEvent) -> list[tuple[str]]:
    return [(account_id,) for account_id in event.data.account_id.split("+") if account_id]


def apply(row: Any, event: ViewEvent) -> Any:
    row.balance_cents += event.data.amount_cents
    row.owner += f"{event.stream_version},"
    if event.data.amount_cents == POISON_CENTS:
        raise ArithmeticError("unlucky")
    return row


def delete(row: Any, event: ViewEvent) -> None:
    return None


VIEW = View(
    row=views_pb2.AccountBalance,
    foldings={
        account_pb2.MoneyDeposited: Folding(keys, apply),
        account_pb2.AccountClosed: Folding(keys, delete),
    },
)


def at(sequence: int, account_id: str, data: Message) -> FoldEntry:
    (event,) = happened(f"account/{account_id}", data, first_version=sequence)
    return FoldEntry(sequence, event)


def entry(sequence: int, account_id: str, amount_cents: int = 1) -> FoldEntry:
    data = account_pb2.MoneyDeposited(account_id=account_id, amount_cents=amount_cents)
    return at(sequence, account_id, data)


def closing(sequence: int, account_id: str) -> FoldEntry:
    data = account_pb2.AccountClosed(account_id=account_id)
    return at(sequence, account_id, data)


def folded(
    entries: Sequence[FoldEntry], rows: dict | None = None, seen: dict | None = None, parked=()
) -> Folded:
    touched, failures = keys_of(VIEW, entries)
    assert failures == []
    return fold(VIEW, VIEW.row, touched, rows or {}, seen or {}, set(parked))


def balances(result: Folded) -> dict[str, int | None]:
    return {key[0]: None if row is None else row.balance_cents for key, row in result.rows.items()}


def test_events_of_a_key_are_folded_in_order() -> None:
    result = folded([entry(1, "a", 5), entry(2, "b", 7), entry(3, "a", 1)])
    assert balances(result) == {"a": 6, "b": 7}
    assert result.rows[("a",)].owner == "1,3,"
    assert result.last_sequence == {("a",): 3, ("b",): 2}
    assert (result.failures, result.waiting) == ([], [])


def test_a_new_row_has_its_key_fields_set() -> None:
    assert folded([entry(1, "a")]).rows[("a",)].account_id == "a"


def test_rows_that_come_in_are_not_changed() -> None:
    row = views_pb2.AccountBalance(account_id="a", balance_cents=10)
    result = folded([entry(4, "a", 5)], rows={("a",): row}, seen={("a",): 3})
    assert balances(result) == {"a": 15}
    assert row.balance_cents == 10


def test_events_that_a_row_has_seen_change_nothing() -> None:
    row = views_pb2.AccountBalance(account_id="a", balance_cents=10)
    result = folded([entry(2, "a", 5), entry(3, "a", 5)], {("a",): row}, {("a",): 3})
    assert result == Folded({}, {}, [], [])


def test_a_duplicate_inside_a_batch_changes_nothing() -> None:
    result = folded([entry(1, "a", 5), entry(1, "a", 5), entry(2, "a", 1), entry(1, "a", 5)])
    assert balances(result) == {"a": 6}


def test_a_key_named_twice_by_one_event_is_touched_once() -> None:
    assert balances(folded([entry(1, "a+a+b", 5)])) == {"a": 5, "b": 5}


def test_an_event_that_touches_no_row_is_left_out() -> None:
    assert keys_of(VIEW, [entry(1, "")]) == ({}, [])


def test_an_event_that_the_view_does_not_fold_is_left_out() -> None:
    opened = at(1, "a", account_pb2.AccountOpened(account_id="a"))
    assert keys_of(VIEW, [opened]) == ({}, [])


def test_a_deleted_row_is_none_and_is_made_anew_by_the_next_event() -> None:
    assert balances(folded([entry(1, "a", 5), closing(2, "a")])) == {"a": None}
    result = folded([entry(1, "a", 5), closing(2, "a"), entry(3, "a", 7)])
    assert balances(result) == {"a": 7}
    assert result.rows[("a",)].account_id == "a"
    assert result.last_sequence == {("a",): 3}


def test_an_event_that_cannot_be_applied_parks_its_key_only() -> None:
    bad = entry(3, "a", POISON_CENTS)
    result = folded([entry(1, "a", 5), entry(2, "b", 1), bad, entry(4, "a", 9), entry(5, "b", 1)])
    assert balances(result) == {"a": 5, "b": 2}
    assert result.rows[("a",)].owner == "1,"
    assert result.last_sequence == {("a",): 1, ("b",): 5}
    assert result.failures == [(("a",), 3, "account/a", 3, "ArithmeticError: unlucky")]
    assert result.waiting == [(("a",), 4)]


def test_a_key_whose_first_event_fails_is_not_among_the_rows() -> None:
    row = views_pb2.AccountBalance(account_id="a", balance_cents=10)
    result = folded([entry(3, "a", POISON_CENTS)], {("a",): row}, {("a",): 2})
    assert (result.rows, result.last_sequence) == ({}, {})
    assert row.balance_cents == 10


def test_events_of_a_parked_key_wait_and_known_ones_do_not() -> None:
    entries = [entry(2, "a"), entry(3, "a"), entry(4, "b"), entry(5, "a")]
    result = folded(entries, seen={("a",): 2}, parked=[("a",)])
    assert balances(result) == {"b": 1}
    assert result.waiting == [(("a",), 3), (("a",), 5)]


def test_an_apply_that_returns_no_row_parks_the_key() -> None:
    wrong = View(
        row=VIEW.row,
        foldings={account_pb2.MoneyDeposited: Folding(keys, lambda row, event: event.data)},
    )
    touched, _ = keys_of(wrong, [entry(1, "a")])
    result = fold(wrong, wrong.row, touched, {}, {}, set())
    assert "apply returned" in result.failures[0].error
    assert result.rows == {}


def test_an_apply_that_fails_only_sometimes_never_deletes_a_row() -> None:
    calls = []

    def moody(row: Any, event: ViewEvent) -> Any:
        calls.append(event)
        if len(calls) in (2, 4):
            raise ArithmeticError("moody")
        return apply(row, event)

    view = View(row=VIEW.row, foldings={account_pb2.MoneyDeposited: Folding(keys, moody)})
    touched, _ = keys_of(view, [entry(number, "a") for number in range(1, 5)])
    result = fold(view, view.row, touched, {}, {}, set())
    assert balances(result) == {"a": 1}
    assert [failure.sequence for failure in result.failures] == [2]
    assert result.waiting == [(("a",), 3), (("a",), 4)]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("a", "is no key"),
        (["a"], "unhashable"),
        ((), r"need \(account_id: str\)"),
        (("a", "b"), r"need \(account_id: str\)"),
        ((7,), r"need \(account_id: str\)"),
        (("\ud800",), "surrogates"),
    ],
)
def test_what_is_no_key_fails_the_event_and_touches_no_row(key: object, words: str) -> None:
    view = View(
        row=VIEW.row,
        foldings={account_pb2.MoneyDeposited: Folding(lambda event: [key], apply)},
    )
    touched, failures = keys_of(view, [entry(1, "a"), entry(2, "b")])
    assert touched == {}
    assert [failure.entry.sequence for failure in failures] == [1, 2]
    with pytest.raises((TypeError, ValueError), match=words):
        hash(key)
        check_key(view.row, key)


def test_an_integer_of_a_key_stays_in_the_range_of_its_field() -> None:
    check_key(views_pb2.StatementLine, ("a", 2**64 - 1))
    for value in (-1, 2**64):
        with pytest.raises(ValueError, match=r"outside of the range of .*stream_version"):
            check_key(views_pb2.StatementLine, ("a", value))
    with pytest.raises(TypeError, match="need"):
        check_key(views_pb2.StatementLine, ("a", True))


def test_a_keys_function_that_raises_fails_its_event_only() -> None:
    def picky(event: ViewEvent) -> list[tuple[str]]:
        return [("abc"[event.data.amount_cents],)]

    view = View(row=VIEW.row, foldings={account_pb2.MoneyDeposited: Folding(picky, apply)})
    touched, failures = keys_of(view, [entry(1, "a", 0), entry(2, "a", 9), entry(3, "a", 1)])
    assert list(touched) == [("a",), ("b",)]
    assert failures[0].entry.sequence == 2
    assert failures[0].error == "IndexError: string index out of range"


def test_an_event_with_one_key_that_is_none_touches_no_row_at_all() -> None:
    def half(event: ViewEvent) -> list[tuple[object]]:
        return [("a",), ("b",) if event.data.amount_cents else (7,)]

    view = View(row=VIEW.row, foldings={account_pb2.MoneyDeposited: Folding(half, apply)})  # type: ignore[arg-type]  # that is the point
    first, second, third = entry(1, "x", 1), entry(2, "x", 0), entry(3, "x", 1)
    touched, failures = keys_of(view, [first, second, third])
    assert touched == {("a",): [first, third], ("b",): [first, third]}
    assert [failure.entry for failure in failures] == [second]
    assert keys_of(view, [second]).touched == {}


def test_a_new_row_takes_every_kind_of_key_field() -> None:
    row = new_row(views_pb2.StatementLine, ("a", 7))
    assert (row.account_id, row.stream_version) == ("a", 7)


def test_batches_of_any_size_with_duplicates_give_the_rows_of_one_batch() -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    entries = [entry(number, chance.choice("abcd"), number) for number in range(20, 220)]
    whole = folded(entries)
    rows: dict = {}
    seen: dict = {}
    done = 0
    while done < len(entries):
        start, done = chance.randint(0, done), chance.randint(done + 1, len(entries))
        part = folded(entries[start:done], rows, seen)
        rows |= part.rows
        seen |= part.last_sequence
    assert rows == whole.rows, f"seed={seed}"
    assert seen == whole.last_sequence, f"seed={seed}"


def test_an_event_with_a_key_longer_than_a_store_takes_has_no_key() -> None:
    check_key(views_pb2.AccountBalance, ("\U0001f600" * KEY_LENGTH_MAX,))
    touched, failures = keys_of(VIEW, [entry(1, "x" * (KEY_LENGTH_MAX + 1)), entry(2, "y")])
    assert list(touched) == [("y",)]
    assert "longer than it may be" in failures[0].error
