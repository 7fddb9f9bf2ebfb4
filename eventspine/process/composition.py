"""What a process is composed of; promise: each service is put together in one place only.

Each service's folder has a `compose` that makes its composition out of a site. The embedded
platform puts all three of them on one site; a service process has one of them on its own.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from eventspine.domain.declared import Declarations
from eventspine.rpc.figures import Figure
from eventspine.rpc.method import Method
from eventspine.storage.connect import Backend
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from eventspine.storage.tail import LogTail


def system_now_us() -> int:
    """Returns the system's time in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Part(Protocol):
    """What runs in a process from its start to its stop."""

    async def start(self) -> None:
        """Begins.

        Raises:
            StoreUnavailableError: What it needs cannot be read. It does not run.
        """
        ...

    async def stop(self) -> None:
        """Ends. Safe also where it was not started."""
        ...


class Composition(Protocol):
    """One service, put together and not started."""

    @property
    def parts(self) -> Sequence[Part]:
        """What has to run for it, in the order in which it is started."""
        ...

    @property
    def methods(self) -> Sequence[Method]:
        """What it hosts."""
        ...

    def figures(self) -> Iterable[Figure]:
        """Returns what it has counted and measured so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the services of one process stand on together. Nothing of it is started.

    Attributes:
        declarations: What the hosted domains declare.
        backend: An open backend; the services use it and do not close it.
        tail: The end of its log.
        progress: How far builds of views are.
        serving: Which builds serve.
        tenant: The tenant that records are stored for.
        now_us: The clock: microseconds since 1970 UTC.
    """

    declarations: Declarations
    backend: Backend
    tail: LogTail
    progress: ProgressBoard
    serving: ServingBuilds
    tenant: str
    now_us: Callable[[], int]


def site_over(
    declarations: Declarations,
    backend: Backend,
    *,
    tenant: str,
    now_us: Callable[[], int] = system_now_us,
) -> Site:
    """Makes a site over one backend.

    Args:
        declarations: What the domains declare.
        backend: An open backend.
        tenant: The tenant that records are stored for.
        now_us: The clock.
    """
    return Site(
        declarations=declarations,
        backend=backend,
        tail=LogTail(backend.log, backend.bus),
        progress=ProgressBoard(backend.views, backend.bus),
        serving=ServingBuilds(backend.registry, backend.bus),
        tenant=tenant,
        now_us=now_us,
    )
