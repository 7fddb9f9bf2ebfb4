"""Events that were stored once are read for ever: decoded, folded to states, shown by views.

`corpus/` holds whole streams as a platform stored them, one record a file. Nothing in it is ever
changed. For a new type of event, add a new stream that has one:
`python -m tests.contract.test_old_events HOST:PORT account/zoe`. `corpus/told.json` says what the
streams fold to; where a view tells more than before, it is written anew by the same command without
a stream, and the difference is read before it is committed.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS
from eventspine.domain.declare import declare
from eventspine.domain.given import rows_of
from eventspine.storage.codec import verify
from eventspine.storage.errors import ChainBrokenError
from eventspine.storage.records import GENESIS, LogEntry, StreamRecord
from eventspine.v1.query_pb2 import ReadStreamRequest
from eventspine.v1.query_pb2_grpc import QueryServiceStub
from eventspine.v1.record_pb2 import EventRecord
from processor_svc.decode import classes_of, decode

CORPUS = Path(__file__).parent / "corpus"
TOLD = CORPUS / "told.json"
DECLARED = declare([BANK, FLIGHTS])

Streams = dict[str, list[StreamRecord]]


def stored() -> Streams:
    """Reads the corpus: by stream its records, in order."""
    streams: Streams = {}
    for path in sorted(CORPUS.glob("*/*/*.bin")):
        version, event = path.stem.split("-", 1)
        stream = f"{path.parent.parent.name}/{path.parent.name}"
        record = StreamRecord(int(version), event, path.read_bytes())
        streams.setdefault(stream, []).append(record)
    return streams


STREAMS = stored()


def entries(streams: Streams) -> list[LogEntry]:
    """Returns the records as one partition of a log has them."""
    flat = [(stream, record) for stream, records in streams.items() for record in records]
    return [
        LogEntry(0, sequence, stream, record.stream_version, record.type, record.encoded)
        for sequence, (stream, record) in enumerate(flat, 1)
    ]


def state_told(stream: str, records: list[StreamRecord]) -> dict[str, Any]:
    """Folds a stream; returns its state, its last version and its chain hash."""
    aggregate = DECLARED.aggregates[stream.split("/")[0]]
    state = aggregate.initial()
    for record in records:
        parsed = EventRecord.FromString(record.encoded)
        event = DECLARED.events[record.type].message.FromString(parsed.payload)
        assert event.SerializeToString() == parsed.payload, record.type
        state = aggregate.evolve(state, event)
    return {
        "last_version": records[-1].stream_version,
        "chain_hash": records[-1].encoded[-32:].hex(),
        "state": MessageToDict(state, preserving_proto_field_name=True),
    }


def rows_told(streams: Streams) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yields each version of each view with its rows."""
    for name, declaration in DECLARED.views.items():
        for version, view in declaration.versions.items():
            decoded = decode(entries(streams), classes_of([view]))
            assert decoded.broken == []
            rows = rows_of(view, [entry.event for entry in decoded.events])
            yield (
                f"{name} {version}",
                [MessageToDict(row, preserving_proto_field_name=True) for row in rows.values()],
            )


def all_told(streams: Streams) -> dict[str, Any]:
    return {
        "streams": {stream: state_told(stream, records) for stream, records in streams.items()},
        "views": dict(rows_told(streams)),
    }


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(TOLD.read_text())
    return known


def test_every_type_of_event_has_been_kept() -> None:
    kept = {record.type for records in STREAMS.values() for record in records}
    assert set(DECLARED.events) - kept == set(), "add a stream that has one: see the module"


def test_no_record_was_lost(told: dict[str, Any]) -> None:
    assert set(STREAMS) == set(told["streams"])


@pytest.mark.parametrize("stream", STREAMS)
def test_an_old_stream_is_as_it_was_stored(told: dict[str, Any], stream: str) -> None:
    last = verify(stream, STREAMS[stream], GENESIS, 0)
    assert last.hex() == told["streams"][stream]["chain_hash"]


@pytest.mark.parametrize("stream", STREAMS)
def test_an_old_stream_folds_to_the_same_state(told: dict[str, Any], stream: str) -> None:
    assert state_told(stream, STREAMS[stream]) == told["streams"][stream]


def test_old_streams_are_shown_by_every_view_as_ever(told: dict[str, Any]) -> None:
    assert dict(rows_told(STREAMS)) == told["views"]
    assert all(told["views"].values())


def test_a_changed_byte_of_the_corpus_is_noticed() -> None:
    assert STREAMS
    for stream, records in STREAMS.items():
        for at, record in enumerate(records):
            bent = bytearray(record.encoded)
            bent[len(bent) // 2] ^= 1
            changed = [*records[:at], record._replace(encoded=bytes(bent)), *records[at + 1 :]]
            with pytest.raises(ChainBrokenError):
                verify(stream, changed, GENESIS, 0)


def keep(address: str, stream: str) -> None:
    """Adds a stream of a running platform to the corpus; refuses one that is there."""
    folder = CORPUS / stream
    folder.mkdir(parents=True)
    with grpc.insecure_channel(address) as channel:
        for batch in QueryServiceStub(channel).ReadStream(ReadStreamRequest(stream=stream)):
            for record in batch.records:
                path = folder / f"{record.stream_version:02}-{record.type}.bin"
                path.write_bytes(record.SerializeToString())


if __name__ == "__main__":
    for name in sys.argv[2:]:
        keep(sys.argv[1], name)
    TOLD.write_text(json.dumps(all_told(stored()), indent=1, ensure_ascii=False) + "\n")
