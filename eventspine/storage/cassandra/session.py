"""Statements to Cassandra and back; promise: an error tells whether anything may have been done.

The driver works on a thread of its own. Its answers are handed over to the event loop in bursts:
however many have arrived, the loop is woken once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from cassandra.cluster import ResponseFuture, Session
from cassandra.query import BatchStatement, BatchType, PreparedStatement

from eventspine.storage.cassandra import cluster
from eventspine.storage.cassandra.failures import read_error, write_error
from eventspine.storage.stack import StackSettings

Row = tuple[Any, ...]
Part = tuple[str, Sequence[Any]]
"""A statement of a batch: its CQL with question marks, and the values for these in order."""

PAGE_ROWS = 1000
_SCHEMA_SECONDS = 60.0


class Verdict(NamedTuple):
    """What became of conditional statements.

    Attributes:
        applied: Whether all of them were carried out; none of them was otherwise.
        rows: Where they were not, the rows that the conditions were held against, as far as there
            are any, by column name. A static column stands in each.
    """

    applied: bool
    rows: list[dict[str, Any]]


class Page(NamedTuple):
    """A part of a result. `state` asks for the next part; None when there is none."""

    rows: list[Row]
    state: bytes | None


class _Answer(NamedTuple):
    future: "asyncio.Future[_Answer]"
    rows: Any
    error: Exception | None
    columns: Sequence[str]
    state: bytes | None


class CassandraSession:
    """Statements of one process to one keyspace. To be used on one event loop.

    Statements are texts, the same text for the same statement each time, and are prepared once.
    Values take the driver's types: int, str, bytes, None. Table names have to be qualified, which
    `table` does.
    """

    def __init__(self, session: Session, settings: StackSettings) -> None:
        """Uses an open session of the driver; `open` makes one."""
        self._session = session
        self._keyspace = settings.keyspace
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(settings.requests_in_flight_max)
        self._arrived: deque[_Answer] = deque()
        self._awake = False
        self._prepared: dict[str, PreparedStatement] = {}
        self._preparing: dict[str, asyncio.Task[PreparedStatement]] = {}

    @classmethod
    async def open(cls, settings: StackSettings) -> "CassandraSession":
        """Connects; see `StackSettings`.

        Raises:
            StackSetupError: No contact point can be reached, they refuse the credentials, or the
                datacenter does not exist.
        """
        return cls(await cluster.connect(settings), settings)

    @property
    def keyspace(self) -> str:
        """The keyspace whose tables `table` names."""
        return self._keyspace

    @property
    def nodes(self) -> dict[str, int]:
        """How many nodes each datacenter has, those included that are down."""
        return dict(cluster.nodes_of(self._session.cluster))

    def table(self, name: str) -> str:
        """Returns the qualified name of a table."""
        return f'"{self._keyspace}".{name}'

    async def read(self, cql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Returns all rows of a query. May be tried at a second node.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        page = await self.page(cql, values)
        rows = page.rows
        while page.state is not None:
            page = await self.page(cql, values, state=page.state)
            rows += page.rows
        return rows

    async def page(
        self,
        cql: str,
        values: Sequence[Any] = (),
        *,
        state: bytes | None = None,
        rows_max: int = PAGE_ROWS,
    ) -> Page:
        """Returns one page of a query's rows; `state` of a page asks for the one behind it.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        bound = (await self._prepare(cql)).bind(values)
        bound.fetch_size = rows_max
        answer = await self._ask(bound, profile=cluster.READ, paging_state=state)
        if answer.error is not None:
            raise read_error(answer.error) from answer.error
        return Page(answer.rows or [], answer.state)

    async def pages(
        self, cql: str, values: Sequence[Any] = (), *, rows_max: int = PAGE_ROWS
    ) -> AsyncIterator[list[Row]]:
        """Iterates over the pages of a query's rows, none of them empty; one is in memory.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        state = None
        while True:
            rows, state = await self.page(cql, values, state=state, rows_max=rows_max)
            if rows:
                yield rows
            if state is None:
                return

    async def write(self, *parts: Part) -> None:
        """Carries out statements without conditions, of one Cassandra partition, all or none.

        They are sent once, and should be such that carrying them out twice does no harm.

        Raises:
            OutcomeUnknownError: They may have been carried out, or may be later.
            StoreUnavailableError: None was carried out.
        """
        answer = await self._ask(await self._bind(parts))
        if answer.error is not None:
            raise write_error(answer.error, conditional=False) from answer.error

    async def decide(self, *parts: Part) -> Verdict:
        """Carries out statements with conditions, of one Cassandra partition, all or none.

        Raises:
            OutcomeUnknownError: They may have been carried out, or may be later. Sending the very
                same again settles it, as far as its conditions tell its own success from others'.
            StoreUnavailableError: None was carried out.
        """
        answer = await self._ask(await self._bind(parts))
        if answer.error is not None:
            raise write_error(answer.error, conditional=True) from answer.error
        # The first column says whether; those behind it are there only if not.
        if answer.rows[0][0]:
            return Verdict(True, [])
        columns = answer.columns
        return Verdict(False, [dict(zip(columns, row, strict=True)) for row in answer.rows])

    async def define(self, cql: str) -> bool:
        """Changes the schema, and returns whether all nodes that are up have taken it over.

        Raises:
            OutcomeUnknownError: It may have been changed.
            StoreUnavailableError: It was not changed; `cause` says why.
        """
        answer = await self._ask(cql, timeout=_SCHEMA_SECONDS)
        if answer.error is not None:
            raise write_error(answer.error, conditional=False) from answer.error
        control = self._session.cluster.control_connection
        return bool(
            await asyncio.to_thread(control.wait_for_schema_agreement, wait_time=_SCHEMA_SECONDS)
        )

    async def route(self) -> None:
        """Learns the keyspace's replication, so that each request goes to a node that has it."""
        await asyncio.to_thread(
            self._session.cluster.refresh_keyspace_metadata, self._keyspace, _SCHEMA_SECONDS
        )

    async def close(self) -> None:
        """Closes the connections; what is on its way fails. Calling it again is harmless."""
        await cluster.disconnect(self._session)

    async def _bind(self, parts: Sequence[Part]) -> Any:
        if len(parts) == 1:
            cql, values = parts[0]
            return (await self._prepare(cql)).bind(values)
        batch = BatchStatement(BatchType.UNLOGGED)
        for cql, values in parts:
            batch.add(self._prepared.get(cql) or await self._prepare(cql), values)
        return batch

    async def _prepare(self, cql: str) -> PreparedStatement:
        prepared = self._prepared.get(cql)
        if prepared is None:
            task = self._preparing.get(cql)
            if task is None:
                task = asyncio.create_task(self._prepare_now(cql))
                self._preparing[cql] = task
                task.add_done_callback(lambda _: self._preparing.pop(cql))
            prepared = await asyncio.shield(task)
        return prepared

    async def _prepare_now(self, cql: str) -> PreparedStatement:
        try:
            prepared = await asyncio.to_thread(self._session.prepare, cql)
        except Exception as error:
            raise read_error(error) from error
        self._prepared[cql] = prepared
        return prepared

    async def _ask(self, statement: Any, **options: Any) -> _Answer:
        """Sends a statement, and waits for its answer."""
        await self._slots.acquire()
        future: asyncio.Future[_Answer] = self._loop.create_future()
        profile = options.pop("profile", cluster.WRITE)
        try:
            response = self._session.execute_async(statement, execution_profile=profile, **options)
        except BaseException:
            self._slots.release()
            raise
        response.add_callbacks(
            self._succeeded, self._failed, (response, future), None, (future,), None
        )
        return await future

    def _succeeded(self, rows: Any, response: ResponseFuture, future: Any) -> None:
        self._deliver(
            _Answer(future, rows, None, response._col_names or (), response._paging_state)
        )

    def _failed(self, error: Exception, future: Any) -> None:
        self._deliver(_Answer(future, None, error, (), None))

    def _deliver(self, answer: _Answer) -> None:
        """Hands an answer over to the event loop, from the driver's thread."""
        self._arrived.append(answer)
        if not self._awake:
            self._awake = True
            self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        """Gives out all answers that have arrived, on the event loop."""
        # Before the first is taken: what arrives from here on wakes the loop again.
        self._awake = False
        arrived = self._arrived
        while arrived:
            answer = arrived.popleft()
            self._slots.release()
            if not answer.future.done():
                answer.future.set_result(answer)
