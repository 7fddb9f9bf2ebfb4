"""The bus of all processes; promise: at least once to a group, and anything that can befall that.

Messages get lost, come twice, late and in another order. Groups are shared out anew at any time, so
that a process works on a batch of a partition that is another one's already.
"""

import asyncio
from collections.abc import Sequence
from typing import Self

from eventspine.storage.errors import BusUnavailableError
from eventspine.storage.ports import BusMessage
from tests.faults.simulation.faults import Faults
from tests.faults.simulation.line import Line

Batch = Sequence[BusMessage]

SESSION_SECONDS = 3.0
"""After how long a dead member is taken out of its group."""

NEWS_SECONDS_MAX = 2.0
"""How long it may take until a process hears that a partition is another one's."""

LATE_SECONDS_MAX = 5.0
"""How much later than the others a message comes at most."""


class Broker:
    """The servers' side: what is published, and which groups there are."""

    def __init__(self, partitions: int, faults: Faults, *, offsets_early: bool = False) -> None:
        """Starts empty, with groups over so many partitions."""
        self.faults = faults
        self.partitions = partitions
        self.offsets_early = offsets_early
        self.kept: dict[str, tuple[list[BusMessage], ...]] = {}
        self.tails: dict[str, list[_Tail]] = {}
        self.groups: dict[str, _Group] = {}

    def take(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> None:
        """Takes a publication, with what befalls it."""
        faults, label = self.faults, f"{len(messages)} messages of {channel} {partition}"
        if faults.strikes("message lost", label):
            messages = messages[: int(faults.between(0, len(messages)))]
        if faults.strikes("messages reordered", label):
            messages = sorted(messages, key=lambda _: faults.between(0, 1))
        repeated = faults.strikes("message repeated", label)
        for turn in range(1 + repeated):
            if turn or faults.strikes("message late", label):
                loop = asyncio.get_running_loop()
                seconds = faults.between(0, LATE_SECONDS_MAX)
                loop.call_later(seconds, self._arrived, channel, partition, messages)
            else:
                self._arrived(channel, partition, messages)
        if faults.strikes("rebalance", label):
            for group in self.groups.values():
                group.share_out(turn=1)

    def group(self, name: str) -> "_Group":
        """Returns a group, a new one where there is none of the name."""
        if name not in self.groups:
            self.groups[name] = _Group(self)
        return self.groups[name]

    def channel(self, name: str) -> tuple[list[BusMessage], ...]:
        """Returns what is kept of a channel, by partition."""
        if name not in self.kept:
            self.kept[name] = tuple([] for _ in range(self.partitions))
        return self.kept[name]

    def _arrived(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> None:
        self.channel(channel)[partition].extend(messages)
        for tail in self.tails.get(channel, ()):
            tail.put(messages)
        for group in self.groups.values():
            group.changed.set()


class _Group:
    """The members of a group, whose each partition is, and up to where it is done."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._turn = 0
        self.members: list[_Member | _Share] = []
        self.owner: dict[int, _Member | _Share] = {}
        self.done = [0] * broker.partitions
        self.changed = asyncio.Event()

    def join(self, member: "_Member | _Share", line: Line) -> None:
        self.members.append(member)
        line.leaving.append(lambda: self._leave_later(member))
        self.share_out()

    def leave(self, member: "_Member | _Share") -> None:
        if member in self.members:
            self.members.remove(member)
            self.share_out()

    def share_out(self, turn: int = 0) -> None:
        """Gives the partitions to the members in turn."""
        self._turn += turn
        count = len(self.members)
        self.owner = (
            {p: self.members[(p + self._turn) % count] for p in range(self._broker.partitions)}
            if count
            else {}
        )
        self.changed.set()

    def _leave_later(self, member: "_Member | _Share") -> None:
        asyncio.get_running_loop().call_later(SESSION_SECONDS, self.leave, member)

    def of(self, member: "_Member | _Share") -> frozenset[int]:
        return frozenset(p for p, owner in self.owner.items() if owner is member)


class _Member:
    """The port `GroupReader`."""

    def __init__(self, broker: Broker, channel: str, group: str, line: Line) -> None:
        self.owned: frozenset[int] = frozenset()
        self._kept = broker.channel(channel)
        self._early = broker.offsets_early
        self._faults = broker.faults
        self._group = broker.group(f"{group} of {channel}")
        self._line = line
        self._taken: dict[int, int] = {}
        self._closed = False
        self._group.join(self, line)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        self._commit()
        while not self._closed:
            self._line.check()
            self.owned = self._group.of(self)
            batch = self._take()
            if batch:
                return batch
            self._group.changed.clear()
            await self._group.changed.wait()
            # Whoever else waits looks as well, and what comes meanwhile makes one batch.
            await asyncio.sleep(self._faults.travel())
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._closed = True
        if not self._line.dead:
            self._group.leave(self)

    def _take(self) -> Batch:
        batch: list[BusMessage] = []
        for partition in sorted(self.owned):
            kept, done = self._kept[partition], self._group.done[partition]
            batch += kept[done:]
            self._taken[partition] = len(kept)
        if self._early:
            self._commit()
        return batch

    def _commit(self) -> None:
        """What is another one's now counts as that one says."""
        for partition in self._group.of(self) & self._taken.keys():
            self._group.done[partition] = max(self._group.done[partition], self._taken[partition])
        self._taken.clear()


class _Share:
    """The port `ShareReader`; a process hears of a change later than it is one."""

    def __init__(self, broker: Broker, group: str, line: Line) -> None:
        self._group = broker.group(group)
        self._faults = broker.faults
        self._line = line
        self._told: frozenset[int] | None = None
        self._closed = False
        self._group.join(self, line)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> frozenset[int]:
        while not self._closed:
            self._line.check()
            owned = self._group.of(self)
            if owned != self._told:
                self._told = owned
                return owned
            self._group.changed.clear()
            await self._group.changed.wait()
            if not self._faults.quiet:
                await asyncio.sleep(self._faults.between(0, NEWS_SECONDS_MAX))
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._closed = True
        if not self._line.dead:
            self._group.leave(self)
        self._group.changed.set()


class _Tail:
    """The port `BusReader` of a tail."""

    def __init__(self, tails: "list[_Tail]", line: Line) -> None:
        self._tails = tails
        self._line = line
        self._messages: list[BusMessage] = []
        self._filled = asyncio.Event()
        self._closed = False
        tails.append(self)
        line.leaving.append(self._leave)

    def put(self, messages: Sequence[BusMessage]) -> None:
        self._messages += messages
        self._filled.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        while not self._closed:
            self._line.check()
            if self._messages:
                messages, self._messages = self._messages, []
                return messages
            self._filled.clear()
            await self._filled.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._leave()
        self._closed = True
        self._filled.set()

    def _leave(self) -> None:
        if self in self._tails:
            self._tails.remove(self)


class FarBus:
    """The port `Bus`, of one process."""

    def __init__(self, broker: Broker, line: Line) -> None:
        self._broker = broker
        self._line = line

    async def publish(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> None:
        line, faults = self._line, self._broker.faults
        line.check()
        if not messages:
            return
        what = f"publish {len(messages)} on {channel} {partition}"
        await line.ask(what, _nothing)
        if faults.strikes("bus unavailable", f"{line.name} {what}"):
            self._broker.take(channel, partition, messages[: int(faults.between(0, 2))])
            raise BusUnavailableError(what, cause="simulated")
        self._broker.take(channel, partition, messages)

    def publish_now(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> bool:
        return False

    def consume(self, channel: str, group: str) -> _Member:
        return _Member(self._broker, channel, group, self._line)

    def tail(self, channel: str) -> _Tail:
        return _Tail(self._broker.tails.setdefault(channel, []), self._line)

    def shares(self, group: str) -> _Share:
        return _Share(self._broker, group, self._line)


async def _nothing() -> None:
    """A way without anything at its end."""
