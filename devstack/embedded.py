"""The embedded platform: all three services in one process, on one backend, behind one address."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import command_svc.compose
import processor_svc.compose
import query_svc.compose
from command_svc.serve import CommandService
from eventspine.domain.declare import declare
from eventspine.domain.declared import Declarations
from eventspine.domain.domain import Domain
from eventspine.process.composition import Composition, site_over
from eventspine.process.running import run_behind
from eventspine.rpc.host import Host
from eventspine.storage.connect import Backend, open_memory, open_sqlite
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from eventspine.storage.stack import DEFAULT_TENANT
from eventspine.storage.tail import LogTail
from processor_svc.admin import AdminService
from processor_svc.project import Processor
from processor_svc.sequence import Sequencer
from query_svc.serve import QueryService

GRACE_SECONDS = 2.0
"""How long calls under way may go on when the platform stops."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the platform is composed of.

    Attributes:
        compositions: The services, in the order in which they are started: the processor first, so
            that what the others publish while they stop is still taken.
    """

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
    compositions: Sequence[Composition]
    host: Host


def compose(declarations: Declarations, backend: Backend, *, address: str, tenant: str) -> Parts:
    """Puts the services together over one backend. Nothing is started.

    Args:
        declarations: What the domains declare.
        backend: An open backend; the parts use it and do not close it.
        address: Where to listen, `host:port`; port 0 picks a free one.
        tenant: The tenant that records are stored for.
    """
    site = site_over(declarations, backend, tenant=tenant)
    processor = processor_svc.compose.compose(site)
    command = command_svc.compose.compose(site)
    query = query_svc.compose.compose(site)
    return Parts(
        declarations=declarations,
        backend=backend,
        tail=site.tail,
        progress=site.progress,
        serving=site.serving,
        sequencer=processor.sequencer,
        processor=processor.processor,
        command=command.command,
        query=query.query,
        admin=processor.admin,
        compositions=(processor, command, query),
        host=Host(address=address),
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
        tenant: str = DEFAULT_TENANT,
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
        host = self.parts.host
        self._stack.push_async_callback(host.stop, 0)
        self.address = await host.listen()
        await run_behind(host, self.parts.compositions, self._stack, GRACE_SECONDS)

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
