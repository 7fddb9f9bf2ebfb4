"""What an acknowledgement of a keyspace means; promise: what weakens it is said, with a cure.

On the disk of a quorum means: the commit log is synced before a node answers, the keyspace writes
to it at all, and a quorum is more than one node. Source: `commitlog_sync` in Cassandra's
configuration, `durable_writes` of a keyspace.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from eventspine.storage.cassandra.failures import StatementRefusedError
from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.errors import StoreUnavailableError

REPLICAS_MIN = 3
"""From how many on a quorum is left when one is lost."""

_KEPT = {
    "periodic": "in memory, and on the disk some seconds later",
    "batch": "in its commit log on the disk",
    "group": "in its commit log on the disk",
}


class Durability(NamedTuple):
    """What an acknowledgement means.

    Attributes:
        words: In a sentence.
        weaknesses: What makes it mean less than on the disks of a quorum, each with its cure.
    """

    words: str
    weaknesses: tuple[str, ...]


async def read_durability(
    session: CassandraSession, consistency: str, replication: Mapping[str, int]
) -> Durability:
    """Reads what the node that answers and the keyspace are set to."""
    sync = await _value(session, "SELECT value FROM system_views.settings WHERE name = ?", _SYNC)
    durable = await _value(
        session,
        "SELECT durable_writes FROM system_schema.keyspaces WHERE keyspace_name = ?",
        session.keyspace,
    )
    replicas = ", ".join(f"{count} in {name}" for name, count in sorted(replication.items()))
    words = f"an acknowledged event is on a {consistency} of its replicas ({replicas})"
    if sync is not None:
        kept = _KEPT.get(str(sync), "as its commit log says")
        words += f", each of which has it {kept} ({_SYNC}: {sync})"
    return Durability(words, tuple(_weaknesses(sync, durable, replication)))


_SYNC = "commitlog_sync"


async def _value(session: CassandraSession, cql: str, name: str) -> object:
    """Reads one value; None where the role may not. Only the node that answers is asked."""
    with suppress(StoreUnavailableError, StatementRefusedError):
        rows = await session.read(cql, (name,))
        return rows[0][0] if rows else None
    return None


def _weaknesses(sync: object, durable: object, replication: Mapping[str, int]) -> Iterator[str]:
    if sync == "periodic":
        yield (
            "a node answers before its disk has the write: what all nodes of a quorum lose their"
            f" power over at once is gone; set {_SYNC}: group in cassandra.yaml"
        )
    if durable is False:
        yield (
            "the keyspace does not write to the commit log: a node that ends loses what it had in"
            " memory; ALTER KEYSPACE ... WITH durable_writes = true"
        )
    if sum(replication.values()) < REPLICAS_MIN:
        yield (
            f"there are fewer than {REPLICAS_MIN} replicas: when a node is lost, events are lost or"
            " nothing can be written; add nodes, ALTER KEYSPACE, and run nodetool repair --full"
        )
