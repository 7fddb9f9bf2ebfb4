"""What a handler knows of the call, without the transport."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CallContext:
    """The circumstances of one call.

    Attributes:
        time_remaining: Returns the seconds until the caller's deadline, negative when it has
            passed; None without a deadline.
        cancelled: Returns whether the caller has gone.
        parting: By name, what returns the metadata that the caller is told when the process stops
            in the middle of the call, such as a cursor to go on from. The handler puts it in.
    """

    time_remaining: Callable[[], float | None]
    cancelled: Callable[[], bool]
    parting: dict[str, Callable[[], str]] = field(default_factory=dict)
