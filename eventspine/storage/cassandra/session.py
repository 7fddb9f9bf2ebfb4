"""Statements to Cassandra and back; promise: an error tells whether anything may have been done."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from cassandra import InvalidRequest
from cassandra.cluster import NoHostAvailable, Session
from cassandra.protocol import PreparedQueryNotFound, ResultMessage
from cassandra.query import PreparedStatement

from eventspine.storage.cassandra import cluster
from eventspine.storage.cassandra.failures import read_error, write_error
from eventspine.storage.cassandra.statements import Part, Prepared, batch_message
from eventspine.storage.cassandra.wire import Wire
from eventspine.storage.stack import StackSettings

Row = tuple[Any, ...]

PAGE_ROWS = 1000
_SCHEMA_SECONDS = 60.0
_BEHIND_SECONDS = 5.0


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


class CassandraSession:
    """Statements of one process to one keyspace. To be used on one event loop.

    Statements are texts, the same text for the same statement each time, and are prepared once.
    Values take the driver's types: int, str, bytes, list, None. Table names have to be qualified,
    which `table` does.
    """

    def __init__(self, session: Session, settings: StackSettings) -> None:
        """Uses an open session of the driver; `open` makes one."""
        self._session = session
        self._keyspace = settings.keyspace
        self._consistencies = cluster.CONSISTENCIES[settings.consistency]
        self._wire = Wire(
            session,
            settings.keyspace,
            timeout_seconds=settings.request_timeout_seconds,
            in_flight_max=settings.requests_in_flight_max,
        )
        self._prepared: dict[str, Prepared] = {}
        self._preparing: dict[str, asyncio.Task[Prepared]] = {}

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
        prepared = await self._prepare(cql)
        message = prepared.message(
            values, self._consistencies, page_rows=rows_max, paging_state=state
        )
        try:
            try:
                response = await self._ask([cql], message, prepared, values)
            except NoHostAvailable:
                raise
            except Exception as first:
                try:
                    response = await self._ask([cql], message, prepared, values, skip_nodes=1)
                except NoHostAvailable:
                    # There is no second node.
                    raise first from None
        except Exception as error:
            raise read_error(error) from error
        return Page(response.parsed_rows or [], response.paging_state)

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
        await self._change(parts, conditional=False)

    async def decide(self, *parts: Part) -> Verdict:
        """Carries out statements with conditions, of one Cassandra partition, all or none.

        Raises:
            OutcomeUnknownError: They may have been carried out, or may be later. Sending the very
                same again settles it, as far as its conditions tell its own success from others'.
            StoreUnavailableError: None was carried out.
        """
        response = await self._change(parts, conditional=True)
        rows = response.parsed_rows
        # The first column says whether; those behind it are there only if not.
        if rows[0][0]:
            return Verdict(True, [])
        columns = response.column_names
        return Verdict(False, [dict(zip(columns, row, strict=True)) for row in rows])

    async def define(self, cql: str) -> bool:
        """Changes the schema, and returns whether all nodes that are up have taken it over.

        Raises:
            OutcomeUnknownError: It may have been changed.
            StoreUnavailableError: It was not changed; `cause` says why.
        """
        try:
            await asyncio.to_thread(self._session.execute, cql, timeout=_SCHEMA_SECONDS)
        except Exception as error:
            raise write_error(error, conditional=False) from error
        return await self.agrees()

    async def agrees(self, wait_seconds: float = _SCHEMA_SECONDS) -> bool:
        """Waits until all nodes that are up have the same schema; False if they take too long."""
        control = self._session.cluster.control_connection
        return bool(
            await asyncio.to_thread(control.wait_for_schema_agreement, wait_time=wait_seconds)
        )

    async def route(self) -> None:
        """Learns the keyspace's replication, so that each request goes to a node that has it."""
        await asyncio.to_thread(
            self._session.cluster.refresh_keyspace_metadata, self._keyspace, _SCHEMA_SECONDS
        )

    async def close(self) -> None:
        """Closes the connections; what is on its way fails. Calling it again is harmless."""
        await cluster.disconnect(self._session)

    async def _change(self, parts: Sequence[Part], *, conditional: bool) -> ResultMessage:
        known = self._prepared
        bound = [(known.get(cql) or await self._prepare(cql), values) for cql, values in parts]
        prepared, values = bound[0]
        if len(bound) == 1:
            message = prepared.message(values, self._consistencies)
        else:
            message = batch_message(bound, self._consistencies)
        try:
            return await self._ask([cql for cql, _ in parts], message, prepared, values)
        except Exception as error:
            raise write_error(error, conditional=conditional) from error

    async def _ask(
        self,
        statements: Sequence[str],
        message: Any,
        prepared: Prepared,
        values: Sequence[Any],
        *,
        skip_nodes: int = 0,
    ) -> ResultMessage:
        """Sends a message by the partition key of its first statement."""
        key = None if self._wire.has_one_node else prepared.routing_key(values)
        metadata = prepared.result_metadata
        try:
            return await self._wire.ask(
                message, key=key, result_metadata=metadata, skip_nodes=skip_nodes
            )
        except PreparedQueryNotFound:
            # The node has forgotten it, and has done nothing.
            for cql in set(statements):
                await self._known(cql)
            return await self._wire.ask(
                message, key=key, result_metadata=metadata, skip_nodes=skip_nodes
            )

    async def _prepare(self, cql: str) -> Prepared:
        prepared = self._prepared.get(cql)
        if prepared is None:
            task = self._preparing.get(cql)
            if task is None:
                task = asyncio.create_task(self._prepare_now(cql))
                self._preparing[cql] = task
                task.add_done_callback(lambda _: self._preparing.pop(cql))
            prepared = await asyncio.shield(task)
        return prepared

    async def _prepare_now(self, cql: str) -> Prepared:
        try:
            statement = await self._known(cql)
        except Exception as error:
            raise read_error(error) from error
        prepared = self._prepared[cql] = Prepared(statement)
        return prepared

    async def _known(self, cql: str) -> PreparedStatement:
        """Makes a statement known to the nodes, also where one is behind with the schema."""
        try:
            return await asyncio.to_thread(self._session.prepare, cql)
        except InvalidRequest:
            await self.agrees(_BEHIND_SECONDS)
            return await asyncio.to_thread(self._session.prepare, cql)
