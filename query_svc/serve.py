"""Step 7 of the way: a request in, rows, streams and states out; promise: it only ever reads.

Typed methods are hosted from what the domains declare; the generic service is the same for all.
"""

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field
from functools import partial

from eventspine.domain.declared import Declarations, QueryDeclaration
from eventspine.rpc.figures import Figure
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


@dataclass
class QueryService:
    """The query side of one process; nothing runs before `start`.

    Attributes:
        declarations: What the hosted domains declare.
        backend: The store that is read.
        tail: The end of the log, started before this is.
        progress: How far builds are, started before this is.
        serving: Which builds serve, started before this is.
        now_us: The clock.
        settings: What an operator may set.
    """

    declarations: Declarations
    backend: Backend
    tail: LogTail
    progress: ProgressBoard
    serving: ServingBuilds
    _: KW_ONLY
    now_us: Callable[[], int]
    settings: QuerySettings = field(default_factory=QuerySettings)

    def __post_init__(self) -> None:
        """Puts the parts together."""
        backend, tail = self.backend, self.tail
        self._pulse = Pulse(tail)
        self._changes = Changes(backend.bus)
        freshness = Freshness(backend, tail, self._pulse, self.progress)
        self._rows = Rows(
            declarations=self.declarations,
            backend=backend,
            serving=self.serving,
            freshness=freshness,
        )
        self._watches = Watches(
            backend=backend,
            tail=tail,
            serving=self.serving,
            freshness=freshness,
            changes=self._changes,
            settings=self.settings,
        )
        self._streams = Streams(backend.events)
        self._states = States(self.declarations, backend.events, backend.snapshots)
        self._subscriptions = Subscriptions(
            backend=backend,
            tail=tail,
            pulse=self._pulse,
            starts=Starts(backend, tail, self._pulse),
            memo=Memo(self.settings.memo_batches),
            settings=self.settings,
            now_us=self.now_us,
        )

    async def start(self) -> None:
        """Begins to follow the log and the changes."""
        self._pulse.start()
        self._changes.start()

    async def stop(self) -> None:
        """Ends what waits: subscriptions and watches fail with `ShuttingDownError`."""
        await self._pulse.stop()
        await self._changes.stop()

    @property
    def watched(self) -> int:
        """How many rows are being watched."""
        return self._changes.watched

    def figures(self) -> Iterable[Figure]:
        """Returns what was measured so far."""
        yield Figure(
            "eventspine_watched_rows", "gauge", "Rows that are watched.", (), {(): self.watched}
        )
        yield Figure(
            "eventspine_log_end",
            "gauge",
            "The last sequence of each log partition that this process knows.",
            ("partition",),
            {(str(number),): end for number, end in enumerate(self.tail.ends)},
        )

    def methods(self) -> list[Method]:
        """Returns the methods to host: the generic ones, then those that the domains declare."""
        return [*self._generic(), *map(self._typed, self.declarations.queries)]

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
