"""Why a call failed, read from the status; promise: reason and details without touching gRPC."""

from collections.abc import Mapping
from typing import Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from eventspine.v1.record_pb2 import VersionConflict

Detail = TypeVar("Detail", bound=Message)

_DETAILS_KEY: Final = "grpc-status-details-bin"
_BROKEN: Final = frozenset(
    (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        # Of calls that a stopping server had taken in and not begun. Who cancels a call here is not
        # told by a status.
        grpc.StatusCode.CANCELLED,
    )
)


class CallError(Exception):
    """A call failed. The reason tells what has and has not happened: see error_reason.proto.

    Attributes:
        code: The gRPC status code.
        reason: The name of an ErrorReason or of a domain's refusal; empty where the call broke
            before the platform could say why.
        domain: `eventspine.v1`, or the package of the domain that refused; empty without a reason.
        metadata: What belongs to the reason.
        status: The whole status with all details.
    """

    def __init__(self, code: grpc.StatusCode, status: Status) -> None:
        """Takes the code and the status of the call."""
        self.code = code
        self.status = status
        info = self.detail(ErrorInfo) or ErrorInfo()
        self.reason: str = info.reason
        self.domain: str = info.domain
        self.metadata: Mapping[str, str] = dict(info.metadata)
        super().__init__(f"{self.reason or code.name}: {status.message}")

    def detail(self, kind: type[Detail]) -> Detail | None:
        """Returns the first detail of a kind; None where there is none."""
        for packed in self.status.details:
            if packed.TypeName() == kind.DESCRIPTOR.full_name:
                return kind.FromString(packed.value)
        return None

    @property
    def conflict(self) -> VersionConflict | None:
        """The actual version and missed records of a version conflict; None for other errors."""
        return self.detail(VersionConflict)

    @property
    def violations(self) -> Mapping[str, str]:
        """What is wrong, by the path of each wrong field; empty for other errors."""
        request = self.detail(BadRequest) or BadRequest()
        return {violation.field: violation.description for violation in request.field_violations}

    @property
    def retry_seconds(self) -> float | None:
        """After how long to send the same again, where the platform says so."""
        info = self.detail(RetryInfo)
        return None if info is None else info.retry_delay.ToTimedelta().total_seconds()

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed a little later.

        So it is when the platform says when to try again, and when the connection broke before it
        could say anything.
        """
        if self.reason:
            return self.retry_seconds is not None
        return self.code in _BROKEN


def call_error(error: aio.AioRpcError) -> CallError:
    """Returns what the status of a failed call says."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return CallError(error.code(), Status.FromString(value))
            except DecodeError:
                # A proxy may send details of its own kind; code and text still count.
                break
    return broken(error.code(), error.details() or "")


def broken(code: grpc.StatusCode, text: str) -> CallError:
    """Returns the error of a call of which the platform said nothing."""
    return CallError(code, Status(code=code.value[0], message=text))
