"""Topics at start: made once, checked always; what is wrong stops the start and names the cure."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from eventspine.storage.errors import BusSetupError
from eventspine.storage.kafka.bus import KafkaBus
from eventspine.storage.kafka.settings import CHANNELS, KafkaSettings, bus_settings
from eventspine.storage.stack import StackSettings

WAIT_SECONDS = 120.0
SASL = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "alice",
    "sasl.password": "wrong",
}


@pytest.fixture
def settings(kafka: str) -> Iterator[KafkaSettings]:
    settings = KafkaSettings(
        bootstrap_servers=kafka,
        prefix=f"topics-{uuid4().hex[:12]}",
        partitions=2,
        start_timeout_seconds=WAIT_SECONDS,
    )
    yield settings
    admin = AdminClient({"bootstrap.servers": kafka})
    for deleted in admin.delete_topics([settings.topic(one) for one in CHANNELS]).values():
        deleted.exception(WAIT_SECONDS)


def topic(settings: KafkaSettings, channel: str, **configuration: str) -> None:
    """Makes a topic as somebody else would."""
    name = settings.topic(channel)
    config = {key.replace("_", "."): value for key, value in configuration.items()}
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    made = NewTopic(name, settings.partitions, 1, config=config)
    admin.create_topics([made])[name].result(WAIT_SECONDS)


def configured(settings: KafkaSettings, channel: str) -> dict[str, str]:
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    resource = ConfigResource(ResourceType.TOPIC, settings.topic(channel))
    (answer,) = admin.describe_configs([resource]).values()
    return {name: entry.value for name, entry in answer.result(WAIT_SECONDS).items()}


def test_tenants_of_one_keyspace_do_not_meet_on_a_topic() -> None:
    def events(**settings: str) -> str:
        return bus_settings(StackSettings(keyspace="shop", **settings), 1).topic("events")

    assert events() == events(tenant="default") == "shop.events"
    assert events(tenant="north") == "shop.north.events"
    assert events(tenant="north", topic_prefix="n") == "n.events"
    with pytest.raises(BusSetupError, match="set a topic prefix"):
        events(tenant="gr\u00fcn")


async def opened(settings: KafkaSettings) -> None:
    bus = await KafkaBus.open(settings)
    await bus.close()


async def refused(settings: KafkaSettings) -> str:
    with pytest.raises(BusSetupError) as error:
        await opened(settings)
    return str(error.value)


async def test_missing_topics_are_made_with_the_partitions_of_the_log_and_their_retention(
    settings: KafkaSettings,
) -> None:
    await opened(replace(settings, changes_retention_seconds=600))
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    topics = admin.list_topics(timeout=WAIT_SECONDS).topics
    assert [len(topics[settings.topic(one)].partitions) for one in CHANNELS] == [2, 2, 2]
    week_ms = str(7 * 24 * 3600 * 1000)
    kept = [configured(settings, one)["retention.ms"] for one in CHANNELS]
    assert kept == [week_ms, week_ms, "600000"]
    assert configured(settings, "log")["message.timestamp.type"] == "LogAppendTime"


async def test_several_processes_may_make_them_at_the_same_time(settings: KafkaSettings) -> None:
    await asyncio.gather(*(opened(settings) for _ in range(4)))


async def test_a_process_without_the_right_to_make_topics_says_which_are_missing(
    settings: KafkaSettings,
) -> None:
    checking = replace(settings, create_topics=False)
    text = await refused(checking)
    assert f"{settings.prefix}.events, {settings.prefix}.log, {settings.prefix}.changes" in text
    assert "make them with 2 partitions" in text
    await opened(settings)
    await opened(checking)


async def test_another_number_of_partitions_is_refused(settings: KafkaSettings) -> None:
    await opened(settings)
    text = await refused(replace(settings, partitions=3))
    assert "has 2 partitions and the store's log has 3" in text
    assert "name another prefix" in text


async def test_more_replicas_than_brokers_are_refused(settings: KafkaSettings) -> None:
    text = await refused(replace(settings, replication=3))
    assert "cannot be made with 2 partitions and 3 replicas" in text


@pytest.mark.parametrize(
    ("configuration", "cure"),
    [
        ({}, "set its max.message.bytes to"),
        (
            {"max_message_bytes": "10000000"},
            "set its message.timestamp.type to LogAppendTime",
        ),
        (
            {
                "max_message_bytes": "10000000",
                "message_timestamp_type": "LogAppendTime",
                "cleanup_policy": "compact",
            },
            "set its cleanup.policy to delete",
        ),
    ],
    ids=["too small", "senders' time", "compacted"],
)
async def test_a_topic_that_would_lose_or_refuse_events_is_refused(
    settings: KafkaSettings, configuration: dict[str, str], cure: str
) -> None:
    await asyncio.to_thread(topic, settings, "log", **configuration)
    assert cure in await refused(settings)


async def test_another_retention_than_wanted_is_only_warned_of(
    settings: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    await opened(settings)
    await opened(replace(settings, changes_retention_seconds=60))
    assert "keeps messages 3600000 ms, the setting says 60000" in caplog.text


async def test_brokers_that_do_not_answer_are_named_with_what_to_check(
    settings: KafkaSettings,
) -> None:
    quick = replace(settings, start_timeout_seconds=3.0)
    text = await refused(replace(quick, bootstrap_servers="127.0.0.1:1"))
    assert "Kafka at 127.0.0.1:1 cannot be reached in 3 s" in text
    assert "Connection refused" in text
    assert "check the bootstrap servers" in text
    text = await refused(replace(quick, bootstrap_servers="no-such-host.invalid:9092"))
    assert "the name is not known; correct the bootstrap servers" in text


async def test_another_security_than_the_listeners_is_named(settings: KafkaSettings) -> None:
    quick = replace(settings, start_timeout_seconds=3.0)
    assert "security.protocol" in await refused(replace(quick, client={"security.protocol": "SSL"}))
    assert "refuses the credentials" in await refused(replace(quick, client=SASL))


async def test_settings_that_the_client_refuses_are_named(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    text = await refused(replace(settings, client={**SASL, "sasl.mechanism": "SECRET"}))
    assert "Unsupported SASL mechanism" in text
    missing = {"security.protocol": "SSL", "ssl.ca.location": str(tmp_path / "none.pem")}
    assert "ssl.ca.location failed" in await refused(replace(settings, client=missing))
    with pytest.raises(BusSetupError, match=r"enable\.auto\.commit"):
        replace(settings, client={"enable.auto.commit": "true"})
    with pytest.raises(BusSetupError, match="no bootstrap server"):
        replace(settings, bootstrap_servers=" ")
    with pytest.raises(ValueError, match="no channel 'logs'"):
        settings.topic("logs")
