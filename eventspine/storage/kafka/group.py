"""What a group of consumers reads; promise: at least once, and done only at the next step."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Self

from confluent_kafka import Message

from eventspine.storage.kafka.membership import Membership, Place
from eventspine.storage.kafka.messages import LeftOut
from eventspine.storage.kafka.settings import KafkaSettings
from eventspine.storage.ports import BusMessage

WAITING_MESSAGES_MAX = 20_000
"""From how many messages on that wait for the next step no more are read."""

WAITING_BYTES_MAX = 64 * 1024 * 1024
"""From how many bytes on."""

Decode = Callable[[Message], BusMessage | LeftOut | None]
"""Decodes a message; None passes it over."""


class GroupReader:
    """One consumer of a group, and the batch that it works on."""

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        group: str,
        decode: Decode,
        *,
        messages_max: int = WAITING_MESSAGES_MAX,
    ) -> None:
        """Joins the group, in the background.

        Args:
            settings: How to reach Kafka.
            topic: What to read.
            group: The group's full name.
            decode: Decodes a message; called in the reader's thread.
            messages_max: From how many messages on that wait for a step no more are read.
        """
        self._messages_max = messages_max
        self._decode = decode
        self._loop = asyncio.get_running_loop()
        self._filled = asyncio.Event()
        self._closed = False
        self._lock = threading.Lock()
        self._waiting: dict[int, list[BusMessage]] = {}
        self._count = 0
        self._bytes = 0
        self._reached: dict[int, Place] = {}
        self._taken: dict[int, Place] = {}
        self._membership = Membership(settings, topic, group, take=self._take, changed=self._owns)
        self._membership.start()

    @property
    def owned(self) -> frozenset[int]:
        """The partitions that this consumer reads now."""
        return self._membership.owned

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[BusMessage]:
        self._membership.finish(self._taken)
        self._taken = {}
        while not self._closed:
            # Cleared first, so that what comes from now on sets it again.
            self._filled.clear()
            batch = self._step()
            if batch:
                return batch
            await self._filled.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Leaves the group; the batch that was handed out last goes to the next consumer."""
        self._closed = True
        self._filled.set()
        await self._membership.stop()

    def _step(self) -> list[BusMessage]:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            self._taken, self._reached = self._reached, {}
            self._count = self._bytes = 0
        self._membership.rest(full=False)
        return list(chain.from_iterable(waiting.values()))

    def _take(self, messages: Sequence[tuple[Message, int]]) -> None:
        decoded = [(message, term, self._decode(message)) for message, term in messages]
        with self._lock:
            for message, term, told in decoded:
                partition = message.partition() or 0
                self._reached[partition] = Place(term, (message.offset() or 0) + 1)
                if told is not None and not isinstance(told, LeftOut):
                    self._waiting.setdefault(partition, []).append(told)
                    self._count += 1
                    self._bytes += len(message)
            full = self._count >= self._messages_max or self._bytes >= WAITING_BYTES_MAX
        if full:
            self._membership.rest(full=True)
        self._loop.call_soon_threadsafe(self._filled.set)

    def _owns(self, owned: frozenset[int]) -> None:
        with self._lock:
            for partition in [one for one in self._waiting if one not in owned]:
                # Whoever owns it now reads these again.
                self._count -= len(self._waiting.pop(partition))
                self._reached.pop(partition, None)
