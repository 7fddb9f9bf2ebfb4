"""Step 7 of the way: a request in, rows, streams and states out; promise: it only ever reads.

Typed methods are hosted from what the domains declare; the generic service is the same for all.
"""

from collections.abc import Callable
from functools import partial

from eventspine.domain.declared import Declarations, QueryDeclaration
from eventspine.rpc.method import Method
from eventspine.storage.connect import Backend
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from eventspine.storage.tail import LogTail
from eventspine.v1.query_pb2 import (
    GetStateRequest,
    GetStreamRequest,
    ListRowsRequest,
    ReadStreamRequest,
)
from eventspine.v1.subscription_pb2 import SubscribeRequest
from query_svc.changes import Changes
from query_svc.feed import Memo
from query_svc.freshness import Freshness
from query_svc.pulse import Pulse
from query_svc.rows import Rows
from query_svc.settings import QuerySettings
from query_svc.start import Starts
from query_svc.state import States
from query_svc.streams import Streams
from query_svc.subscribe import Subscriptions
from query_svc.watch import Watches

SERVICE = "eventspine.v1.QueryService"


class QueryService:
    """The query side of one process. Give it a tail and boards that are started before it."""

    def __init__(  # noqa: PLR0913 # one composition root: all that the query side needs, by name
        self,
        declarations: Declarations,
        backend: Backend,
        tail: LogTail,
        progress: ProgressBoard,
        serving: ServingBuilds,
        *,
        now_us: Callable[[], int],
        settings: QuerySettings | None = None,
    ) -> None:
        """Puts the parts together; nothing runs before `start`."""
        settings = settings or QuerySettings()
        self._declarations = declarations
        self._pulse = Pulse(tail)
        self._changes = Changes(backend.bus)
        freshness = Freshness(backend, tail, self._pulse, progress)
        self._rows = Rows(
            declarations=declarations, backend=backend, serving=serving, freshness=freshness
        )
        self._watches = Watches(
            backend=backend,
            tail=tail,
            serving=serving,
            freshness=freshness,
            changes=self._changes,
            settings=settings,
        )
        self._streams = Streams(backend.events)
        self._states = States(declarations, backend.events, backend.snapshots)
        self._subscriptions = Subscriptions(
            backend=backend,
            tail=tail,
            pulse=self._pulse,
            starts=Starts(backend, self._pulse),
            memo=Memo(settings.memo_batches),
            settings=settings,
            now_us=now_us,
        )

    async def start(self) -> None:
        """Begins to follow the log and the changes."""
        self._pulse.start()
        self._changes.start()

    async def stop(self) -> None:
        """Ends what waits: subscriptions and watches fail with `ShuttingDownError`."""
        await self._pulse.stop()
        await self._changes.stop()

    def methods(self) -> list[Method]:
        """Returns the methods to host: the generic ones, then those that the domains declare."""
        return [*self._generic(), *map(self._typed, self._declarations.queries)]

    def _generic(self) -> list[Method]:
        streams, rows = self._streams, self._rows
        return [
            Method(
                service=SERVICE,
                name="ReadStream",
                request=ReadStreamRequest,
                server_stream=streams.read,
            ),
            Method(service=SERVICE, name="GetStream", request=GetStreamRequest, unary=streams.get),
            Method(
                service=SERVICE, name="GetState", request=GetStateRequest, unary=self._states.get
            ),
            Method(
                service=SERVICE,
                name="ListRows",
                request=ListRowsRequest,
                server_stream=rows.list_rows,
            ),
            Method(
                service=SERVICE,
                name="Subscribe",
                request=SubscribeRequest,
                server_stream=self._subscriptions.subscribe,
            ),
        ]

    def _typed(self, query: QueryDeclaration) -> Method:
        if query.kind == "get":
            return Method(
                service=query.service,
                name=query.method,
                request=query.request,
                unary=partial(self._rows.get, query),
            )
        answer = self._rows.list_typed if query.kind == "list" else self._watches.watch
        return Method(
            service=query.service,
            name=query.method,
            request=query.request,
            server_stream=partial(answer, query),
        )
