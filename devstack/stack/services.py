"""How the services run beside the servers of a stack: as many of each as are wanted."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from grpc import aio
from grpc_health.v1 import health, health_pb2

from devstack.edge.contract import Kind
from devstack.stack.child import ChildSpec
from devstack.stack.errors import ShapeError
from devstack.stack.ports import free_port
from eventspine.rpc.address import split_address

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 180.0
STOP_SECONDS: Final = 30.0
ASK_SECONDS: Final = 2.0
HEALTH: Final = f"/{health.SERVICE_NAME}/Check"
MODULES: Final = {Kind.COMMAND: "command_svc", Kind.ADMIN: "processor_svc", Kind.QUERY: "query_svc"}
"""The processor answers the operators' calls."""

INSTANCES_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """How many processes of each service, 1 to 20."""

    command: int = 2
    processor: int = 2
    query: int = 2

    def __post_init__(self) -> None:
        """Makes sure that there can be so many.

        Raises:
            ShapeError: There cannot.
        """
        for kind, module in MODULES.items():
            count = self.of(kind)
            if not 1 <= count <= INSTANCES_MAX:
                raise ShapeError(f"{count} processes of {module} cannot run; choose 1 to 20")

    def of(self, kind: Kind) -> int:
        """Returns how many answer a kind of call."""
        return {Kind.COMMAND: self.command, Kind.ADMIN: self.processor, Kind.QUERY: self.query}[
            kind
        ]


@dataclass(frozen=True, slots=True)
class Services:
    """What to run.

    Attributes:
        specs: One for each process, named `command_svc-1` and so on.
        addresses: Where they will listen, by the kind of call.
    """

    specs: Sequence[ChildSpec]
    addresses: Mapping[Kind, tuple[str, ...]]


def services(
    settings: Mapping[str, str], instances: Instances, room: Callable[[str], Path]
) -> Services:
    """Chooses a free port for each process.

    Args:
        settings: The settings of all of them by their name in the environment, such as
            `EVENTSPINE_CONTACT_POINTS`.
        instances: How many of each.
        room: Returns the folder of a process by its name, in which its log stands.

    Raises:
        AddressTakenError: No port is free.
    """
    specs: list[ChildSpec] = []
    addresses: dict[Kind, tuple[str, ...]] = {}
    taken: set[int] = set()
    for kind, module in MODULES.items():
        ports = [free_port([HOST], besides=taken) for _ in range(instances.of(kind))]
        addresses[kind] = tuple(f"{HOST}:{port}" for port in ports)
        for number, address in enumerate(addresses[kind], 1):
            name = f"{module}-{number}"
            specs.append(service_spec(name, module, address, settings, room(name)))
    return Services(specs, addresses)


def service_spec(
    name: str, module: str, address: str, settings: Mapping[str, str], folder: Path
) -> ChildSpec:
    """Returns how one process is run, and how to know that it serves."""
    own = {"EVENTSPINE_ADDRESS": address, "EVENTSPINE_INSTANCE": name}
    # The working folder is its own; what is hosted is imported as it is here.
    paths = {"PYTHONPATH": ":".join(path or str(Path.cwd()) for path in sys.path)}
    return ChildSpec(
        name,
        (sys.executable, "-m", module),
        folder,
        partial(serves, address),
        addresses=(split_address(address),),
        env={**settings, **paths, **own},
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
    )


async def serves(address: str) -> bool:
    """Tells whether a process says of itself that it serves."""
    async with aio.insecure_channel(address) as channel:
        check = channel.unary_unary(
            HEALTH,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            reply = await check(health_pb2.HealthCheckRequest(), timeout=ASK_SECONDS)
        except aio.AioRpcError:
            return False
    serving: bool = reply.status == health_pb2.HealthCheckResponse.SERVING
    return serving
