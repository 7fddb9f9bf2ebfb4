"""What a handler knows of the call, without the transport."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallContext:
    """The circumstances of one call.

    Attributes:
        metadata: Request metadata with lower-case names; binary ones (`-bin`) are left out.
        time_remaining: Returns the seconds until the caller's deadline, negative when it has
            passed; None without a deadline.
        cancelled: Returns whether the caller has gone.
    """

    metadata: Mapping[str, str]
    time_remaining: Callable[[], float | None]
    cancelled: Callable[[], bool]
