"""SQLite's errors in the words of the storage ports; promise: a known cause has a known error."""

import sqlite3

from eventspine.domain.errors import EventspineError
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError

_CAUSES = {
    sqlite3.SQLITE_FULL: ("disk full", "make room on the disk, then try again"),
    sqlite3.SQLITE_IOERR: ("disk error", "check the disk, then try again"),
    sqlite3.SQLITE_BUSY: ("locked", "close the other program that has the file open"),
    sqlite3.SQLITE_LOCKED: ("locked", "close the other program that has the file open"),
    sqlite3.SQLITE_READONLY: ("read only", "make the file and its folder writable"),
    sqlite3.SQLITE_CANTOPEN: ("not accessible", "check the file and its folder"),
    sqlite3.SQLITE_CORRUPT: ("damaged", "restore the store from a backup"),
    sqlite3.SQLITE_NOTADB: ("damaged", "restore the store from a backup"),
}
"""By primary result code: the cause, and the cure."""


def refused(error: sqlite3.Error) -> Exception:
    """Returns what to raise for an error before the commit: nothing was stored.

    An error whose cause is not the state of the file is a defect of ours: it comes back as it is.
    """
    known = _CAUSES.get(_primary(error))
    if known is None:
        return error
    cause, cure = known
    return StoreUnavailableError(f"nothing was stored: {error}; {cure}", cause=cause)


def unreadable(error: sqlite3.Error) -> Exception:
    """Returns what to raise for an error while reading."""
    known = _CAUSES.get(_primary(error))
    if known is None:
        return error
    cause, cure = known
    return StoreUnavailableError(f"the store cannot be read: {error}; {cure}", cause=cause)


def undecided(error: sqlite3.Error) -> Exception:
    """Returns what to raise for an error of the commit itself.

    A full disk or a lock stops a commit before its last page is written. After any other error,
    such as a failed fsync, that page may or may not be in the file when it is opened again.
    """
    if _primary(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
        return refused(error)
    return OutcomeUnknownError(
        f"the commit failed: {error}; send the same commands again, they take effect once",
        cause=_CAUSES.get(_primary(error), ("commit failed",))[0],
    )


def copies(error: Exception, count: int) -> list[Exception]:
    """Returns the error once for each of those who wait, as each adds its own traceback."""
    if isinstance(error, EventspineError):
        return [type(error)(str(error), **error.metadata) for _ in range(count)]
    return [error] * count


def _primary(error: sqlite3.Error) -> int:
    # Errors of the Python module itself have no code. The low byte is the primary result code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
