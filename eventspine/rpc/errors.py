"""The errors of requests; the table that gives every error its reason and status stands below."""

from collections.abc import Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import google.rpc.code_pb2 as code_pb2

from eventspine.domain.errors import DomainDefectError, EventspineError
from eventspine.storage.errors import (
    ChainBrokenError,
    OutcomeUnknownError,
    StoreUnavailableError,
)
from eventspine.v1 import error_reason_pb2 as reasons
from eventspine.v1.record_pb2 import VersionConflict


class Violation(NamedTuple):
    """A field that is wrong (its path, such as `header.command_id`), and the cure for people."""

    field: str
    description: str


class InvalidRequestError(EventspineError):
    """Fields of the request are missing or malformed. Nothing was stored."""

    def __init__(self, *violations: Violation) -> None:
        """Names the wrong fields, one or more."""
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations: Sequence[Violation] = violations


class LimitExceededError(EventspineError):
    """A published limit is exceeded. Nothing was stored. Metadata: `limit`, `maximum`, `actual`."""


class StreamVersionConflictError(EventspineError):
    """The stream is not at the expected version. Nothing was stored.

    Attributes:
        conflict: The actual version and the records that the caller has missed.
    """

    def __init__(self, text: str, conflict: VersionConflict) -> None:
        """Says what was expected and found."""
        super().__init__(text, stream=conflict.stream, actual_version=str(conflict.actual_version))
        self.conflict = conflict


class CommandIdReusedError(EventspineError):
    """The command id was used on this stream with other content. Nothing was stored."""


class TypeUnknownError(EventspineError):
    """No hosted domain declares the type. Nothing was stored. Metadata: `type`."""


class StreamNotFoundError(EventspineError):
    """The stream has no event, or none at the version or time asked for."""


class ViewNotFoundError(EventspineError):
    """No hosted domain declares the view, or it has no such build. Nothing was changed."""


class RowNotFoundError(EventspineError):
    """The view has no row with the key."""


class ViewBehindError(EventspineError):
    """The view has not passed the token in time. Metadata: `lag_events`."""


class CursorInvalidError(EventspineError):
    """The cursor or token was not made by this platform, or for another request."""


class CursorExpiredError(EventspineError):
    """The cursor or token is of another store, a retired build, or events that are gone."""


class ShuttingDownError(EventspineError):
    """The process is stopping. Nothing was stored."""


class ViewStateError(EventspineError):
    """The build is not in a state that allows the step. Nothing was changed. Metadata: `state`."""


class DeadlineExceededError(EventspineError):
    """The caller's deadline passed before the work began. Nothing was stored."""


class OverloadedError(EventspineError):
    """Too many commands or bytes of them wait. Nothing was stored. Try again a little later."""


class InternalError(EventspineError):
    """Something failed that nobody foresaw; a command may or may not have been stored.

    Its text is for the log, never for the caller.
    """


class Cure(StrEnum):
    """What helps against an error, and who does it."""

    MEND = "the caller mends the request"
    DECIDE_AGAIN = "the caller reads what it missed and decides again, with a new command id"
    SEND_AGAIN = "the caller sends the very same again, a little later"
    START_AGAIN = "the caller starts again without the cursor or token"
    OPERATE = "an operator has to act"


class ErrorRow(NamedTuple):
    """What an error is to a caller.

    Attributes:
        error: The class, with all classes derived from it that have no row of their own.
        reason: The value of ErrorReason.
        code: The gRPC status code as a number of google.rpc.Code.
        cure: What helps, and who does it.
        retry_seconds: When to send the same again, in google.rpc.RetryInfo; None for never.
    """

    error: type[EventspineError]
    reason: reasons.ErrorReason.ValueType
    code: int
    cure: Cure
    retry_seconds: float | None = None


