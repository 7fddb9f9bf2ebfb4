"""How often a keyspace is kept; promise: one that cannot work, or was not asked for, is refused.

Pure: what is there is handed in.
"""

import logging
from collections.abc import Mapping

from eventspine.storage.errors import StackSetupError
from eventspine.storage.stack import StackSettings

_LOG = logging.getLogger(__name__)

REPLICAS = 3


def new_replication(settings: StackSettings, nodes: Mapping[str, int]) -> dict[str, int]:
    """Returns how many replicas a new keyspace gets in each datacenter.

    Args:
        settings: What was asked.
        nodes: How many nodes each datacenter has.

    Raises:
        StackSetupError: What was asked cannot work.
    """
    local = settings.local_datacenter or next(iter(nodes))
    count = REPLICAS if nodes[local] >= REPLICAS else 1
    replication = dict(settings.replication) or {local: count}
    _check(replication, settings, nodes)
    return replication


def check_replication(
    found: Mapping[str, str], settings: StackSettings, nodes: Mapping[str, int]
) -> dict[str, int]:
    """Checks an existing keyspace, and returns its replicas in each datacenter.

    Args:
        found: The column `replication` of the table `system_schema.keyspaces`.
        settings: What was asked.
        nodes: How many nodes each datacenter has.

    Raises:
        StackSetupError: It is not what was asked, or cannot work.
    """
    replication = _read(found, settings, nodes)
    if settings.replication and replication != dict(settings.replication):
        raise StackSetupError(
            f"keyspace {settings.keyspace} has the replication {_text(replication)}, and the"
            f" settings ask for {_text(settings.replication)}; correct the settings, or ALTER"
            " KEYSPACE and run nodetool repair --full"
        )
    _check(replication, settings, nodes)
    return replication


def _read(
    found: Mapping[str, str], settings: StackSettings, nodes: Mapping[str, int]
) -> dict[str, int]:
    strategy = found["class"].rpartition(".")[2]
    if strategy == "NetworkTopologyStrategy":
        return {name: int(count) for name, count in found.items() if name != "class"}
    if strategy == "SimpleStrategy" and len(nodes) == 1:
        return {next(iter(nodes)): int(found["replication_factor"])}
    raise StackSetupError(
        f"keyspace {settings.keyspace} has the replication strategy {strategy}, which does not tell"
        " the datacenters apart; ALTER KEYSPACE to NetworkTopologyStrategy"
    )


def _check(
    replication: Mapping[str, int], settings: StackSettings, nodes: Mapping[str, int]
) -> None:
    keyspace = settings.keyspace
    local = settings.local_datacenter or next(iter(nodes))
    for name, count in replication.items():
        if name not in nodes:
            raise StackSetupError(
                f"the replication of keyspace {keyspace} names the datacenter {name!r}, which does"
                f" not exist (there are: {', '.join(sorted(nodes))}); correct it"
            )
        if nodes[name] < count // 2 + 1:
            raise StackSetupError(
                f"keyspace {keyspace} asks for {count} replicas in {name}, which has"
                f" {nodes[name]} nodes: no quorum is possible; add nodes, or lower the replication"
            )
        if nodes[name] < count:
            _LOG.warning("%s has %d nodes for %d replicas", name, nodes[name], count)
    if not replication.get(local):
        raise StackSetupError(
            f"keyspace {keyspace} has no replica in the local datacenter {local}; correct the"
            " replication or local_datacenter"
        )
    if replication[local] < REPLICAS <= nodes[local]:
        _LOG.warning(
            "keyspace %s has %d replicas in %s, which has nodes for %d: when one node fails, a part"
            " of the streams cannot be written",
            keyspace,
            replication[local],
            local,
            REPLICAS,
        )


def _text(replication: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(replication.items()))
