"""What the driver's errors mean; promise: "nothing was stored" is said only where that is certain.

Whatever is not known to have stopped before it was carried out may have been carried out.
Source: the driver's `ResponseFuture`, and Cassandra's `Paxos.cas` for what each error follows.
"""

from typing import Any

from cassandra import (
    ConsistencyLevel,
    InvalidRequest,
    OperationTimedOut,
    Unauthorized,
    Unavailable,
)
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import (
    ErrorMessage,
    IsBootstrappingErrorMessage,
    SyntaxException,
)

from eventspine.domain.errors import EventspineError
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError

CAS_WRITE_UNKNOWN = 0x1700
"""Cassandra's code for "may or may not have been applied", for which the driver has no name."""


_SERIAL = (ConsistencyLevel.SERIAL, ConsistencyLevel.LOCAL_SERIAL)


class StatementRefusedError(Exception):
    """Cassandra does not accept the statement, and did nothing. A defect, or a table is gone."""


def read_error(error: Exception) -> Exception:
    """Returns the error of a port for the failure of a read, which changes nothing."""
    return _refused(error) or _unavailable(error)


def write_error(error: Exception, *, conditional: bool) -> Exception:
    """Returns the error of a port for the failure of a write that was sent at most once."""
    refused = _refused(error)
    if refused is not None:
        return refused
    if _was_not_applied(error, conditional=conditional):
        return _unavailable(error)
    return _unknown(error)


def _was_not_applied(error: Exception, *, conditional: bool) -> bool:
    """Tells whether a request that was sent at most once has certainly changed nothing."""
    if isinstance(error, Unavailable):
        # It comes before anything is written; but that of a conditional statement's ordinary
        # consistency may come as late as from the commit of a proposal that has been accepted.
        return not conditional or error.consistency in _SERIAL
    # Without retries, the driver finds no host only as long as it has not sent the request.
    return isinstance(error, NoHostAvailable | IsBootstrappingErrorMessage | Unauthorized)


def _refused(error: Exception) -> Exception | None:
    if isinstance(error, InvalidRequest | SyntaxException):
        return StatementRefusedError(f"Cassandra refused a statement: {_words(error)}")
    return None


def _unavailable(error: Exception) -> EventspineError:
    words = _words(error)
    return StoreUnavailableError(f"Cassandra cannot do it at the moment: {words}", cause=words)


def _unknown(error: Exception) -> EventspineError:
    return OutcomeUnknownError(
        f"Cassandra may or may not have stored it: {_words(error)}; send it again"
    )


def _words(error: Exception) -> str:
    """Says in one line what the driver's error was."""
    if isinstance(error, NoHostAvailable):
        hosts = ", ".join(f"{_address(host)}: {cause}" for host, cause in error.errors.items())
        return f"no node can be reached ({hosts or 'all are down'})"
    if isinstance(error, OperationTimedOut):
        return "no answer in time"
    if isinstance(error, ErrorMessage):
        return f"error 0x{error.code:04x}, {error.message}"
    return " ".join(str(error).split()) or type(error).__name__


def _address(host: Any) -> str:
    return str(getattr(host, "endpoint", host))