TABLE: Final = (
    ErrorRow(
        InvalidRequestError,
        reasons.ERROR_REASON_INVALID_REQUEST,
        code_pb2.INVALID_ARGUMENT,
        Cure.MEND,
    ),
    ErrorRow(
        LimitExceededError,
        reasons.ERROR_REASON_LIMIT_EXCEEDED,
        code_pb2.RESOURCE_EXHAUSTED,
        Cure.MEND,
    ),
    ErrorRow(
        StreamVersionConflictError,
        reasons.ERROR_REASON_STREAM_VERSION_CONFLICT,
        code_pb2.ABORTED,
        Cure.DECIDE_AGAIN,
    ),
    ErrorRow(
        CommandIdReusedError,
        reasons.ERROR_REASON_COMMAND_ID_REUSED,
        code_pb2.ALREADY_EXISTS,
        Cure.MEND,
    ),
    ErrorRow(
        OutcomeUnknownError,
        reasons.ERROR_REASON_OUTCOME_UNKNOWN,
        code_pb2.UNAVAILABLE,
        Cure.SEND_AGAIN,
        0.1,
    ),
    ErrorRow(
        TypeUnknownError,
        reasons.ERROR_REASON_TYPE_UNKNOWN,
        code_pb2.INVALID_ARGUMENT,
        Cure.MEND,
    ),
    ErrorRow(
        StreamNotFoundError,
        reasons.ERROR_REASON_STREAM_NOT_FOUND,
        code_pb2.NOT_FOUND,
        Cure.MEND,
    ),
    ErrorRow(
        ViewNotFoundError,
        reasons.ERROR_REASON_VIEW_NOT_FOUND,
        code_pb2.NOT_FOUND,
        Cure.MEND,
    ),
    ErrorRow(
        RowNotFoundError,
        reasons.ERROR_REASON_ROW_NOT_FOUND,
        code_pb2.NOT_FOUND,
        Cure.MEND,
    ),
    ErrorRow(
        ViewBehindError,
        reasons.ERROR_REASON_VIEW_BEHIND,
        code_pb2.FAILED_PRECONDITION,
        Cure.SEND_AGAIN,
    ),
    ErrorRow(
        CursorInvalidError,
        reasons.ERROR_REASON_CURSOR_INVALID,
        code_pb2.INVALID_ARGUMENT,
        Cure.START_AGAIN,
    ),
    ErrorRow(
        CursorExpiredError,
        reasons.ERROR_REASON_CURSOR_EXPIRED,
        code_pb2.FAILED_PRECONDITION,
        Cure.START_AGAIN,
    ),
    ErrorRow(
        StoreUnavailableError,
        reasons.ERROR_REASON_STORE_UNAVAILABLE,
        code_pb2.UNAVAILABLE,
        Cure.SEND_AGAIN,
        1.0,
    ),
    ErrorRow(
        ShuttingDownError,
        reasons.ERROR_REASON_SHUTTING_DOWN,
        code_pb2.UNAVAILABLE,
        Cure.SEND_AGAIN,
        0.5,
    ),
    ErrorRow(
        ViewStateError,
        reasons.ERROR_REASON_VIEW_STATE,
        code_pb2.FAILED_PRECONDITION,
        Cure.MEND,
    ),
    ErrorRow(
        ChainBrokenError,
        reasons.ERROR_REASON_CHAIN_BROKEN,
        code_pb2.DATA_LOSS,
        Cure.OPERATE,
    ),
    ErrorRow(
        DomainDefectError,
        reasons.ERROR_REASON_DOMAIN_DEFECT,
        code_pb2.INTERNAL,
        Cure.OPERATE,
    ),
    ErrorRow(
        DeadlineExceededError,
        reasons.ERROR_REASON_DEADLINE_EXCEEDED,
        code_pb2.DEADLINE_EXCEEDED,
        Cure.SEND_AGAIN,
    ),
    ErrorRow(
        OverloadedError,
        reasons.ERROR_REASON_OVERLOADED,
        code_pb2.RESOURCE_EXHAUSTED,
        Cure.SEND_AGAIN,
        0.1,
    ),
    ErrorRow(
        InternalError,
        reasons.ERROR_REASON_INTERNAL,
        code_pb2.INTERNAL,
        Cure.OPERATE,
    ),
)
"""Every reason of the platform, once. Refusals of domains are no rows: each enum value of a domain
names its own code."""

ROWS: Final = MappingProxyType({row.error: row for row in TABLE})
"""The table by class."""


def row_of(error: EventspineError) -> ErrorRow:
    """Returns the row of an error, or of the nearest class that it is derived from."""
    for kind in type(error).__mro__:
        row = ROWS.get(kind)
        if row is not None:
            return row
    return ROWS[InternalError]
