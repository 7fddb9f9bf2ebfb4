"""Errors as callers get them; promise: every cause we know has its reason, code and details.

A status travels in headers, of which most clients take 8 KiB, so what it tells is cut to fit. A
failure on the bulk path travels in a message and tells more.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from eventspine.domain.errors import EventspineError, RefusalError
from eventspine.domain.refusal import refusal_status
from eventspine.rpc import limits, logs
from eventspine.rpc.errors import (
    InternalError,
    InvalidRequestError,
    StreamVersionConflictError,
    row_of,
)
from eventspine.v1.command_pb2 import CommandFailure
from eventspine.v1.error_reason_pb2 import ErrorReason
from eventspine.v1.record_pb2 import VersionConflict

DOMAIN: Final = "eventspine.v1"
"""The domain of the platform's own reasons in google.rpc.ErrorInfo."""

_METADATA_BYTES_MAX: Final = 1_200
_DETAILS_BYTES_MAX: Final = 1_000
_VALUE_BYTES_MAX: Final = limits.STREAM_BYTES_MAX
_TYPE_URL_BYTES: Final = 64
_log = logging.getLogger("eventspine.rpc")


class Told(NamedTuple):
    """What any caller is told of an error, on whichever path.

    Attributes:
        code: The number of a google.rpc.Code.
        reason: The name of an ErrorReason or of a domain's refusal.
        domain: `eventspine.v1`, or the package of the refusal's proto.
        text: For people, cut to what a status can carry. Empty for an unforeseen error.
        metadata: What belongs to the reason, cut likewise.
        retry_seconds: When to send the same again; None for never.
    """

    code: int
    reason: str
    domain: str
    text: str
    metadata: Mapping[str, str]
    retry_seconds: float | None


def tell(error: BaseException) -> Told:
    """Returns what a caller is told of an error."""
    if isinstance(error, RefusalError):
        return Told(
            refusal_status(error.value),
            error.value.name,
            error.value.type.file.package,
            _text(str(error)),
            _metadata(error.metadata),
            None,
        )
    known = error if isinstance(error, EventspineError) else InternalError("")
    row = row_of(known)
    text = "" if row.error is InternalError else _text(str(known))
    reason = ErrorReason.Name(row.reason)
    return Told(row.code, reason, DOMAIN, text, _metadata(known.metadata), row.retry_seconds)


def to_status(error: BaseException) -> Status:
    """Returns the status of an error, at most 4 KiB encoded. Logs nothing."""
    told = tell(error)
    status = Status(code=told.code, message=told.text)
    info = ErrorInfo(reason=told.reason, domain=told.domain, metadata=told.metadata)
    status.details.add().Pack(info)
    for detail in _small_details(error, told):
        status.details.add().Pack(detail)
    if isinstance(error, StreamVersionConflictError):
        room = limits.STATUS_BYTES_MAX - status.ByteSize() - _TYPE_URL_BYTES
        status.details.add().Pack(cut_conflict(error.conflict, room))
    return status


def to_failure(error: BaseException) -> CommandFailure:
    """Returns the failure of a command on the bulk path; logs an unforeseen error.

    A conflict's details may have 256 KiB: whoever collects verdicts counts their bytes.
    """
    told = tell(error)
    failure = CommandFailure(
        code=told.code,
        message=told.text,
        reason=told.reason,
        domain=told.domain,
        metadata=told.metadata,
    )
    for detail in _small_details(error, told):
        failure.details.add().Pack(detail)
    if isinstance(error, StreamVersionConflictError):
        failure.details.add().Pack(cut_conflict(error.conflict, limits.CONFLICT_BYTES_MAX))
    if not isinstance(error, EventspineError):
        logs.write(_log, logging.ERROR, "a command failed", error=error, reason=told.reason)
    return failure


def cut_conflict(conflict: VersionConflict, bytes_max: int) -> VersionConflict:
    """Returns the conflict with as many of its oldest missed records as fit, at most 100."""
    missed = conflict.missed
    if len(missed) <= limits.CONFLICT_RECORDS_MAX and conflict.ByteSize() <= bytes_max:
        return conflict
    cut = VersionConflict(
        stream=conflict.stream, actual_version=conflict.actual_version, truncated=True
    )
    size = cut.ByteSize()
    for record in missed[: limits.CONFLICT_RECORDS_MAX]:
        size += _field_bytes(record.ByteSize())
        if size > bytes_max:
            break
        cut.missed.append(record)
    return cut


def _small_details(error: BaseException, told: Told) -> Iterator[Message]:
    """Yields the details that are small on every path."""
    if isinstance(error, InvalidRequestError):
        yield _bad_request(error)
    if told.retry_seconds is not None:
        delay = Duration(nanos=0)
        delay.FromMilliseconds(int(told.retry_seconds * 1_000))
        yield RetryInfo(retry_delay=delay)


def _bad_request(error: InvalidRequestError) -> BadRequest:
    """Names the wrong fields, as many as fit."""
    request = BadRequest()
    for violation in error.violations[: limits.VIOLATIONS_MAX]:
        request.field_violations.add(
            field=_cut(violation.field, _VALUE_BYTES_MAX),
            description=_cut(violation.description, _VALUE_BYTES_MAX),
        )
        if request.ByteSize() > _DETAILS_BYTES_MAX and len(request.field_violations) > 1:
            del request.field_violations[-1]
            break
    return request


def _metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Returns what fits of the metadata, long values cut."""
    fitting: dict[str, str] = {}
    room = _METADATA_BYTES_MAX
    for name, value in metadata.items():
        cut = _cut(value, _VALUE_BYTES_MAX)
        room -= len(name) + len(cut.encode()) + 8
        if room < 0:
            break
        fitting[name] = cut
    return fitting


def _text(text: str) -> str:
    """Cuts a text so that it fits percent-encoded, as gRPC sends it, where one byte may take 3."""
    if len(text) * 3 <= limits.MESSAGE_BYTES_MAX and text.isascii():
        return text
    text = text.encode(errors="replace").decode()
    size = 0
    for place, character in enumerate(text):
        plain = " " <= character <= "~" and character != "%"
        size += 1 if plain else 3 * len(character.encode())
        if size > limits.MESSAGE_BYTES_MAX:
            return f"{text[: place - 3]}..."
    return text


def _cut(text: str, bytes_max: int) -> str:
    """Cuts a text to a number of bytes of UTF-8, visibly."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= bytes_max:
        return encoded.decode()
    return f"{encoded[: bytes_max - 3].decode(errors='ignore')}..."


def _field_bytes(size: int) -> int:
    """Returns an upper bound of the bytes of an embedded message: its tag, length and content."""
    return size + 1 + (size.bit_length() // 7 + 1)
