"""The topics of a bus, made or checked at start; promise: what is wrong is said with its cure.

Topics keep the brokers' time (`LogAppendTime`): with the clients' time, a service whose clock is an
hour ahead is refused by the brokers, and retention follows the clock of whoever sent.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._metadata import ClusterMetadata, TopicMetadata
from confluent_kafka.cimpl import NewTopic

from eventspine.storage.errors import BusSetupError
from eventspine.storage.kafka.logs import log
from eventspine.storage.kafka.messages import CHANGE_BYTES_MAX, RECORD_BYTES_MAX
from eventspine.storage.kafka.settings import CHANNELS, KafkaSettings, new_admin

REPLICATION = 3
"""How many brokers hold a copy, where there are so many."""

POLL_SECONDS = 0.1
"""How long to wait before a topic that was just made is looked at again."""

_CURES = {
    KafkaError._AUTHENTICATION: "it refuses the credentials; correct user name and password",
    KafkaError.SASL_AUTHENTICATION_FAILED: "it refuses the credentials; correct them",
    KafkaError._SSL: "TLS failed; check the certificate files and security.protocol",
    KafkaError._RESOLVE: "the name is not known; correct the bootstrap servers",
}


def prepare(settings: KafkaSettings) -> None:
    """Makes the topics that are missing, if that is wanted, and checks all. Blocks.

    Raises:
        BusSetupError: The brokers cannot be reached, or a topic is missing or not as it has to be.
            Topics may have been made.
    """
    said: list[KafkaError] = []
    # What it says goes into the error, and nowhere else.
    admin = new_admin(settings, {"error_cb": said.append, "log_level": 0})
    deadline = time.monotonic() + settings.start_timeout_seconds
    cluster = _cluster(admin, settings, said)
    missing = [channel for channel in CHANNELS if settings.topic(channel) not in cluster.topics]
    if missing:
        _make(admin, settings, missing, len(cluster.brokers))
    while True:
        cluster = _cluster(admin, settings, said)
        unready = [name for name in _names(settings) if not _ready(cluster.topics.get(name))]
        if not unready:
            break
        if time.monotonic() > deadline:
            raise BusSetupError(f"topics {', '.join(unready)} have no leader; look at the brokers")
        admin.poll(POLL_SECONDS)
    for channel in CHANNELS:
        _check(settings, channel, cluster)
    _check_configurations(admin, settings)


def _names(settings: KafkaSettings) -> list[str]:
    return [settings.topic(channel) for channel in CHANNELS]


def _cluster(
    admin: AdminClient, settings: KafkaSettings, said: Sequence[KafkaError]
) -> ClusterMetadata:
    try:
        return admin.list_topics(timeout=settings.start_timeout_seconds)
    except KafkaException as error:
        # What the client's threads have met is told when it is polled.
        admin.poll(POLL_SECONDS)
        codes = [one.code() for one in said]
        cures = [cure for code, cure in _CURES.items() if code in codes]
        cure = (
            cures[0]
            if cures
            else (
                "check the bootstrap servers, that a broker listens there, and that "
                "security.protocol is that of the listener"
            )
        )
        heard = said[-1] if said else error.args[0]
        raise BusSetupError(
            f"Kafka at {settings.bootstrap_servers} cannot be reached in "
            f"{settings.start_timeout_seconds:g} s ({heard.str()}): {cure}"
        ) from error


def _ready(topic: TopicMetadata | None) -> bool:
    return (
        topic is not None
        and topic.error is None
        and bool(topic.partitions)
        and all(partition.leader >= 0 for partition in topic.partitions.values())
    )


def _make(
    admin: AdminClient, settings: KafkaSettings, channels: Sequence[str], brokers: int
) -> None:
    names = ", ".join(settings.topic(channel) for channel in channels)
    if not settings.create_topics:
        raise BusSetupError(
            f"the topics {names} are missing and this service may not make them; make them with "
            f"{settings.partitions} partitions, or start once with the right to"
        )
    replication = settings.replication or min(REPLICATION, max(brokers, 1))
    topics = [
        NewTopic(
            settings.topic(channel),
            num_partitions=settings.partitions,
            replication_factor=replication,
            config=_configuration(settings, channel, replication),
        )
        for channel in channels
    ]
    timeout = settings.start_timeout_seconds
    for name, made in admin.create_topics(topics, operation_timeout=timeout).items():
        try:
            made.result(timeout)
        except KafkaException as error:
            # Several services may start at once.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BusSetupError(
                    f"topic {name} cannot be made with {settings.partitions} partitions and "
                    f"{replication} replicas: {error.args[0].str()}; make it, or correct the "
                    "setting or the rights"
                ) from error


def _configuration(settings: KafkaSettings, channel: str, replication: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(settings.retention_ms(channel)),
        "max.message.bytes": str(_bytes_max(channel)),
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "2" if replication >= REPLICATION else "1",
    }


def _bytes_max(channel: str) -> int:
    return CHANGE_BYTES_MAX if channel == "changes" else RECORD_BYTES_MAX


def _check(settings: KafkaSettings, channel: str, cluster: ClusterMetadata) -> None:
    name = settings.topic(channel)
    partitions = cluster.topics[name].partitions
    if len(partitions) != settings.partitions:
        raise BusSetupError(
            f"topic {name} has {len(partitions)} partitions and the store's log has "
            f"{settings.partitions}, which is fixed; name another prefix, or delete the topic "
            "while no service runs and let it be made anew"
        )
    copies = min(len(partition.replicas) for partition in partitions.values())
    if copies < min(REPLICATION, len(cluster.brokers)):
        log.warning("topic %s has %d replicas of %d brokers", name, copies, len(cluster.brokers))


def _check_configurations(admin: AdminClient, settings: KafkaSettings) -> None:
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in _names(settings)]
    timeout = settings.start_timeout_seconds
    asked = admin.describe_configs(resources, request_timeout=timeout)
    for channel, answer in zip(CHANNELS, asked.values(), strict=True):
        try:
            _check_configuration(settings, channel, answer.result(timeout))
        except KafkaException as error:
            log.info("%s cannot be looked at: %s", settings.topic(channel), error)


def _check_configuration(settings: KafkaSettings, channel: str, found: Mapping[str, Any]) -> None:
    name, bytes_max = settings.topic(channel), _bytes_max(channel)
    values = {key: entry.value for key, entry in found.items()}
    if int(values["max.message.bytes"]) < bytes_max:
        raise BusSetupError(
            f"topic {name} takes messages of {values['max.message.bytes']} bytes, and a largest "
            f"event needs more; set its max.message.bytes to {bytes_max}"
        )
    if values["message.timestamp.type"] != "LogAppendTime":
        raise BusSetupError(
            f"topic {name} keeps the senders' time, so one wrong clock stops a service; set its "
            "message.timestamp.type to LogAppendTime"
        )
    if values["cleanup.policy"] != "delete":
        raise BusSetupError(
            f"topic {name} is compacted, which takes events away; set its cleanup.policy to delete"
        )
    wanted = str(settings.retention_ms(channel))
    if values["retention.ms"] != wanted:
        log.warning(
            "topic %s keeps messages %s ms, the setting says %s; alter one of them",
            *(name, values["retention.ms"], wanted),
        )
