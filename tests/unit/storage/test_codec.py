"""The hash chain: whole when untouched, and broken at the first record that is not what it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventspine.rpc.status import to_status
from eventspine.storage.codec import chain_of, encode, verify
from eventspine.storage.errors import ChainBrokenError
from eventspine.storage.records import GENESIS, StreamRecord
from eventspine.v1.record_pb2 import EventRecord

STREAM = "account/alice"
DATA_LOSS = 15


def chained(count: int) -> list[StreamRecord]:
    records, chain = [], GENESIS
    for version in range(1, count + 1):
        event = EventRecord(
            stream=STREAM, stream_version=version, type="t.v1.Done", payload=b"%d" % version
        )
        new, chain = encode(event, chain)
        records.append(StreamRecord(version, new.type, new.encoded))
    return records


def test_an_untouched_stream_verifies_whole_and_in_parts() -> None:
    records = chained(5)
    end = verify(STREAM, records, GENESIS, 0)
    assert end == chain_of(records[-1].encoded)
    half = verify(STREAM, records[:3], GENESIS, 0)
    assert verify(STREAM, records[3:], half, 3) == end
    assert verify(STREAM, [], half, 3) == half


@given(st.data())
def test_any_changed_byte_is_named_by_its_record(data: st.DataObject) -> None:
    records = chained(4)
    version = data.draw(st.integers(1, 4))
    record = records[version - 1]
    place = data.draw(st.integers(0, len(record.encoded) - 1))
    changed = bytearray(record.encoded)
    changed[place] ^= data.draw(st.integers(1, 255))
    records[version - 1] = record._replace(encoded=bytes(changed))
    with pytest.raises(ChainBrokenError) as raised:
        verify(STREAM, records, GENESIS, 0)
    assert raised.value.metadata["stream_version"] == str(version)


@pytest.mark.parametrize("order", [(1, 3, 2), (2, 3), (1, 3), (1, 1, 2)])
def test_records_that_are_missing_doubled_or_out_of_order_break_the_chain(
    order: tuple[int, ...],
) -> None:
    records = chained(3)
    with pytest.raises(ChainBrokenError) as raised:
        verify(STREAM, [records[version - 1] for version in order], GENESIS, 0)
    assert to_status(raised.value).code == DATA_LOSS


def test_a_record_of_another_stream_or_type_is_not_taken_for_its_own() -> None:
    records = chained(1)
    with pytest.raises(ChainBrokenError, match="not in its place"):
        verify("account/bob", records, GENESIS, 0)
    with pytest.raises(ChainBrokenError, match="index entry"):
        verify(STREAM, [records[0]._replace(type="t.v1.Other")], GENESIS, 0)
