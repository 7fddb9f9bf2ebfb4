"""The errors of requests; the table that gives every error its reason and status stands below."""

from collections.abc import Sequence
from typing import NamedTuple

from eventspine.domain.errors import EventspineError
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
    """Too many commands wait in this process. Nothing was stored. Try again a little later."""
