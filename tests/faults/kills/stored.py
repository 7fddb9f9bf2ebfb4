"""What Cassandra holds at the end, read by plain statements and nothing of the platform's."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cassandra import ConsistencyLevel
from cassandra.cluster import Cluster
from cassandra.query import SimpleStatement

from tests.faults.checker import Entry

PAGE_ROWS = 1_000
SECONDS = 60.0


class Stored(NamedTuple):
    """The two tables.

    Attributes:
        events: The encoded records by stream and version.
        log: The entries, partition by partition, in the order of their sequence.
    """

    events: dict[tuple[str, int], bytes]
    log: list[Entry]


def stored(contact_points: Sequence[str], keyspace: str) -> Stored:
    """Reads both tables whole, from a quorum."""
    hosts, ports = zip(*[point.rsplit(":", 1) for point in contact_points], strict=True)
    with Cluster(list(hosts), port=int(ports[0])) as cluster:
        session = cluster.connect(keyspace)

        def rows(cql: str) -> Any:
            statement = SimpleStatement(
                cql, consistency_level=ConsistencyLevel.QUORUM, fetch_size=PAGE_ROWS
            )
            return session.execute(statement, timeout=SECONDS)

        events = {
            (row.stream, row.version): row.encoded
            for row in rows("SELECT stream, version, kind, encoded FROM events")
            if row.kind == 1
        }
        log = [
            Entry(row.sequence, row.stream, row.version, row.type, row.encoded, row.partition)
            for row in rows("SELECT partition, sequence, stream, version, type, encoded FROM log")
            if row.stream is not None
        ]
    return Stored(events, sorted(log, key=lambda entry: (entry.partition, entry.sequence)))
