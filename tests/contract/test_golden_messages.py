"""The bytes and the JSON of every message are those that clients of a release have in store.

After an addition to a proto file: `python -m tests.contract.test_golden_messages`, and read the
difference before it is committed.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from tests.contract.filling import filled_messages

GOLDEN = Path(__file__).parent / "golden_messages.json"
MESSAGES = dict(filled_messages())


def told(message: Message) -> dict[str, Any]:
    return {
        "message": message.DESCRIPTOR.full_name,
        "bytes": message.SerializeToString(deterministic=True).hex(),
        "json": MessageToDict(message),
    }


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(GOLDEN.read_text())
    return known


def test_no_message_was_left_out_or_taken_away(golden: dict[str, Any]) -> None:
    assert set(golden) == set(MESSAGES)
    assert len(golden) > 100


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_written_and_read_as_ever(golden: dict[str, Any], name: str) -> None:
    message = MESSAGES[name]
    assert told(message) == golden[name]
    kind = type(message)
    assert kind.FromString(bytes.fromhex(golden[name]["bytes"])) == message
    assert ParseDict(golden[name]["json"], kind()) == message


if __name__ == "__main__":
    known = {name: told(message) for name, message in MESSAGES.items()}
    GOLDEN.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
