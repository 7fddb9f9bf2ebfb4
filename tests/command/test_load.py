"""A stream that is not in memory is loaded from its snapshot and its events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from bank.v1 import account_pb2 as pb
from command_svc.serve import CommandService
from command_svc.settings import CommandSettings
from eventspine.domain.declared import Declarations
from eventspine.domain.errors import DomainDefectError
from eventspine.storage.connect import Backend
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from tests.command.bank_service import (
    DECLARATIONS,
    BankService,
    anyhow,
    append_request,
    context,
    deposit,
    opening,
    running,
    withdrawal,
)
from tests.storage.until import until


async def test_a_new_stream_costs_one_read_and_a_known_one_none(bank: BankService) -> None:
    await bank.call(opening())
    assert bank.store.reads == 1
    await bank.call(deposit())
    assert bank.store.reads == 1


@pytest.mark.parametrize("count", [5, 199, 200, 201, 499, 500, 501, 1_300])
async def test_a_loaded_stream_is_as_it_was(backend: Backend, count: int) -> None:
    async with running(backend) as bank:
        await bank.service.execute([opening(), *(deposit(amount=1) for _ in range(count - 1))])
    async with running(backend) as bank:
        result = await bank.call(withdrawal(amount=count - 1))
        assert result.last_version == count + 1
        with pytest.raises(Exception, match="balance"):
            await bank.call(withdrawal(amount=1))


async def test_a_snapshot_is_kept_each_500_events_and_shortens_a_load(backend: Backend) -> None:
    async with running(backend) as bank:
        await bank.call(opening())
        for _ in range(3):
            await bank.execute([deposit(amount=1) for _ in range(400)])
    snapshot = await backend.snapshots.load("account/a")
    assert snapshot is not None
    assert snapshot.stream_version >= 1_000
    state = pb.AccountState.FromString(snapshot.state)
    assert state.balance_cents == snapshot.stream_version - 1
    async with running(backend) as bank:
        await bank.call(deposit())
        assert bank.store.reads == 2


async def test_a_snapshot_of_other_code_is_ignored(backend: Backend) -> None:
    async with running(backend) as bank:
        await bank.execute([opening(), *(deposit(amount=1) for _ in range(600))])
    snapshot = await backend.snapshots.load("account/a")
    assert snapshot is not None
    wrong = snapshot._replace(code_version=99, state=b"", stream_version=601)
    await backend.snapshots.save(wrong)
    async with running(backend) as bank:
        assert (await bank.call(withdrawal(amount=600))).last_version == 602


async def test_an_event_that_cannot_be_parsed_is_told_with_stream_and_version(
    backend: Backend,
) -> None:
    async with running(backend) as bank:
        await bank.call(opening())
        await bank.call(deposit())
    events = {k: v for k, v in DECLARATIONS.events.items() if k != "bank.v1.MoneyDeposited"}
    async with hosted(backend, replace(DECLARATIONS, events=events)) as service:
        (verdict,) = await service.execute([deposit()])
        assert isinstance(verdict.outcome, DomainDefectError)
        assert verdict.outcome.metadata["stream"] == "account/a"
        assert verdict.outcome.metadata["stream_version"] == "2"
    async with running(backend) as bank:
        assert (await bank.call(deposit())).last_version == 3


@asynccontextmanager
async def hosted(
    backend: Backend, declarations: Declarations, **settings: Any
) -> AsyncIterator[CommandService]:
    progress = ProgressBoard(backend.views, backend.bus)
    serving = ServingBuilds(backend.registry, backend.bus)
    service = CommandService(
        declarations,
        backend,
        now_us=lambda: 1,
        progress=progress,
        serving=serving,
        settings=CommandSettings(**settings),
    )
    await service.start()
    yield service
    await service.stop()


async def test_a_category_without_an_aggregate_takes_appends(backend: Backend) -> None:
    declarations = replace(DECLARATIONS, aggregates={}, commands={})
    async with hosted(backend, declarations) as service:
        append = next(m.unary for m in service.methods() if m.name == "Append")
        assert append is not None
        event = pb.AccountOpened(account_id="a", owner="Ann")
        for version in (1, 2):
            response = await append(append_request(event, expected=anyhow()), context())
            assert response.result.last_version == version


async def test_a_decider_that_fails_is_a_defect_and_stores_nothing(backend: Backend) -> None:
    aggregate = DECLARATIONS.aggregates["account"]

    def broken(state: object, event: object) -> object:
        raise ZeroDivisionError("a defect")

    async with hosted(backend, changed(evolvers={pb.MoneyDeposited: broken})) as service:
        verdicts = await service.execute([opening(), deposit(), opening("b"), deposit("b")])
        names = [type(verdict.outcome).__name__ for verdict in verdicts]
        assert names == ["Answer", "DomainDefectError", "Answer", "DomainDefectError"]
        assert aggregate.version == 1
    async with hosted(backend, changed(deciders={pb.DepositRequest: broken})) as service:
        (verdict,) = await service.execute([deposit()])
        assert isinstance(verdict.outcome, DomainDefectError)
    assert len(await backend.events.read("account/a")) == 1


async def test_an_evolver_that_returns_no_state_is_a_defect_and_stores_nothing(
    backend: Backend,
) -> None:
    forgets = changed(evolvers={pb.MoneyDeposited: lambda state, event: None})
    async with hosted(backend, forgets, snapshot_events=2) as service, asyncio.timeout(5):
        verdicts = await service.execute([opening(), deposit(), opening("b")])
        names = [type(verdict.outcome).__name__ for verdict in verdicts]
        assert names == ["Answer", "DomainDefectError", "Answer"]
    assert len(await backend.events.read("account/a")) == 1


def changed(**functions: dict[type, object]) -> Declarations:
    """Returns the bank with some functions of its aggregate replaced."""
    aggregate = DECLARATIONS.aggregates["account"]
    merged = {name: {**getattr(aggregate, name), **new} for name, new in functions.items()}
    other = replace(aggregate, **merged)
    commands = {n: replace(c, aggregate=other) for n, c in DECLARATIONS.commands.items()}
    return replace(DECLARATIONS, aggregates={"account": other}, commands=commands)


async def test_many_cold_streams_are_loaded_side_by_side(backend: Backend) -> None:
    names = [f"a{n}" for n in range(300)]
    async with running(backend) as bank:
        await bank.execute([opening(name) for name in names])
    async with running(backend, loads_in_flight_max=50) as bank:
        await asyncio.gather(*(bank.call(deposit(name)) for name in names))
        assert bank.store.reads == 300
        assert len(bank.store.calls) < 100


async def test_what_is_stored_is_published_in_order_and_a_failing_bus_fails_no_command(
    backend: Backend,
) -> None:
    async with running(backend) as bank:
        channel = "log" if backend.sequences_on_append else "events"
        tail = backend.bus.tail(channel)
        reading = asyncio.ensure_future(anext(tail))
        await asyncio.sleep(0)
        await bank.execute([opening(), deposit(), opening("b")])
        entries = list(await asyncio.wait_for(reading, 5))
        while len(entries) < 3:
            entries += await asyncio.wait_for(anext(tail), 5)
        assert [e.stream_version for e in entries if e.stream == "account/a"] == [1, 2]
        assert all((e.sequence > 0) == backend.sequences_on_append for e in entries)
        stored = {r.encoded for r in await bank.store.read("account/a")}
        assert stored <= {entry.encoded for entry in entries}
        await tail.aclose()
    deaf = replace(backend, bus=DeafBus())
    async with running(deaf) as bank:
        assert (await bank.call(deposit())).last_version == 3
        await until(lambda: bank.service.left_out == 1)


class DeafBus:
    """A bus that takes nothing."""

    def publish_now(self, channel: str, partition: int, messages: object) -> bool:
        return False

    async def publish(self, channel: str, partition: int, messages: object) -> None:
        raise ConnectionError("nobody there")

    def consume(self, channel: str, group: str) -> AsyncIterator[list[object]]:
        return self.tail(channel)

    async def tail(self, channel: str) -> AsyncIterator[list[object]]:
        await asyncio.Event().wait()
        yield []
