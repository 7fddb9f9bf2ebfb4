"""The document of the topics says what is sent, no more and no less."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import yaml
from confluent_kafka import Message
from google.protobuf import symbol_database

from eventspine.storage.kafka.bus import KafkaBus
from eventspine.storage.kafka.messages import CHANGE_BYTES_MAX, RECORD_BYTES_MAX, encoded
from eventspine.storage.kafka.settings import CHANNELS, KafkaSettings
from eventspine.storage.ports import BusMessage
from eventspine.storage.records import (
    BuildsChange,
    LogEntry,
    PartialRow,
    ProgressChange,
    RowChange,
)
from eventspine.v1.record_pb2 import EventRecord
from tests.storage.test_kafka_bus import bus, raw_messages, settings

__all__ = ["bus", "settings"]
ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
TRACE = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "a=b",
}


class Sent(NamedTuple):
    """A message of a topic."""

    partition: int
    key: bytes
    value: bytes
    headers: Mapping[str, Any]


def found(reference: Mapping[str, Any]) -> dict[str, Any]:
    """Follows a reference inside of the document."""
    node: Any = DOCUMENT
    for part in reference["$ref"].removeprefix("#/").split("/"):
        node = node[part]
    return dict(node)


def described(channel: str) -> dict[str, Any]:
    """Returns the one message of a channel."""
    (message,) = DOCUMENT["channels"][channel]["messages"].values()
    return found(message)


def entry(*, sequence: int, republished: bool, metadata: Mapping[str, str]) -> LogEntry:
    record = EventRecord(
        stream="account/zoë 1",
        stream_version=3,
        event_id="c7.0",
        type="bank.v1.MoneyDeposited",
        command_id="c7",
        tenant="default",
        metadata=metadata,
    )
    record.append_time.FromMicroseconds(1_700_000_000_000_000)
    value = record.SerializeToString()
    return LogEntry(1, sequence, record.stream, 3, record.type, value, republished)


MESSAGES: dict[str, list[BusMessage]] = {
    "events": [
        entry(sequence=0, republished=False, metadata={}),
        entry(sequence=0, republished=True, metadata=TRACE),
    ],
    "log": [entry(sequence=7, republished=False, metadata=TRACE)],
    "changes": [
        RowChange("bank.v1.Row@1", 1, b"key", PartialRow(1, 7, b"row")),
        RowChange("bank.v1.Row@1", 1, b"key", PartialRow(1, 8, None)),
        RowChange("bank.v1.Row@1", 1, b"key", PartialRow(1, 9, bytes(CHANGE_BYTES_MAX))),
        ProgressChange("bank.v1.Row@1", 1, 9, 6),
        BuildsChange("bank.v1.Row"),
    ],
}


def check(channel: str, sent: Sent) -> None:
    """Holds one message against the document."""
    message = described(channel)
    headers = message["headers"]
    texts = {name: value.decode() for name, value in sent.headers.items()}
    assert headers["additionalProperties"] is False
    assert set(headers["required"]) <= texts.keys() <= set(headers["properties"])
    value = symbol_database.Default().GetSymbol(message["x-protobuf-message"])
    parsed = value.FromString(sent.value)
    assert parsed.ListFields()
    assert texts["content-type"] == message["contentType"] == DOCUMENT["defaultContentType"]
    for name, text in texts.items():
        rule = headers["properties"][name]
        assert text == rule.get("const", text), name
        assert re.search(rule.get("pattern", ""), text), name
        if "x-equals-field" in rule:
            assert text == str(getattr(parsed, rule["x-equals-field"])), name
    key = message["bindings"]["kafka"]["key"]
    if "x-equals-field" in key:
        assert sent.key.decode() == getattr(parsed, key["x-equals-field"])
        assert texts["ce_logpartition"] == str(sent.partition)
        assert texts["ce_source"].endswith(f"/{quote(parsed.tenant)}/{quote(parsed.stream)}")
    else:
        assert sent.key.decode().partition("@")[0] == "bank.v1.Row"


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_encoded_is_what_the_document_says(channel: str) -> None:
    optional = set(described(channel)["headers"]["properties"])
    for message in MESSAGES[channel]:
        sent = encoded(message, "/prefix")
        check(channel, Sent(1, sent.key, sent.value, dict(sent.headers)))
        optional -= {name for name, _ in sent.headers}
    # What is described is really sent at some time.
    assert optional == (set() if channel != "log" else {"ce_republished"})


@pytest.mark.parametrize("channel", CHANNELS)
async def test_what_is_sent_is_what_the_document_says(
    bus: KafkaBus, settings: KafkaSettings, channel: str
) -> None:
    await bus.publish(channel, 1, MESSAGES[channel])
    messages: list[Message] = raw_messages(settings, channel, len(MESSAGES[channel]))
    for message in messages:
        sent = dict(message.headers() or [])
        check(
            channel,
            Sent(message.partition() or 0, message.key() or b"", message.value() or b"", sent),
        )


def test_every_channel_is_described_with_its_topic() -> None:
    settings = KafkaSettings(bootstrap_servers="localhost:9092", prefix="prefix")
    assert tuple(DOCUMENT["channels"]) == CHANNELS
    for channel in CHANNELS:
        described_channel = DOCUMENT["channels"][channel]
        topic = described_channel["bindings"]["kafka"]["topicConfiguration"]
        assert described_channel["address"].format(prefix="prefix") == settings.topic(channel)
        assert topic["retention.ms"] == settings.retention_ms(channel)
        largest = CHANGE_BYTES_MAX if channel == "changes" else RECORD_BYTES_MAX
        assert topic["max.message.bytes"] == largest
    used = {operation["channel"]["$ref"] for operation in DOCUMENT["operations"].values()}
    assert used == {f"#/channels/{channel}" for channel in CHANNELS}


def test_the_schemas_that_are_named_are_files_of_the_contract() -> None:
    for message in DOCUMENT["components"]["messages"].values():
        path = ROOT / "docs" / message["payload"]["schema"]["$ref"]
        package, _, name = message["x-protobuf-message"].rpartition(".")
        assert f"package {package};" in path.read_text()
        assert f"message {name} " in path.read_text()
