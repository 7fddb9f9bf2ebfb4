"""Where each server of a stack listens; promise: a kept state is started as it was made."""

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from devstack.stack import cassandra, kafka
from devstack.stack.errors import ShapeError
from devstack.stack.ports import free_port

LAYOUT: Final = "stack.json"
COUNTS: Final = (0, 1, 3)


def check_counts(*, nodes: int, brokers: int) -> None:
    """Makes sure that there may be so many servers.

    Raises:
        ShapeError: There may not.
    """
    for what, count in (("Cassandra nodes", nodes), ("Kafka brokers", brokers)):
        if count not in COUNTS:
            raise ShapeError(f"{count} {what} cannot be started; choose 1 or 3 (0 is none)")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a stack's servers are called, and where they listen.

    Attributes:
        releases: Which releases made the data.
        cluster_name: Cassandra's name of the cluster.
        tokens: How many tokens each node has.
        native_port: Where each node listens for clients; 0 without nodes.
        storage_port: Where each node listens for nodes; 0 without nodes.
        jmx_ports: Where each node listens for `nodetool`; one for each node.
        cluster_id: Kafka's name of the cluster.
        broker_ports: Where each broker listens for clients.
        controller_ports: Where each broker listens for controllers.
    """

    releases: list[str]
    cluster_name: str
    tokens: int
    native_port: int
    storage_port: int
    jmx_ports: list[int]
    cluster_id: str
    broker_ports: list[int]
    controller_ports: list[int]

    def nodes(self) -> tuple[cassandra.Node, ...]:
        """Returns Cassandra's nodes, each on an address of its own."""
        return tuple(
            cassandra.Node(number, f"127.0.0.{number}", self.native_port, self.storage_port, jmx)
            for number, jmx in enumerate(self.jmx_ports, 1)
        )

    def brokers(self) -> tuple[kafka.Broker, ...]:
        """Returns Kafka's brokers."""
        ports = zip(self.broker_ports, self.controller_ports, strict=True)
        return tuple(kafka.Broker(number, *both) for number, both in enumerate(ports, 1))


def layout_of(folder: Path, *, nodes: int, brokers: int) -> Layout:
    """Returns the layout that a state folder was made with; makes one where it is new.

    Args:
        folder: The state folder.
        nodes: How many Cassandra nodes: 0, 1 or 3.
        brokers: How many Kafka brokers: 0, 1 or 3.

    Raises:
        ShapeError: The folder was made with other numbers or releases. Nothing was changed.
        AddressTakenError: No free port was found.
    """
    path = folder / LAYOUT
    if not path.exists():
        layout = _new(nodes, brokers)
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(asdict(layout), indent=1))
        os.replace(beside, path)
        return layout
    layout = _read(path)
    made = (len(layout.jmx_ports), len(layout.broker_ports))
    if made != (nodes, brokers):
        raise ShapeError(
            f"{folder} was made with {made[0]} nodes and {made[1]} brokers; start it with those "
            "numbers, or choose another folder"
        )
    if layout.releases != _releases():
        raise ShapeError(
            f"{folder} was made with {' and '.join(layout.releases)}, and this is "
            f"{' and '.join(_releases())}; choose another folder"
        )
    if layout.tokens != cassandra.TOKENS:
        raise ShapeError(
            f"{folder} was made with {layout.tokens} tokens a node, and this makes "
            f"{cassandra.TOKENS}; choose another folder"
        )
    return layout


def _read(path: Path) -> Layout:
    try:
        return Layout(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        text = f"{path} is not a layout of a stack ({error}); choose another folder"
        raise ShapeError(text) from error


def _releases() -> list[str]:
    return [f"{r.name} {r.version}" for r in (cassandra.RELEASE, kafka.RELEASE)]


def _new(nodes: int, brokers: int) -> Layout:
    chosen: set[int] = set()
    hosts = [f"127.0.0.{number}" for number in range(1, nodes + 1)]
    local = [kafka.HOST]
    return Layout(
        releases=_releases(),
        cluster_name=f"eventspine-{secrets.token_hex(4)}",
        tokens=cassandra.TOKENS,
        native_port=free_port(hosts, besides=chosen) if nodes else 0,
        storage_port=free_port(hosts, besides=chosen) if nodes else 0,
        jmx_ports=[free_port(local, besides=chosen) for _ in range(nodes)],
        # A leading "-" would be an option to Kafka's tools.
        cluster_id="E" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[1:22],
        broker_ports=[free_port(local, besides=chosen) for _ in range(brokers)],
        controller_ports=[free_port(local, besides=chosen) for _ in range(brokers)],
    )
