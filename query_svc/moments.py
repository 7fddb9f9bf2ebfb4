"""Moments of the contract as microseconds since 1970 UTC, and back."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from eventspine.rpc.errors import InvalidRequestError, Violation
from eventspine.v1.record_pb2 import EventRecord

_SECONDS_MIN = -62_135_596_800  # 0001-01-01
_SECONDS_MAX = 253_402_300_799  # 9999-12-31
_NANOS_MAX = 999_999_999
_SECOND_US = 1_000_000


def append_time_us(encoded: bytes) -> int:
    """Returns when a record was stored, from its encoding."""
    time = EventRecord.FromString(encoded).append_time
    return time.seconds * _SECOND_US + time.nanos // 1_000


def moment_us(field: str, time: Timestamp) -> int:
    """Returns a moment that a caller has sent, rounded down.

    Raises:
        InvalidRequestError: It is no moment from the year 1 to 9999.
    """
    if not (_SECONDS_MIN <= time.seconds <= _SECONDS_MAX and 0 <= time.nanos <= _NANOS_MAX):
        cure = "is no time: seconds must be in the years 1 to 9999 and nanos 0 to 999,999,999"
        raise InvalidRequestError(Violation(field, cure))
    return time.seconds * _SECOND_US + time.nanos // 1_000


def timestamp(moment: int) -> Timestamp:
    """Returns a moment as it is sent."""
    return Timestamp(seconds=moment // _SECOND_US, nanos=moment % _SECOND_US * 1_000)


def duration(length_us: int) -> Duration:
    """Returns a length of time, from 0, as it is sent."""
    return Duration(seconds=length_us // _SECOND_US, nanos=length_us % _SECOND_US * 1_000)
