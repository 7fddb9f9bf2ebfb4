"""What can be set of a service process; promise: what does not fit together is told with its cure.

Settings are the fields of plain classes, each explained in its class's docstring, which is what
`--help` prints.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eventspine.process.domains import SHIPPED
from eventspine.rpc.address import AddressError, split_address
from eventspine.storage.stack import DEFAULT_TENANT

LOOPBACK = ("127.", "localhost:", "[::1]:", "unix:")


class SettingsError(Exception):
    """Settings are wrong; the process must not start. Each line names one, and its cure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """What every service process can be told.

    Attributes:
        address: Where to listen, `host:port`; port 0 picks a free one.
        domains: The domains to host, each `module:ATTRIBUTE`, separated by commas.
        tenant: The tenant that events are stored for.
        instance: The name of this process in its log lines. Empty: host and process id.
        log_level: From which level on log lines are written; `info` has each refused call, `debug`
            each event on its way.
        drain_seconds: How long a stopping process goes on answering after it has said that it stops
            serving; longer than the load balancer takes to notice.
        grace_seconds: How long calls under way may go on after that.
        metrics_address: Where to answer Prometheus, `host:port`. Empty: nowhere.
        tls_certificate_file: The certificate to serve with, as PEM. Empty: in the clear.
        tls_key_file: The key of that certificate, as PEM.
        tls_callers_file: The certificates that a caller's certificate must descend from, as PEM;
            others get no answer. Empty: callers show no certificate.
        open_to_strangers: Whether to serve on an address that is not loopback though callers show
            no certificate.
    """

    address: str = "127.0.0.1:0"
    domains: tuple[str, ...] = SHIPPED
    tenant: str = DEFAULT_TENANT
    instance: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_seconds: float = field(default=3.0, metadata={"minimum": 0.0})
    grace_seconds: float = field(default=5.0, metadata={"minimum": 0.0})
    metrics_address: str = ""
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    tls_callers_file: Path | None = None
    open_to_strangers: bool = False

    def problems(self) -> list[str]:
        """Returns what does not fit together, each with its cure; empty where all does."""
        problems = [
            *_address_problems("address", self.address),
            *(_address_problems("metrics_address", self.metrics_address)),
        ]
        if not self.address:
            problems.append("address is empty; write host:port, such as 127.0.0.1:7071")
        if not self.domains:
            problems.append("domains is empty; name at least one, as module:ATTRIBUTE")
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            problems.append("tls_certificate_file and tls_key_file go together; set both or none")
        if self.tls_callers_file is not None and self.tls_certificate_file is None:
            problems.append("tls_callers_file needs tls_certificate_file and tls_key_file too")
        if not (
            self.open_to_strangers or self.tls_callers_file or self.address.startswith(LOOPBACK)
        ):
            problems.append(
                f"address {self.address} is open to strangers; listen on loopback, set "
                "tls_callers_file, or set open_to_strangers where only the gateway can reach it"
            )
        return problems


def _address_problems(name: str, address: str) -> list[str]:
    if not address or address.startswith("unix:"):
        return []
    try:
        split_address(address)
    except AddressError as error:
        return [f"{name}: {error}"]
    return []
