"""The end of a topic, read once a process; promise: what is left out is said.

All partitions are read without a group, from their ends at the beginning on. Whoever asks for the
tail of the channel gets it from here, through the bus inside of the process, which bounds what
waits for a slow reader. What may have been left out before the ends were known, or while the topic
was made anew, is told as left out.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from eventspine.storage.bus import LocalBus
from eventspine.storage.kafka.logs import log
from eventspine.storage.kafka.membership import (
    BURST_MESSAGES_MAX,
    POLL_SECONDS,
    QUEUED_KIBIBYTES_MAX,
    RETRY_SECONDS,
)
from eventspine.storage.kafka.messages import LeftOut
from eventspine.storage.kafka.settings import KafkaSettings, new_consumer
from eventspine.storage.ports import BusMessage

BURSTS_MAX = 8
"""How many bursts may wait for the event loop; the thread reads no further meanwhile."""

Decode = Callable[[Message], BusMessage | LeftOut | None]
"""Decodes a message; None passes it over."""


class TopicTail:
    """The one reader of a topic's end in this process."""

    def __init__(
        self, settings: KafkaSettings, channel: str, decode: Decode, readers: LocalBus
    ) -> None:
        """Prepares the reader; `start` begins.

        Args:
            settings: How to reach Kafka.
            channel: What to follow.
            decode: Decodes a message; called in the reader's thread.
            readers: Who gets what comes, by its `tail`.
        """
        self.placed = asyncio.Event()
        self._settings = settings
        self._channel = channel
        self._decode = decode
        self._readers = readers
        self._loop = asyncio.get_running_loop()
        self._bursts = threading.Semaphore(BURSTS_MAX)
        self._closing = threading.Event()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"kafka: {channel}", daemon=True)

    def start(self) -> None:
        """Begins to read; `placed` is set when the ends are known."""
        self._thread.start()

    async def stop(self) -> None:
        """Ends reading."""
        self._closing.set()
        await self._ended.wait()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                try:
                    self._session()
                except Exception as error:
                    log.warning("%s is followed anew from its end: %s", self._channel, error)
                    self._closing.wait(RETRY_SECONDS)
        finally:
            self._tell(self._ended.set)

    def _session(self) -> None:
        consumer = new_consumer(
            self._settings,
            {
                "group.id": f"{self._settings.prefix}.tail",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # An offset that is gone is an error here: it says that something was left out.
                "auto.offset.reset": "error",
                "queued.max.messages.kbytes": QUEUED_KIBIBYTES_MAX,
                "error_cb": self._failed,
            },
        )
        try:
            self._place(consumer)
            while not self._closing.is_set():
                messages = consumer.consume(1, POLL_SECONDS)
                if messages:
                    messages += consumer.consume(BURST_MESSAGES_MAX - 1, 0)
                    self._hand_over(messages)
        finally:
            consumer.close()

    def _place(self, consumer: Consumer) -> None:
        topic = self._settings.topic(self._channel)
        everywhere = [
            TopicPartition(topic, partition, OFFSET_END)
            for partition in range(self._settings.partitions)
        ]
        ends = consumer.offsets_for_times(everywhere, timeout=self._settings.start_timeout_seconds)
        for end in ends:
            if end.error is not None:
                raise KafkaException(end.error)
        consumer.assign(ends)
        self._tell(self._begin)

    def _begin(self) -> None:
        self.placed.set()
        self._readers.leave_out(self._channel)

    def _hand_over(self, messages: Sequence[Message]) -> None:
        batch: list[BusMessage] = []
        left_out = False
        for message in messages:
            error = message.error()
            if error is not None:
                self._judge(error)
                continue
            told = self._decode(message)
            if isinstance(told, LeftOut):
                left_out = True
            elif told is not None:
                batch.append(told)
        while not self._bursts.acquire(timeout=POLL_SECONDS):
            if self._closing.is_set():
                return
        self._tell(lambda: self._put(batch, left_out=left_out))

    def _put(self, batch: Sequence[BusMessage], *, left_out: bool) -> None:
        self._bursts.release()
        if batch:
            self._readers.put(self._channel, batch)
        if left_out:
            self._readers.leave_out(self._channel)

    def _judge(self, error: KafkaError) -> None:
        """Passes over what heals by itself; ends the session where places were lost."""
        self._failed(error)
        if error.fatal() or error.code() in (
            KafkaError._AUTO_OFFSET_RESET,
            KafkaError.OFFSET_OUT_OF_RANGE,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError.UNKNOWN_TOPIC_ID,
        ):
            raise KafkaException(error)

    def _failed(self, error: KafkaError) -> None:
        log.warning("following %s: %s", self._channel, error)

    def _tell(self, call: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            log.debug("the event loop has ended before its Kafka client")
