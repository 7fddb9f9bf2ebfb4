"""Which partitions of the log belong to this process; promise: one owner each, as Kafka sees it.

A member of a group on the topic of raw records that reads nothing. For a moment the old owner and
the new one may both work; the conditions of the store keep them from harming each other.
"""

import asyncio
from typing import Self

from eventspine.storage.kafka.membership import Membership
from eventspine.storage.kafka.settings import KafkaSettings


class Share:
    """Iterates over the sets of partitions that this process owns."""

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        """Joins the group, in the background."""
        self._loop = asyncio.get_running_loop()
        self._owned: frozenset[int] = frozenset()
        self._told: frozenset[int] | None = None
        self._changed = asyncio.Event()
        self._closed = False
        self._membership = Membership(
            settings, settings.topic("events"), group, take=None, changed=self._owns
        )
        self._membership.start()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> frozenset[int]:
        while not self._closed:
            self._changed.clear()
            owned = self._owned
            if owned != self._told and (owned or self._told is not None):
                self._told = owned
                return owned
            await self._changed.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Gives all partitions back."""
        self._closed = True
        self._changed.set()
        await self._membership.stop()

    def _owns(self, owned: frozenset[int]) -> None:
        self._loop.call_soon_threadsafe(self._note, owned)

    def _note(self, owned: frozenset[int]) -> None:
        self._owned = owned
        self._changed.set()
