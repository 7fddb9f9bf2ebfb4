"""The author's test kit: it lets right domains pass, and shows what is wrong with the others."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from bank.v1 import account_pb2 as pb
from bank.v1 import views_pb2
from eventspine.domain import (
    Aggregate,
    Folding,
    View,
    ViewEvent,
    check_aggregate,
    check_view,
    given,
    happened,
    refuse,
)

OPENED = pb.AccountOpened(account_id="a", owner="Ann")
DEPOSITED = pb.MoneyDeposited(account_id="a", amount_cents=5)
OPEN = pb.OpenAccountRequest(account_id="a", owner="Ann")
DEPOSIT = pb.DepositRequest(account_id="a", amount_cents=5)


def decide_open(state: pb.AccountState, command: pb.OpenAccountRequest) -> list:
    if state.opened:
        return []
    return [pb.AccountOpened(account_id=command.account_id, owner=command.owner)]


def decide_deposit(state: pb.AccountState, command: pb.DepositRequest) -> list:
    if not state.opened:
        raise refuse(pb.AccountRefusal, pb.ACCOUNT_REFUSAL_NOT_OPEN, "open it first")
    return [pb.MoneyDeposited(account_id="a", amount_cents=command.amount_cents)]


def evolve_opened(state: pb.AccountState, event: pb.AccountOpened) -> pb.AccountState:
    state.opened = True
    return state


def evolve_deposited(state: pb.AccountState, event: pb.MoneyDeposited) -> pb.AccountState:
    state.balance_cents += event.amount_cents
    return state


ACCOUNT = Aggregate(
    category="account",
    state=pb.AccountState,
    deciders={pb.OpenAccountRequest: decide_open, pb.DepositRequest: decide_deposit},
    evolvers={pb.AccountOpened: evolve_opened, pb.MoneyDeposited: evolve_deposited},
    refusals=pb.AccountRefusal.DESCRIPTOR,
)


def by_account(event: ViewEvent) -> list:
    return [(event.data.account_id,)]


def the_bank(event: ViewEvent) -> list:
    return [("bank",)]


def apply_owner(row: Any, event: ViewEvent) -> Any:
    row.owner = event.data.owner
    return row


def apply_money(row: Any, event: ViewEvent) -> Any:
    row.balance_cents += event.data.amount_cents
    return row


def add_up(rows: Any) -> Any:
    return views_pb2.BankTotals(bank="bank", balance_cents=sum(row.balance_cents for row in rows))


BALANCES = View(
    row=views_pb2.AccountBalance,
    foldings={
        pb.AccountOpened: Folding(by_account, apply_owner),
        pb.MoneyDeposited: Folding(by_account, apply_money),
    },
)
TOTALS = View(
    row=views_pb2.BankTotals,
    foldings={pb.MoneyDeposited: Folding(the_bank, apply_money)},
    merge=add_up,
)
EVENTS = [
    *happened("account/a", OPENED, DEPOSITED, DEPOSITED),
    *happened("account/b", pb.MoneyDeposited(account_id="b", amount_cents=7)),
]


def failure(check: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as caught:
        check()
    return str(caught.value)


def test_what_happened_has_versions_and_times() -> None:
    events = happened("account/a", OPENED, DEPOSITED, first_version=3, append_time_us=10)
    places = [(event.stream_version, event.append_time_us) for event in events]
    assert places == [(3, 10), (4, 1_000_010)]


def test_a_right_sentence_passes() -> None:
    given(ACCOUNT).when(OPEN).then(OPENED)
    given(ACCOUNT, OPENED).when(OPEN).then()
    given(ACCOUNT, OPENED).when(DEPOSIT).then(DEPOSITED)
    given(ACCOUNT).when(DEPOSIT).refused(pb.ACCOUNT_REFUSAL_NOT_OPEN)
    given(ACCOUNT).when(DEPOSIT).refused(pb.ACCOUNT_REFUSAL_NOT_OPEN, "open it")
    given(ACCOUNT, OPENED, DEPOSITED).state(pb.AccountState(opened=True, balance_cents=5))


def test_other_events_are_shown_beside_the_expected_ones() -> None:
    text = failure(lambda: given(ACCOUNT, OPENED).when(DEPOSIT).then(OPENED))
    assert text == (
        "given:\n"
        '  1. bank.v1.AccountOpened { account_id: "a" owner: "Ann" }\n'
        "when:\n"
        '  1. bank.v1.DepositRequest { account_id: "a" amount_cents: 5 }\n'
        "expected:\n"
        '  1. bank.v1.AccountOpened { account_id: "a" owner: "Ann" }\n'
        "actual:\n"
        '  1. bank.v1.MoneyDeposited { account_id: "a" amount_cents: 5 }'
    )


@pytest.mark.parametrize("expected", [(), (DEPOSITED, DEPOSITED)], ids=["fewer", "more"])
def test_another_number_of_events_fails(expected: tuple) -> None:
    failure(lambda: given(ACCOUNT, OPENED).when(DEPOSIT).then(*expected))


def test_a_long_message_is_shown_on_several_lines() -> None:
    opened = pb.AccountOpened(account_id="a" * 60, owner="b" * 60)
    text = failure(lambda: given(ACCOUNT, opened).when(OPEN).then(opened))
    assert "     }\n" in text
    assert f'       owner: "{"b" * 60}"\n' in text


def test_a_refusal_instead_of_events_is_named() -> None:
    text = failure(lambda: given(ACCOUNT).when(DEPOSIT).then(DEPOSITED))
    assert "refused with ACCOUNT_REFUSAL_NOT_OPEN: open it first" in text


def test_a_refusal_instead_of_nothing_is_named() -> None:
    assert "NOT_OPEN" in failure(lambda: given(ACCOUNT).when(DEPOSIT).then())


def test_events_instead_of_a_refusal_are_shown() -> None:
    decided = given(ACCOUNT, OPENED).when(DEPOSIT)
    text = failure(lambda: decided.refused(pb.ACCOUNT_REFUSAL_CLOSED))
    assert "refused with ACCOUNT_REFUSAL_CLOSED" in text
    assert "bank.v1.MoneyDeposited" in text


def test_another_refusal_fails() -> None:
    failure(lambda: given(ACCOUNT).when(DEPOSIT).refused(pb.ACCOUNT_REFUSAL_CLOSED))


def test_another_text_of_a_refusal_fails() -> None:
    decided = given(ACCOUNT).when(DEPOSIT)
    failure(lambda: decided.refused(pb.ACCOUNT_REFUSAL_NOT_OPEN, "close it"))


def test_a_refusal_of_an_aggregate_without_refusals_fails() -> None:
    bare = dataclasses.replace(ACCOUNT, refusals=None)
    text = failure(lambda: given(bare, OPENED).when(DEPOSIT).refused(1))
    assert "no enum of refusals" in text


def test_another_state_fails() -> None:
    text = failure(lambda: given(ACCOUNT, OPENED).state(pb.AccountState()))
    assert "expected state:\n  1. bank.v1.AccountState {}" in text
    assert "actual state:\n  1. bank.v1.AccountState { opened: true }" in text


def changing(state: Any, command: Any) -> list:
    state.balance_cents += 1
    return []


def crashing(state: Any, command: Any) -> list:
    raise ZeroDivisionError("oops")


def with_deposit(decider: Callable[[Any, Any], Any]) -> Aggregate[Any]:
    return dataclasses.replace(
        ACCOUNT, deciders={pb.OpenAccountRequest: decide_open, pb.DepositRequest: decider}
    )


def test_a_decider_that_changes_the_state_fails() -> None:
    assert "unchanged state" in failure(lambda: given(with_deposit(changing)).when(DEPOSIT))


def test_a_decider_that_crashes_fails() -> None:
    text = failure(lambda: given(with_deposit(crashing)).when(DEPOSIT))
    assert "ZeroDivisionError('oops')" in text


def laws(aggregate: Aggregate[Any]) -> Callable[[], None]:
    return lambda: check_aggregate(
        aggregate, [OPENED, DEPOSITED], [OPEN, DEPOSIT], repeatable=[pb.DepositRequest]
    )


def test_the_laws_of_a_right_aggregate_hold() -> None:
    laws(ACCOUNT)()


def test_a_command_that_does_something_twice_breaks_a_law() -> None:
    text = failure(lambda: check_aggregate(ACCOUNT, [OPENED], [DEPOSIT]))
    assert "nothing to do the second time (or name the request in `repeatable`)" in text


def test_a_decider_that_changes_the_state_breaks_a_law() -> None:
    assert "leaves the state as it is" in failure(laws(with_deposit(changing)))


def test_a_decider_that_changes_the_command_breaks_a_law() -> None:
    def greedy(state: Any, command: Any) -> list:
        command.amount_cents += 1
        return []

    assert "leaves the command as it is" in failure(laws(with_deposit(greedy)))


def test_a_decider_that_crashes_breaks_a_law() -> None:
    assert "only refusals, not ZeroDivisionError" in failure(laws(with_deposit(crashing)))


def test_a_refusal_of_another_enum_breaks_a_law() -> None:
    foreign = dataclasses.replace(ACCOUNT, refusals=None)
    assert "bank.v1.AccountRefusal.ACCOUNT_REFUSAL_NOT_OPEN" in failure(laws(foreign))


def test_an_event_that_the_aggregate_does_not_fold_breaks_a_law() -> None:
    stranger = with_deposit(lambda state, command: [pb.AccountClosed(account_id="a")])
    assert "events of the aggregate, not bank.v1.AccountClosed" in failure(laws(stranger))


def test_an_evolver_that_changes_its_event_breaks_a_law() -> None:
    def careless(state: Any, event: Any) -> Any:
        event.owner = "Bob"
        return state

    careless_account = dataclasses.replace(
        ACCOUNT,
        evolvers={pb.AccountOpened: careless, pb.MoneyDeposited: evolve_deposited},
    )
    opened = pb.AccountOpened(account_id="a", owner="Ann")
    text = failure(lambda: check_aggregate(careless_account, [opened], []))
    assert "changed its event" in text


def test_a_state_that_is_not_all_in_the_message_breaks_a_law() -> None:
    folds = []

    def forgetful(state: Any, event: Any) -> Any:
        folds.append(event)
        state.balance_cents = len(folds)
        return state

    account = dataclasses.replace(ACCOUNT, evolvers={pb.MoneyDeposited: forgetful})
    text = failure(lambda: check_aggregate(account, [DEPOSITED], []))
    assert "state from a snapshot after event 0" in text


def test_rows_that_are_right_pass_in_any_order() -> None:
    given(BALANCES, *EVENTS).shows(
        views_pb2.AccountBalance(account_id="b", balance_cents=7),
        views_pb2.AccountBalance(account_id="a", owner="Ann", balance_cents=10),
    )


def test_rows_that_are_wrong_are_shown() -> None:
    row = views_pb2.AccountBalance(account_id="b", balance_cents=7)
    text = failure(lambda: given(BALANCES, *EVENTS).shows(row))
    assert 'expected rows:\n  1. bank.v1.AccountBalance { account_id: "b"' in text
    assert 'actual rows:\n  1. bank.v1.AccountBalance { account_id: "a"' in text


def test_the_laws_of_right_views_hold_and_the_rows_come_back() -> None:
    assert [row.balance_cents for row in check_view(BALANCES, EVENTS).values()] == [10, 7]
    assert check_view(TOTALS, EVENTS)[("bank",)].balance_cents == 17


def wrong_view(view: View[Any], **changes: Any) -> Callable[[], Any]:
    return lambda: check_view(dataclasses.replace(view, **changes), EVENTS, seed=1)


def folding(keys: Any, apply: Any) -> dict:
    return {pb.MoneyDeposited: Folding(keys, apply)}


def test_a_row_of_several_streams_without_a_merge_breaks_a_law() -> None:
    text = failure(wrong_view(TOTALS, merge=None))
    assert "('bank',) of bank.v1.BankTotals is fed by the streams account/a and account/b" in text
    assert "give the view a merge" in text


def test_a_merge_that_forgets_a_part_breaks_a_law_and_the_seed_is_printed() -> None:
    text = failure(wrong_view(TOTALS, merge=lambda rows: rows[0]))
    assert "streams in several log partitions; seed=1" in text


def test_a_merge_that_changes_what_it_merges_breaks_a_law() -> None:
    def grabbing(rows: Any) -> Any:
        for row in rows[1:]:
            rows[0].balance_cents += row.balance_cents
        rows[0].deposited_cents = 1
        return rows[0]

    assert "changes the rows that it merges" in failure(wrong_view(TOTALS, merge=grabbing))


def test_a_view_that_depends_on_the_order_of_streams_breaks_a_law() -> None:
    def last(row: Any, event: ViewEvent) -> Any:
        row.balance_cents = event.data.amount_cents
        return row

    text = failure(wrong_view(TOTALS, foldings=folding(the_bank, last)))
    assert text.startswith("law:")
    assert text.count("bank.v1.BankTotals") == 2


def test_a_view_that_remembers_outside_of_its_row_breaks_a_law() -> None:
    applied = []

    def counting(row: Any, event: ViewEvent) -> Any:
        applied.append(event)
        row.balance_cents = len(applied)
        return row

    text = failure(wrong_view(BALANCES, foldings=folding(by_account, counting)))
    assert "a replay" in text


def test_a_row_with_another_key_in_it_breaks_a_law() -> None:
    def renaming(row: Any, event: ViewEvent) -> Any:
        row.account_id = "z"
        return row

    text = failure(wrong_view(BALANCES, foldings=folding(by_account, renaming)))
    assert "the row at ('a',) has another key in it" in text


def test_a_view_that_changes_events_breaks_a_law() -> None:
    def careless(row: Any, event: ViewEvent) -> Any:
        event.data.amount_cents = 0
        return row

    events = happened("account/a", pb.MoneyDeposited(account_id="a", amount_cents=5))
    view = dataclasses.replace(BALANCES, foldings=folding(by_account, careless))
    assert "changes events" in failure(lambda: check_view(view, events))


def test_an_apply_that_raises_breaks_a_law() -> None:
    text = failure(wrong_view(BALANCES, foldings=folding(by_account, crashing)))
    assert "the row ('a',), event of account/a at version 2: ZeroDivisionError: oops" in text


def test_keys_that_are_none_break_a_law() -> None:
    text = failure(wrong_view(BALANCES, foldings=folding(lambda event: ["a"], apply_money)))
    assert "keys of bank.v1.MoneyDeposited" in text
    assert "is no key of bank.v1.AccountBalance" in text
