"""Beside append: the answer to an expectation that was not met, with what the caller has missed."""

from command_svc.command import Command, Expected
from eventspine.rpc.errors import StreamVersionConflictError
from eventspine.rpc.limits import CONFLICT_BYTES_MAX, CONFLICT_RECORDS_MAX
from eventspine.storage.ports import EventStore
from eventspine.v1.record_pb2 import VersionConflict


async def conflict_error(
    events: EventStore, command: Command, actual_version: int
) -> StreamVersionConflictError:
    """Returns the error for a command whose stream is at `actual_version`, not as expected.

    Raises:
        StoreUnavailableError: What was missed cannot be read at the moment.
    """
    expected = command.header.expected or Expected("any", 0)
    conflict = VersionConflict(stream=command.stream, actual_version=actual_version)
    after = expected.version if expected.kind == "version" else 0
    if expected.kind != "stream_exists" and after < actual_version:
        missed = await events.read(command.stream, after=after, limit=CONFLICT_RECORDS_MAX)
        size = 0
        for record in missed:
            size += len(record.encoded)
            if record.stream_version > actual_version or size > CONFLICT_BYTES_MAX:
                break
            conflict.missed.add().ParseFromString(record.encoded)
        conflict.truncated = after + len(conflict.missed) < actual_version
    found = f"is at version {actual_version}" if actual_version else "has no event"
    wanted = f"version {after}" if expected.kind == "version" else expected.kind
    return StreamVersionConflictError(
        f"stream {command.stream!r} {found}, and {wanted} was expected; read what was missed and"
        f" decide again, with a new command id",
        conflict,
    )


def lost_error(command: Command, actual_version: int) -> StreamVersionConflictError:
    """Returns the error for a command that lost its stream to other processes again and again."""
    return StreamVersionConflictError(
        f"stream {command.stream!r} was written by other processes {command.attempts} times while"
        f" the command was decided; try again",
        VersionConflict(stream=command.stream, actual_version=actual_version),
    )
