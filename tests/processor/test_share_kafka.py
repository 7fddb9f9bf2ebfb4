"""Two processors that share the log over a real Kafka: one goes, and the other takes over."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from eventspine.storage.connect import open_memory
from eventspine.storage.kafka.bus import KafkaBus
from eventspine.storage.kafka.settings import KafkaSettings
from tests.processor.platform import Platform, eventually
from tests.processor.views import TOTALS
from tests.storage.test_kafka_bus import settings

__all__ = ["settings"]
NAMES = [f"a{place}" for place in range(12)]
SECONDS = 60
PARTITIONS = 2


class Member(Platform):
    """A platform that can be asked what it folds."""

    @property
    def owned(self) -> frozenset[int]:
        return self.processor.share.owned


@pytest.fixture
async def pair(settings: KafkaSettings) -> AsyncIterator[tuple[Member, Member]]:
    """Two processes over one store, each with its own connection to Kafka."""
    backend = open_memory(partitions=PARTITIONS)
    async with AsyncExitStack() as opened:
        members = []
        for _ in range(2):
            bus = await KafkaBus.open(settings)
            opened.push_async_callback(bus.close)
            member = Member(replace(backend, bus=bus), look_seconds=0.2)
            opened.push_async_callback(member.stop)
            await member.start()
            members.append(member)
        one, two = members
        yield one, two


async def deposited(member: Member, amount: int) -> None:
    for name in NAMES:
        await member.deposit(name, amount)
    await member.projected(seconds=SECONDS)
    await member.projected(TOTALS, seconds=SECONDS)


async def test_what_two_processes_fold_is_right_before_during_and_after_one_of_them_goes(
    pair: tuple[Member, Member],
) -> None:
    one, two = pair
    await deposited(one, 1)

    async def shared() -> bool:
        return len(one.owned) == len(two.owned) == 1 and one.owned != two.owned

    await eventually(shared, SECONDS)
    await deposited(one, 10)
    await one.stop()
    await deposited(two, 100)
    assert two.owned == {0, 1}
    assert {await two.balance(name) for name in NAMES} == {111}
    assert (await two.row("bank", view=TOTALS)).deposited_cents == 111 * len(NAMES)
    await one.restart()
    await eventually(shared, SECONDS)
    await deposited(one, 1_000)
    assert {await two.balance(name) for name in NAMES} == {1_111}
    assert sum(await two.backend.log.ends()) == 4 * len(NAMES)
