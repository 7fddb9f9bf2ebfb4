"""A member of a consumer group, with its thread; promise: what another one may hold is let go.

The group protocol is Kafka's new one (`group.protocol=consumer`): partitions come and go one by
one. A partition that was taken away in order has its finished offsets kept first; of one that was
lost nothing is kept, because another member has gone on from there. Each time that a partition
comes it gets a new term, and offsets of an earlier term are never kept.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from eventspine.storage.kafka.logs import log
from eventspine.storage.kafka.settings import KafkaSettings, new_consumer

POLL_SECONDS = 0.1
"""How long the thread waits for messages before it looks whether it is to end."""

BURST_MESSAGES_MAX = 500
"""How many messages are taken from the driver at once."""

COMMIT_SECONDS = 0.2
"""How often finished offsets are kept. They are hints: a repetition is harmless."""

RETRY_SECONDS = 1.0
"""How long to wait before a client that broke down is made anew."""

QUEUED_KIBIBYTES_MAX = 16 * 1024
"""How much the driver fetches ahead."""


class Place(NamedTuple):
    """How far a partition has been read, in one term of owning it."""

    term: int
    offset: int


class Membership:
    """One member, which reads what it owns, or nothing while it is `resting`."""

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        group: str,
        *,
        take: Callable[[Sequence[tuple[Message, int]]], None] | None,
        changed: Callable[[frozenset[int]], None],
    ) -> None:
        """Prepares a member; `start` joins.

        Args:
            settings: How to reach Kafka.
            topic: What to read.
            group: The group's full name.
            take: Called in the thread with messages and the term of each; None owns partitions and
                reads nothing.
            changed: Called in the thread when the owned partitions are others.
        """
        self._settings = settings
        self._topic = topic
        self._group = group
        self._take = take
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._owned: dict[int, int] = {}
        self._terms = 0
        self._finished: dict[int, Place] = {}
        self._full = False
        self._closing = threading.Event()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"kafka: {group}", daemon=True)

    def start(self) -> None:
        """Joins the group, in the background."""
        self._thread.start()

    async def stop(self) -> None:
        """Keeps the finished offsets and leaves the group; returns when it has left."""
        self._closing.set()
        await self._ended.wait()

    @property
    def owned(self) -> frozenset[int]:
        """The partitions that are owned now."""
        with self._lock:
            return frozenset(self._owned)

    def finish(self, places: dict[int, Place]) -> None:
        """Notes what is done with; its offsets are kept soon. Any thread may call it."""
        with self._lock:
            for partition, place in places.items():
                if self._owned.get(partition) == place.term:
                    self._finished[partition] = place

    def rest(self, *, full: bool) -> None:
        """Stops reading while there is no room, and goes on. Any thread may call it."""
        self._full = full

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                try:
                    self._session()
                except Exception as error:
                    # Whatever broke the client, a new one goes on from the kept offsets.
                    log.error("group %s joins again: %s", self._group, error)
                    self._lose()
                    self._closing.wait(RETRY_SECONDS)
        finally:
            _tell(self._loop, self._ended.set)

    def _session(self) -> None:
        consumer = new_consumer(
            self._settings,
            {
                "group.id": self._group,
                "group.protocol": "consumer",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "queued.max.messages.kbytes": QUEUED_KIBIBYTES_MAX,
                "error_cb": self._failed,
            },
        )
        try:
            consumer.subscribe(
                [self._topic],
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost,
            )
            self._read(consumer)
            self._keep(consumer, self._drain())
        finally:
            # Closing gives the partitions back through `_revoked`.
            consumer.close()

    def _read(self, consumer: Consumer) -> None:
        resting = False
        due = time.monotonic() + COMMIT_SECONDS
        while not self._closing.is_set():
            if resting != self._full:
                resting = self._full
                (consumer.pause if resting else consumer.resume)(consumer.assignment())
            messages = consumer.consume(1, POLL_SECONDS)
            if messages and not resting:
                messages += consumer.consume(BURST_MESSAGES_MAX - 1, 0)
            self._hand_over(messages)
            if self._finished and time.monotonic() >= due:
                self._keep(consumer, self._drain())
                due = time.monotonic() + COMMIT_SECONDS

    def _hand_over(self, messages: Sequence[Message]) -> None:
        taken: list[tuple[Message, int]] = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._failed(error)
                continue
            term = self._owned.get(message.partition() or 0)
            if term is not None:
                taken.append((message, term))
        if taken and self._take is not None:
            self._take(taken)

    def _drain(self) -> dict[int, Place]:
        with self._lock:
            finished, self._finished = self._finished, {}
        return finished

    def _keep(self, consumer: Consumer, finished: dict[int, Place]) -> None:
        if not finished:
            return
        offsets = [
            TopicPartition(self._topic, partition, place.offset)
            for partition, place in finished.items()
        ]
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # Others get these messages again, which they know to be old.
            log.warning("group %s could not keep its offsets: %s", self._group, error)

    def _assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        consumer.incremental_assign(list(partitions))
        if self._take is None or self._full:
            consumer.pause(list(partitions))
        with self._lock:
            for one in partitions:
                self._terms += 1
                self._owned[one.partition] = self._terms
        self._changed(self.owned)

    def _revoked(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        numbers = [one.partition for one in partitions]
        with self._lock:
            finished = {n: self._finished.pop(n) for n in numbers if n in self._finished}
        self._keep(consumer, finished)
        self._let_go(numbers)
        consumer.incremental_unassign(list(partitions))

    def _lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._let_go([one.partition for one in partitions])
        consumer.incremental_unassign(list(partitions))

    def _lose(self) -> None:
        self._let_go(list(self._owned))

    def _let_go(self, partitions: Sequence[int]) -> None:
        with self._lock:
            for partition in partitions:
                self._owned.pop(partition, None)
                self._finished.pop(partition, None)
        self._changed(self.owned)

    def _failed(self, error: KafkaError) -> None:
        log.warning("group %s: %s", self._group, error)


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Calls something in the loop, unless that has ended."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        log.debug("the event loop has ended before its Kafka client")
