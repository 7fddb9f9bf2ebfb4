"""Sending to Kafka; promise: a publication returns when the brokers have all of it, or fails.

One idempotent producer with `acks=all`, and one thread that asks it for delivery reports. However
many messages a burst of reports is about, the event loop is woken once.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from eventspine.storage.errors import BusUnavailableError
from eventspine.storage.kafka.logs import log
from eventspine.storage.kafka.messages import CHANGE_BYTES_MAX, Encoded
from eventspine.storage.kafka.settings import KafkaSettings, new_producer

IN_FLIGHT_MAX = 50_000
"""How many messages may be on their way; publications wait for room."""

QUEUE_KIBIBYTES_MAX = 256 * 1024
"""How much memory the messages on their way may take."""

POLL_SECONDS = 0.1
"""How long the thread waits for reports before it looks whether it is to end."""

FULL_SECONDS = 0.01
"""How long a publication waits when the driver's memory is full."""


class Sender:
    """Sends messages to topics."""

    def __init__(self, settings: KafkaSettings, *, linger_ms: int = 0) -> None:
        """Makes the producer; nothing is connected before the first message.

        Args:
            settings: How to reach Kafka.
            linger_ms: How long the driver waits for more messages before it sends the first one.
        """
        self._linger_ms = linger_ms
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._producers = [self._new()]
        self._fatal = False
        self._in_flight = 0
        self._room = asyncio.Event()
        self._room.set()
        self._ended: list[_Delivery] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka: send", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    async def send(self, topic: str, partition: int, messages: Sequence[Encoded]) -> None:
        """Sends messages in order; returns when the brokers have them.

        Raises:
            BusUnavailableError: Some may have arrived, not all. Safe to call again.
        """
        while self._in_flight >= IN_FLIGHT_MAX:
            self._room.clear()
            await self._room.wait()
        delivery = _Delivery(self._loop.create_future(), len(messages), self._ended)
        self._in_flight += len(messages)
        produced = 0
        try:
            for message in messages:
                await self._produce(topic, partition, message, delivery)
                produced += 1
        except KafkaException as error:
            delivery.error = error.args[0]
        finally:
            if delivery.less(len(messages) - produced + 1):
                self._finish([delivery])
        failure = await delivery.future
        if failure is not None:
            raise BusUnavailableError(
                f"Kafka did not take all of {len(messages)} messages for {topic}: {failure.str()}",
                cause=failure.name(),
            )

    async def stop(self) -> None:
        """Sends what is on its way, as far as it goes in time, and ends the thread."""
        self._closing.set()
        await asyncio.to_thread(self._thread.join)

    def failed(self, error: KafkaError) -> None:
        """Notes what the driver says of its connections; after a fatal error it starts anew."""
        if error.fatal():
            self._fatal = True
        log.log(logging.ERROR if error.fatal() else logging.WARNING, "sending to Kafka: %s", error)

    def _new(self) -> Producer:
        timeout_ms = int(self._settings.publish_timeout_seconds * 1000)
        return new_producer(
            self._settings,
            {
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": self._linger_ms,
                "message.timeout.ms": timeout_ms,
                "request.timeout.ms": timeout_ms,
                "message.max.bytes": CHANGE_BYTES_MAX,
                "queue.buffering.max.messages": 2 * IN_FLIGHT_MAX,
                "queue.buffering.max.kbytes": QUEUE_KIBIBYTES_MAX,
                "error_cb": self.failed,
            },
        )

    async def _produce(
        self, topic: str, partition: int, message: Encoded, delivery: "_Delivery"
    ) -> None:
        while True:
            try:
                self._producers[-1].produce(
                    topic,
                    message.value,
                    message.key,
                    partition,
                    delivery.reported,
                    headers=message.headers,
                )
                return
            except BufferError:
                # The driver tells nobody when it has room again.
                await asyncio.sleep(FULL_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._poll(POLL_SECONDS)
            if self._fatal:
                self._fatal = False
                self._producers.append(self._new())
        for producer in self._producers:
            producer.flush(self._settings.publish_timeout_seconds)
        self._poll(0)

    def _poll(self, seconds: float) -> None:
        for producer in self._producers[:-1]:
            # One that broke down still owes reports of what it was given before.
            producer.poll(0)
            if not len(producer):
                self._producers.remove(producer)
        self._producers[-1].poll(seconds)
        # Reports come while the producer is polled, in this thread and no other.
        if self._ended:
            ended = list(self._ended)
            self._ended.clear()
            self._loop.call_soon_threadsafe(self._finish, ended)

    def _finish(self, deliveries: Sequence["_Delivery"]) -> None:
        for delivery in deliveries:
            self._in_flight -= delivery.count
            if not delivery.future.done():
                delivery.future.set_result(delivery.error)
        if self._in_flight < IN_FLIGHT_MAX:
            self._room.set()


class _Delivery:
    """One publication on its way."""

    def __init__(
        self, future: "asyncio.Future[KafkaError | None]", count: int, ended: list["_Delivery"]
    ) -> None:
        self.future = future
        self.count = count
        self.error: KafkaError | None = None
        # One more than there are messages, for the publication itself, until it has begun them all.
        self._left = count + 1
        self._lock = threading.Lock()
        self._ended = ended

    def reported(self, error: KafkaError | None, message: Message) -> None:
        """Takes a report, in the thread of the producer."""
        if error is not None:
            self.error = error
        if self.less(1):
            self._ended.append(self)

    def less(self, count: int) -> bool:
        """Notes that so many less are on their way; True for who takes the last one off."""
        with self._lock:
            self._left -= count
            return self._left == 0
