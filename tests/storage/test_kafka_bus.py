"""The bus over a real Kafka: the suite, and what only a broker can do to it."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient

from eventspine.storage.kafka.bus import KafkaBus
from eventspine.storage.kafka.settings import CHANNELS, KafkaSettings
from tests.storage.bus_suite import BusSuite

pytestmark = pytest.mark.stack


@pytest.fixture
def settings(kafka: str) -> Iterator[KafkaSettings]:
    settings = KafkaSettings(
        bootstrap_servers=kafka,
        prefix=f"kafkabus-{uuid4().hex[:12]}",
        partitions=2,
        publish_timeout_seconds=30,
        start_timeout_seconds=30,
    )
    yield settings
    admin = AdminClient({"bootstrap.servers": kafka})
    for deleted in admin.delete_topics([settings.topic(one) for one in CHANNELS]).values():
        deleted.exception(30)


@pytest.fixture
async def bus(settings: KafkaSettings) -> AsyncIterator[KafkaBus]:
    opened = await KafkaBus.open(settings)
    yield opened
    await opened.close()


class TestKafkaBus(BusSuite):
    """The suite."""
