"""What is spliced together is what protobuf would have made."""

from hypothesis import given
from hypothesis import strategies as st

from eventspine.v1.query_pb2 import ReadStreamResponse
from eventspine.v1.record_pb2 import EventRecord
from eventspine.v1.subscription_pb2 import EventFilter, SubscribeResponse
from query_svc.feed import Encoder
from query_svc.filter import compile_filter
from query_svc.splice import field, fitting

PAYLOADS = st.lists(
    st.one_of(st.binary(max_size=200), st.integers(4_000, 20_000).map(bytes)),
    min_size=1,
    max_size=10,
)


@given(PAYLOADS)
def test_a_repeated_field_is_as_protobuf_encodes_it(payloads: list[bytes]) -> None:
    records = [EventRecord(stream="a/b", payload=payload) for payload in payloads]
    parts = field(1).parts([record.SerializeToString() for record in records])
    assert b"".join(parts) == ReadStreamResponse(records=records).SerializeToString()


@given(PAYLOADS, st.integers(1, 1 << 40))
def test_a_batch_of_a_subscription_parses_as_it_was_meant(
    payloads: list[bytes], first: int
) -> None:
    records = [EventRecord(stream="a/b", payload=payload) for payload in payloads]
    encoded = [record.SerializeToString() for record in records]
    sequences = range(first, first + len(records))
    encoder = Encoder("s", compile_filter(EventFilter()), 100)
    message = encoder.batch(encoded, sequences, 3, (0, first))
    batch = SubscribeResponse.FromString(message).batch
    assert list(batch.records) == records
    assert list(batch.sequences) == list(sequences)
    assert (batch.partition, batch.cursor) == (3, encoder.cursor((0, first)))


@given(st.lists(st.integers(0, 50).map(bytes), max_size=30), st.integers(1, 40))
def test_a_message_holds_as_many_as_fit_and_one_at_least(values: list[bytes], most: int) -> None:
    count = fitting(values, most, 100)
    assert count <= most
    assert bool(count) == bool(values)
    assert count <= 1 or sum(map(len, values[:count])) <= 100
    if count < min(len(values), most):
        assert sum(map(len, values[: count + 1])) > 100
