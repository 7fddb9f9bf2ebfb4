"""`python -m devstack.edge.validate`: Envoy itself reads every shape that we render.

Shapes are the two tiers with and without TLS, with one instance and with several, with the domains
that ship and with the platform alone.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from devstack.edge.contract import Kind, descriptor_set
from devstack.edge.process import EnvoyFailedError, validate
from devstack.edge.render import render_gateway, render_load_balancer
from devstack.edge.settings import Addresses, Certificates, Tier
from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS

_ONE: Final[Addresses] = ("127.0.0.1:7070",)
_SEVERAL: Final[Addresses] = ("127.0.0.1:7071", "service.example:7070", "[::1]:7072")


def shapes(certificates: Certificates) -> Iterator[tuple[str, str]]:
    """Yields every shape: its name, and its configuration.

    Args:
        certificates: Files that exist: Envoy reads them, too.
    """
    contracts = {
        "platform": descriptor_set(()),
        "domains": descriptor_set([*BANK.protos, *FLIGHTS.protos]),
    }
    tiers = {
        "plain": Tier(),
        "tls": Tier(listen="[::1]:7443", listener=certificates, upstream=certificates),
    }
    for contract_name, contract in contracts.items():
        for tier_name, tier in tiers.items():
            for count, addresses in (("one", _ONE), ("several", _SEVERAL)):
                name = f"{contract_name}-{tier_name}-{count}"
                yield f"gateway-{name}", _gateway(contract, addresses, tier)
                yield f"load-balancer-{name}", render_load_balancer(contract, addresses, tier)


def make_certificates(folder: Path) -> Certificates:
    """Makes a certificate that signs itself, for reading only.

    Raises:
        CalledProcessError: openssl refused to.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=eventspine.internal", "-days", "1",
         "-addext", "subjectAltName=DNS:eventspine.internal",
         "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return Certificates(certificate=certificate, key=key, authority=certificate)


def _gateway(contract: FileDescriptorSet, addresses: Addresses, tier: Tier) -> str:
    # With TLS as without any page that may call: both ends of each choice are read.
    services = dict.fromkeys(Kind, addresses)
    if tier.listener is None:
        return render_gateway(contract, services, tier)
    return render_gateway(contract, services, tier, origins=())


async def _validate_all(folder: Path) -> int:
    """Returns how many shapes there are.

    Raises:
        EnvoyFailedError: Envoy refuses one.
    """
    count = 0
    for name, configuration in shapes(make_certificates(folder)):
        try:
            await validate(configuration, folder / name)
        except EnvoyFailedError as error:
            raise EnvoyFailedError(f"{name}: {error}") from None
        count += 1
    return count


def main() -> None:
    """Prints how many shapes Envoy has read; ends with what it said about the first it refuses."""
    with tempfile.TemporaryDirectory(prefix="eventspine-envoy-") as folder:
        try:
            count = asyncio.run(_validate_all(Path(folder)))
        except EnvoyFailedError as error:
            sys.exit(str(error))
    sys.stdout.write(f"Envoy reads all {count} shapes of its configuration\n")


if __name__ == "__main__":
    main()
