"""What the topics of records still hold, from beginning to end; read once, by nobody's group.

Used to bring back what was acknowledged after the last backup of a store that is gone.
"""

from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from eventspine.storage.errors import BusUnavailableError
from eventspine.storage.kafka.messages import UnknownMessageError, decoded_record
from eventspine.storage.kafka.settings import KafkaSettings, new_admin, new_consumer
from eventspine.storage.records import LogEntry

BATCH_MESSAGES = 1_000
WAIT_SECONDS = 1.0
TOPICS_SECONDS = 60.0


class Remains(NamedTuple):
    """Records by the channel that holds them, partition by partition, oldest first.

    Attributes:
        log: As they were sequenced. A sequence may come twice.
        events: As they were published, mostly in the order of their versions. Their sequence is 0.
    """

    log: list[LogEntry]
    events: list[LogEntry]


def remains(settings: KafkaSettings) -> Remains:
    """Reads both topics whole. Blocks.

    Raises:
        BusUnavailableError: Not all could be read.
    """
    return Remains(list(_records(settings, "log")), list(_records(settings, "events")))


def remove_topics(settings: KafkaSettings, channels: tuple[str, ...]) -> None:
    """Deletes topics that exist, and returns when they are gone; their messages are lost. Blocks.

    Raises:
        BusUnavailableError: Not all are gone.
    """
    admin = new_admin(settings, {})
    names = {settings.topic(channel) for channel in channels}
    try:
        there = names & set(admin.list_topics(timeout=TOPICS_SECONDS).topics)
        for deleted in admin.delete_topics(sorted(there)).values() if there else ():
            deleted.result(TOPICS_SECONDS)
        while names & set(admin.list_topics(timeout=TOPICS_SECONDS).topics):
            admin.poll(WAIT_SECONDS / 10)
    except KafkaException as error:
        raise BusUnavailableError(
            f"topics could not be deleted: {error}", cause=error.args[0].name()
        ) from error


def _records(settings: KafkaSettings, channel: str) -> Iterator[LogEntry]:
    consumer = new_consumer(
        settings, {"group.id": f"{settings.prefix}.remains", "enable.auto.commit": False}
    )
    try:
        for partition in range(settings.partitions):
            yield from _partition(consumer, settings.topic(channel), partition)
    except KafkaException as error:
        raise BusUnavailableError(
            f"channel {channel} cannot be read: {error}", cause=error.args[0].name()
        ) from error
    finally:
        consumer.close()


def _partition(consumer: Consumer, topic: str, partition: int) -> Iterator[LogEntry]:
    low, high = consumer.get_watermark_offsets(
        TopicPartition(topic, partition), timeout=TOPICS_SECONDS
    )
    consumer.assign([TopicPartition(topic, partition, low)])
    while low < high:
        for message in consumer.consume(BATCH_MESSAGES, WAIT_SECONDS):
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            low = (message.offset() or 0) + 1
            try:
                yield decoded_record(
                    partition,
                    message.key() or b"",
                    message.value() or b"",
                    message.headers() or [],  # type: ignore[arg-type] # as the driver reads them
                )
            except UnknownMessageError:
                continue
