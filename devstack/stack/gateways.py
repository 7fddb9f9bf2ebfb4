"""How both tiers of Envoy run before the services of a stack: one address for clients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from devstack.edge.admin import ask
from devstack.edge.binary import EnvoyNotFoundError, envoy_path
from devstack.edge.contract import Kind
from devstack.edge.process import options
from devstack.edge.render import render_gateway, render_load_balancer
from devstack.edge.settings import Addresses, Tier
from devstack.edge.tiers import GATEWAYS
from devstack.stack.child import ChildSpec
from devstack.stack.errors import EnvoyMissingError
from devstack.stack.ports import free_port
from eventspine.rpc.address import split_address

HOST: Final = "127.0.0.1"
FILE: Final = "envoy.yaml"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Gateways:
    """What to run: the gateways first, because the load balancer asks them.

    Attributes:
        gateways: Named `gateway-1` and so on.
        load_balancer: Named `load_balancer-1`.
    """

    gateways: tuple[ChildSpec, ...]
    load_balancer: ChildSpec


def gateways(
    contract: FileDescriptorSet,
    services: Mapping[Kind, Addresses],
    address: str,
    room: Callable[[str], Path],
) -> Gateways:
    """Writes the configuration of both tiers, and returns how to run them.

    Args:
        contract: All that is hosted, as `descriptor_set` returns it.
        services: Where the services listen, by the kind of call.
        address: Where clients call, `host:port`.
        room: Returns the folder of a process by its name.

    Raises:
        EnvoyMissingError: There is no Envoy that can be used here.
        AddressTakenError: No port is free.
    """
    taken: set[int] = set()
    tiers = [
        Tier(
            listen=f"{HOST}:{free_port([HOST], besides=taken)}",
            admin_port=free_port([HOST], besides=taken),
        )
        for _ in range(GATEWAYS)
    ]
    front = Tier(listen=address, admin_port=free_port([HOST], besides=taken))
    return Gateways(
        tuple(
            _spec(f"gateway-{number}", tier, partial(render_gateway, contract, services), room)
            for number, tier in enumerate(tiers, 1)
        ),
        _spec(
            "load_balancer-1",
            front,
            partial(render_load_balancer, contract, tuple(tier.listen for tier in tiers)),
            room,
        ),
    )


def _spec(
    name: str, tier: Tier, render: Callable[[Tier], str], room: Callable[[str], Path]
) -> ChildSpec:
    folder = room(name)
    file = folder / FILE
    file.write_text(render(replace(tier, access_log=str(folder / "access.log"))))
    admin = (HOST, tier.admin_port)

    async def ready() -> bool:
        return (await ask("{}:{}".format(*admin), "/ready")).strip() == "LIVE"

    try:
        program = str(envoy_path())
    except EnvoyNotFoundError as error:
        raise EnvoyMissingError(str(error)) from error
    return ChildSpec(
        name=name,
        argv=(program, *options(file)),
        folder=folder,
        ready=ready,
        addresses=(split_address(tier.listen), admin),
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
    )
