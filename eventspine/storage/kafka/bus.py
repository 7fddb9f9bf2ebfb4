"""The Bus over Kafka; promise: at least once for groups, and nothing that is told was not stored.

Each channel is one topic with a partition for each of the log's. The driver's clients are
synchronous and each has one thread; what they bring is decoded there and handed to the event loop
in bursts.
"""

import asyncio
from collections.abc import Callable, Sequence

from confluent_kafka import Message

from eventspine.storage.bus import LocalBus
from eventspine.storage.errors import BusUnavailableError
from eventspine.storage.kafka.group import GroupReader
from eventspine.storage.kafka.logs import log
from eventspine.storage.kafka.messages import (
    LeftOut,
    UnknownMessageError,
    decoded_change,
    decoded_record,
    encoded,
)
from eventspine.storage.kafka.send import Sender
from eventspine.storage.kafka.settings import KafkaSettings
from eventspine.storage.kafka.share import Share
from eventspine.storage.kafka.tail import TopicTail
from eventspine.storage.kafka.topics import prepare
from eventspine.storage.ports import BusMessage, BusReader

BURST_MESSAGES = 16
"""How many messages of one publication go out together; fewer are not to wait for each other."""

BURST_LINGER_MS = 1
"""How long it takes to hand a burst to the driver, about; it would go out in small parts."""

_Closable = GroupReader | Share


class KafkaBus:
    """The Bus of a platform of several processes.

    A new group begins with the oldest messages that the topic has.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        """Prepares a bus; `open` is the way to one that can be used."""
        self._settings = settings
        self._source = f"/{settings.prefix}"
        self._sender = Sender(settings)
        self._bursts = Sender(settings, linger_ms=BURST_LINGER_MS)
        self._readers = LocalBus()
        self._tails: dict[str, TopicTail] = {}
        self._members: list[_Closable] = []

    @classmethod
    async def open(cls, settings: KafkaSettings) -> "KafkaBus":
        """Makes or checks the topics and starts a bus.

        Raises:
            BusSetupError: The brokers cannot be reached, or a topic is missing or not as it has to
                be. Nothing was started.
        """
        await asyncio.to_thread(prepare, settings)
        bus = cls(settings)
        bus._sender.start()
        bus._bursts.start()
        return bus

    async def publish(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> None:
        """Sends messages, in order; returns when the brokers have them.

        Raises:
            BusUnavailableError: Some may have been handed on, not all. Safe to call again.
        """
        topic = self._settings.topic(channel)
        if not messages:
            return
        await self._placed(channel)
        sender = self._sender if len(messages) < BURST_MESSAGES else self._bursts
        await sender.send(
            topic, partition, [encoded(message, self._source) for message in messages]
        )

    def publish_now(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> bool:
        """Hands nothing on: the brokers have to answer."""
        return False

    def consume(self, channel: str, group: str) -> GroupReader:
        """Iterates over batches for a group; at least once, in order within a partition."""
        reader = GroupReader(
            self._settings, self._settings.topic(channel), self._group(group), _decoder(channel)
        )
        self._members.append(reader)
        return reader

    def tail(self, channel: str) -> BusReader:
        """Iterates over batches from now on; an empty batch where messages were left out."""
        reader = self._readers.tail(channel)
        if channel not in self._tails:
            tail = TopicTail(self._settings, channel, _decoder(channel), self._readers)
            self._tails[channel] = tail
            tail.start()
        return reader

    def shares(self, group: str) -> Share:
        """Iterates over the sets of partitions that this process owns in a group."""
        share = Share(self._settings, f"{self._group(group)}.shares")
        self._members.append(share)
        return share

    async def close(self) -> None:
        """Sends what is on its way, leaves all groups and ends all threads. Again is harmless."""
        members, self._members = self._members, []
        tails, self._tails = list(self._tails.values()), {}
        await asyncio.gather(
            *(member.aclose() for member in members),
            *(tail.stop() for tail in tails),
            self._sender.stop(),
            self._bursts.stop(),
        )

    def _group(self, name: str) -> str:
        return f"{self._settings.prefix}.{name}"

    async def _placed(self, channel: str) -> None:
        """Waits until a tail that was asked for before would see what is sent now."""
        tail = self._tails.get(channel)
        if tail is None or tail.placed.is_set():
            return
        try:
            async with asyncio.timeout(self._settings.publish_timeout_seconds):
                await tail.placed.wait()
        except TimeoutError as error:
            raise BusUnavailableError(
                f"Kafka at {self._settings.bootstrap_servers} does not answer; nothing was sent",
                cause="no answer",
            ) from error


def _decoder(channel: str) -> Callable[[Message], BusMessage | LeftOut | None]:
    return _change if channel == "changes" else _record


def _record(message: Message) -> BusMessage | None:
    """Decodes a record; None for a message of somebody else."""
    try:
        return decoded_record(
            message.partition() or 0,
            message.key() or b"",
            message.value() or b"",
            message.headers() or [],  # type: ignore[arg-type] # pairs of name and bytes, as the driver reads them
        )
    except UnknownMessageError as error:
        _passed_over(message, error)
        return None


def _change(message: Message) -> BusMessage | LeftOut | None:
    """Decodes a change; None for a message of somebody else, or of a kind of a later version."""
    try:
        return decoded_change(message.value() or b"")
    except UnknownMessageError as error:
        _passed_over(message, error)
        return None


def _passed_over(message: Message, error: Exception) -> None:
    log.warning(
        "offset %s of partition %s of %s is passed over: %s",
        *(message.offset(), message.partition(), message.topic(), error),
    )
