"""The embedded platform: all three services in one process, on one backend, behind one address."""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

from command_svc.serve import CommandService
from command_svc.settings import CommandSettings
from eventspine.domain.declare import declare
from eventspine.domain.declared import Declarations
from eventspine.domain.domain import Domain
from eventspine.rpc.host import Host
from eventspine.storage.connect import Backend, open_memory, open_sqlite
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from eventspine.storage.tail import LogTail
from processor_svc.admin import AdminService
from processor_svc.project import Processor
from processor_svc.sequence import Sequencer
from query_svc.serve import QueryService

GRACE_SECONDS = 2.0
"""How long calls under way may go on when the platform stops."""


def system_now_us() -> int:
    """Returns the system's time in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Parts:
    """What the platform is composed of, in the order in which it is started."""

    declarations: Declarations
    backend: Backend
    tail: LogTail
    progress: ProgressBoard
    serving: ServingBuilds
    sequencer: Sequencer | None
    processor: Processor
    command: CommandService
    query: QueryService
    admin: AdminService
    host: Host


def compose(declarations: Declarations, backend: Backend, *, address: str, tenant: str) -> Parts:
    """Puts the services together over one backend. Nothing is started.

    Args:
        declarations: What the domains declare.
        backend: An open backend; the parts use it and do not close it.
        address: Where to listen, `host:port`; port 0 picks a free one.
        tenant: The tenant that records are stored for.
    """
    tail = LogTail(backend.log, backend.bus)
    progress = ProgressBoard(backend.views, backend.bus)
    serving = ServingBuilds(backend.registry, backend.bus)
    processor = Processor(declarations, backend, tail, now_us=system_now_us)
    command = CommandService(
        declarations,
        backend,
        now_us=system_now_us,
        progress=progress,
        serving=serving,
        settings=CommandSettings(tenant=tenant),
    )
    query = QueryService(declarations, backend, tail, progress, serving, now_us=system_now_us)
    admin = AdminService(
        backend,
        processor,
        tail,
        now_us=system_now_us,
        version=version("eventspine"),
        tenant=tenant,
    )
    sequencer = (
        None if backend.sequences_on_append else Sequencer(backend.events, backend.log, backend.bus)
    )
    methods = [*command.methods(), *query.methods(), *admin.methods()]
    host = Host(methods, address=address)
    return Parts(
        declarations=declarations,
        backend=backend,
        tail=tail,
        progress=progress,
        serving=serving,
        sequencer=sequencer,
        processor=processor,
        command=command,
        query=query,
        admin=admin,
        host=host,
    )


class Embedded:
    """A running embedded platform; an async context manager.

    Attributes:
        address: Where it listens, `host:port`, once it is entered.
        parts: What it is made of, once it is entered.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        *,
        db: Path | None = None,
        address: str = "127.0.0.1:0",
        tenant: str = "default",
    ) -> None:
        """Prepares a platform; entering it starts it.

        Args:
            domains: What to host.
            db: The SQLite file to keep everything in; None keeps it in memory.
            address: Where to listen; port 0 picks a free one.
            tenant: The tenant that records are stored for.
        """
        self._domains = domains
        self._db = db
        self._listen = address
        self._tenant = tenant
        self._stack = AsyncExitStack()
        self.address = ""
        self.parts: Parts

    async def __aenter__(self) -> "Embedded":
        """Starts everything; returns when calls are answered.

        Raises:
            DeclarationError: A domain is declared wrongly. Nothing was opened.
            OwnedError: Another process owns the file. Nothing was opened.
            PortTakenError: The address is taken. The file was closed again.
        """
        declarations = declare(self._domains)
        backend = open_memory() if self._db is None else await open_sqlite(self._db)
        self._stack.push_async_callback(backend.close)
        try:
            self.parts = compose(declarations, backend, address=self._listen, tenant=self._tenant)
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _start(self) -> None:
        """Starts each part, and notes how to stop it, so that stops come in the reverse order."""
        parts = self.parts
        services = (
            parts.tail,
            parts.progress,
            parts.serving,
            parts.sequencer,
            parts.processor,
            parts.command,
            parts.query,
        )
        for service in services:
            if service is not None:
                self._stack.push_async_callback(service.stop)
                await service.start()
        self._stack.push_async_callback(parts.host.stop, GRACE_SECONDS)
        self.address = await parts.host.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends calls, stores what was accepted, and closes the backend."""
        await self.stop()

    async def stop(self) -> None:
        """Stops in the reverse order; open subscriptions end with SHUTTING_DOWN first."""
        await self._stack.aclose()
