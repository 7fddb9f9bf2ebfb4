"""Runs both tiers in front of services; promise: one address, whichever gateway answers.

Gateways are started first, because the load balancer's configuration names where they listen.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from devstack.edge.contract import Kind
from devstack.edge.process import EnvoyProcess
from devstack.edge.render import render_gateway, render_load_balancer
from devstack.edge.settings import LOOPBACK_ORIGINS, Addresses, Tier

GATEWAYS: Final = 2
DRAIN_SECONDS: Final = 2.5
"""Longer than two health checks of the load balancer, which come every second."""


class Edge:
    """A load balancer in front of gateways in front of services; an async context manager.

    Attributes:
        address: Where clients call, `host:port`, once it is entered.
        gateways: The gateways' processes.
        load_balancer: The load balancer's process.
    """

    def __init__(
        self,
        contract: FileDescriptorSet,
        services: Mapping[Kind, Addresses],
        folder: Path,
        *,
        front: Tier | None = None,
        gateway: Tier | None = None,
        origins: Sequence[str] = LOOPBACK_ORIGINS,
    ) -> None:
        """Prepares both tiers; entering starts them.

        Args:
            contract: All that is hosted, as `descriptor_set` returns it.
            services: The addresses of the instances of each kind.
            folder: For the files of all processes, a folder each.
            front: What the load balancer is told; its access log is put into its folder.
            gateway: What each gateway is told, likewise; each listens on a free port.
            origins: Regular expressions of the origins of pages that may call.
        """
        self.address = ""
        self.load_balancer = EnvoyProcess(folder / "load-balancer")
        self.gateways = [
            EnvoyProcess(folder / f"gateway-{number}") for number in range(1, GATEWAYS + 1)
        ]
        self._contract = contract
        self._services = services
        self._front = front or Tier()
        self._gateway = gateway or Tier()
        self._origins = origins
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Edge":
        """Starts the gateways, then the load balancer; returns when calls are answered.

        Raises:
            EnvoyNotFoundError: There is no Envoy that can be used here.
            EnvoyFailedError: A process did not start. None is left running.
            PortTakenError: The address is taken. None is left running.
        """
        try:
            for process in self.gateways:
                self._stack.push_async_callback(process.stop)
            await asyncio.gather(*(self._start_gateway(process) for process in self.gateways))
            self._stack.push_async_callback(self.load_balancer.stop)
            tier = replace(self._front, access_log=str(self.load_balancer.access_log))
            gateways = tuple(process.address for process in self.gateways)
            self.address = await self.load_balancer.start(
                render_load_balancer(self._contract, gateways, tier)
            )
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def restart_gateway(self, number: int) -> None:
        """Takes a gateway out of service, and brings it back at the same address.

        Callers are sent to the others first; streams that are still open end with it.

        Args:
            number: Which one, from 0.
        """
        process = self.gateways[number]
        await process.drain(DRAIN_SECONDS)
        await asyncio.sleep(DRAIN_SECONDS)
        await process.stop()
        await self._start_gateway(process)

    async def _start_gateway(self, process: EnvoyProcess) -> None:
        """Starts a gateway where it listened before, or on a free port the first time."""
        tier = replace(
            self._gateway,
            access_log=str(process.access_log),
            listen=process.address or self._gateway.listen,
        )
        await process.start(
            render_gateway(self._contract, self._services, tier, origins=self._origins)
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the load balancer, then the gateways."""
        await self._stack.aclose()
