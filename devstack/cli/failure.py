"""Failures of the command line: one sentence for people and an exit code, never a stack trace.

Exit codes: 0 done · 1 done, and what was looked at is not as it should be, or whoever read the
output has gone · 2 called wrongly · 3 the platform refused · 4 the platform or the file could not
be reached · 130 stopped by Ctrl-C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from devstack.cli.lazy import lazily

if TYPE_CHECKING:
    import grpc
else:
    grpc = lazily("grpc")

EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_UNREACHABLE = 4
EXIT_INTERRUPTED = 130


class CommandLineError(Exception):
    """Ends the command line.

    Attributes:
        exit_code: See the module's first lines.
    """

    def __init__(self, text: str, exit_code: int = EXIT_USAGE) -> None:
        """Says what is wrong and how to cure it, for people."""
        super().__init__(text)
        self.exit_code = exit_code


def refused(error: grpc.RpcError) -> CommandLineError:
    """Makes a sentence of a failed call: its reason, its text, and the fields that were wrong."""
    from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
    from grpc_status import rpc_status

    code, text = error.code(), error.details() or ""
    status = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
    lines = [text]
    reason = code.name
    for detail in status.details if status is not None else ():  # type: ignore[var-annotated] # the status is untyped
        if detail.Is(ErrorInfo.DESCRIPTOR):
            info = ErrorInfo.FromString(detail.value)
            reason = f"{info.reason.removeprefix('ERROR_REASON_')} ({code.name})"
        elif detail.Is(BadRequest.DESCRIPTOR):
            wrong = BadRequest.FromString(detail.value).field_violations
            if len(wrong) > 1:
                lines += [f"  {v.field}: {v.description}" for v in wrong]
    unreachable = code == grpc.StatusCode.UNAVAILABLE and status is None
    return CommandLineError(
        f"{reason}: " + "\n".join(lines), EXIT_UNREACHABLE if unreachable else EXIT_REFUSED
    )


def stop(text: str, exit_code: int = EXIT_USAGE) -> NoReturn:
    """Ends the command line with a sentence and an exit code."""
    raise CommandLineError(text, exit_code)
