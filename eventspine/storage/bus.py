"""The bus inside of one process: hands messages from writers to readers; promise: bounded memory.

A reader of `tail` that is too slow loses what waits for it and is told so by an empty batch; it
never holds a publisher up. A group of `consume` loses nothing: when too much waits for it, its
publishers wait, so a group must go on being consumed for as long as anything is published.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Self

from eventspine.storage.ports import BusMessage

TAIL_MESSAGES_MAX = 20_000
"""How many messages may wait for one reader of `tail`."""

GROUP_MESSAGES_MAX = 20_000
"""From how many waiting messages on a group makes its publishers wait."""

Batch = Sequence[BusMessage]


class LocalBus:
    """The Bus of a platform that runs in one process.

    A tail follows from the moment of the call to `tail`, and a group exists from the first call to
    `consume` on, for good; both before the first step of the iteration. What was published earlier
    is not kept. All that waits is handed over as one batch.
    """

    def __init__(
        self,
        *,
        partitions: int = 1,
        tail_messages_max: int = TAIL_MESSAGES_MAX,
        group_messages_max: int = GROUP_MESSAGES_MAX,
    ) -> None:
        """Bounds the messages that may wait for a reader or a group.

        Args:
            partitions: How many partitions the log has.
            tail_messages_max: How many messages may wait for one reader of `tail`.
            group_messages_max: From how many on a group makes its publishers wait.
        """
        self._all = frozenset(range(partitions))
        self._tail_messages_max = tail_messages_max
        self._group_messages_max = group_messages_max
        self._channels: dict[str, _Channel] = {}

    async def publish(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> None:
        """Hands messages on, in order; waits while a group of the channel has too many.

        Cancelled while it waits, it has handed on nothing.
        """
        if not messages or self.publish_now(channel, partition, messages):
            return
        place = self._channel(channel)
        # The lock keeps those who wait for room in their order.
        async with place.lock:
            for group in place.groups.values():
                await group.wait_for_room()
            place.put(messages)

    def publish_now(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> bool:
        """Hands messages on, in order, unless the channel has groups, which may have too many."""
        place = self._channel(channel)
        if place.groups:
            return False
        if messages:
            place.put(messages)
        return True

    def consume(self, channel: str, group: str) -> "_Consumer":
        """Iterates over batches for a group; at least once, in order.

        A consumer that is closed or thrown away between two steps leaves its batch to the next one
        of the group. Several consumers of one group share its batches.
        """
        groups = self._channel(channel).groups
        if group not in groups:
            groups[group] = _Group(self._group_messages_max)
        return _Consumer(groups[group], self._all)

    def tail(self, channel: str) -> "_Tail":
        """Iterates over batches from now on; an empty batch where messages were left out."""
        tails = self._channel(channel).tails
        reader = _Tail(self._tail_messages_max, tails)
        tails.add(reader)
        return reader

    def shares(self, group: str) -> "_Share":
        """Iterates over the partitions of this process: all of them, once."""
        return _Share(self._all)

    def put(self, channel: str, messages: Sequence[BusMessage]) -> None:
        """Hands messages on at once, in order, however many wait for a group."""
        self._channel(channel).put(messages)

    def leave_out(self, channel: str) -> None:
        """Tells all who read the channel's tail that messages were left out."""
        for tail in self._channel(channel).tails:
            tail.leave_out()

    def _channel(self, name: str) -> "_Channel":
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel()
        return channel


class _Channel:
    """Those who follow one channel."""

    def __init__(self) -> None:
        # A reader lives as long as its iterator, also when that was never begun or closed.
        self.tails: weakref.WeakSet[_Tail] = weakref.WeakSet()
        self.groups: dict[str, _Group] = {}
        self.lock = asyncio.Lock()

    def put(self, messages: Batch) -> None:
        for tail in self.tails:
            tail.put(messages)
        for group in self.groups.values():
            group.put(messages)


class _Tail:
    """What waits for one reader: at most `messages_max`, then only the fact that some was lost."""

    def __init__(self, messages_max: int, tails: "weakref.WeakSet[_Tail]") -> None:
        self._messages_max = messages_max
        self._tails = tails
        self._batches: list[Batch] = []
        self._count = 0
        self._missed = False
        self._closed = False
        self._filled = asyncio.Event()

    def put(self, messages: Batch) -> None:
        self._count += len(messages)
        if self._count > self._messages_max:
            self.leave_out()
        else:
            self._batches.append(messages)
            self._filled.set()

    def leave_out(self) -> None:
        # What waits is of no use before the reader has looked at the store.
        self._batches.clear()
        self._missed = True
        self._count = 0
        self._filled.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        await self._filled.wait()
        if self._closed:
            raise StopAsyncIteration
        if self._missed:
            self._missed = False
            if not self._batches:
                self._filled.clear()
            return ()
        batches, self._batches = self._batches, []
        self._count = 0
        self._filled.clear()
        return _joined(batches)

    async def aclose(self) -> None:
        self._tails.discard(self)
        self._batches.clear()
        self._closed = True
        self._filled.set()


class _Group:
    """What waits for the consumers of one group."""

    def __init__(self, messages_max: int) -> None:
        self._messages_max = messages_max
        self._batches: deque[Batch] = deque()
        self._count = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, messages: Batch) -> None:
        self._batches.append(messages)
        self._counted(len(messages))

    def put_back(self, messages: Batch) -> None:
        self._batches.appendleft(messages)
        self._counted(len(messages))

    async def wait_for_room(self) -> None:
        await self._room.wait()

    async def wait_for_messages(self) -> None:
        self._filled.clear()
        await self._filled.wait()

    def wake(self) -> None:
        """Lets waiting consumers look again, because one of them was closed."""
        self._filled.set()

    def take(self) -> Batch:
        """Returns all that waits; empty when another consumer was quicker."""
        batches = list(self._batches)
        self._batches.clear()
        self._counted(-self._count)
        return _joined(batches)

    def _counted(self, change: int) -> None:
        self._count += change
        if self._batches:
            self._filled.set()
        if self._count < self._messages_max:
            self._room.set()
        else:
            self._room.clear()


class _Consumer:
    """One consumer of a group, and the batch that it works on."""

    def __init__(self, group: _Group, owned: frozenset[int]) -> None:
        self.owned = owned
        self._group = group
        self._batch: Batch | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        self._batch = None
        while not self._closed:
            batch = self._group.take()
            if batch:
                self._batch = batch
                return batch
            await self._group.wait_for_messages()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._leave()
        self._group.wake()

    def __del__(self) -> None:
        # A consumer that fell over without closing must not take its batch along.
        self._leave()

    def _leave(self) -> None:
        self._closed = True
        if self._batch is not None:
            self._group.put_back(self._batch)
            self._batch = None


class _Share:
    """All partitions, to be taken once."""

    def __init__(self, partitions: frozenset[int]) -> None:
        self._partitions = partitions
        self._told = False
        self._closed = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> frozenset[int]:
        if not self._told and not self._closed.is_set():
            self._told = True
            return self._partitions
        await self._closed.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._closed.set()


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    messages: Iterable[BusMessage] = chain.from_iterable(batches)
    return list(messages)
