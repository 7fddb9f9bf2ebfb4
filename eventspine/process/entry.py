"""The command line of a service process; promise: what is wrong is said in words, and it ends.

Exit codes: 0 it was asked to stop and has · 2 a setting, a domain or a certificate is wrong · 4 an
address is taken, a package is missing, or the store cannot be reached or used as it is set up.
"""

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, NoReturn

from eventspine.domain.declared import Declarations
from eventspine.process.composition import Composition, Site, system_now_us
from eventspine.storage.connect import Backend
from eventspine.storage.stack import StackSettings

EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 4
PACKAGES: Final = {
    "services": ("prometheus_client", "pydantic", "dotenv"),
    "cassandra": ("cassandra",),
    "kafka": ("confluent_kafka",),
}
"""What a service process imports beside the base, by the extra that brings it."""


async def open_stack(settings: StackSettings, declarations: Declarations) -> Backend:
    """Opens the stack; its drivers are imported here, because that takes a second."""
    from eventspine.storage.connect import open_stack

    return await open_stack(settings, declarations.views.values(), system_now_us)


OpenBackend = Callable[[StackSettings, Declarations], Awaitable[Backend]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A kind of service process.

    Attributes:
        name: `command`, `processor` or `query`.
        does: What it does, in one sentence.
        settings: The class of its own settings.
        compose: Puts it together out of a site and an instance of that class.
        open_backend: Opens the store.
    """

    name: str
    does: str
    settings: type[Any]
    compose: Callable[[Site, Any], Composition]
    open_backend: OpenBackend = open_stack


def main(service: Service, arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a service process; exits with one of the codes above."""
    lacking = [extra for extra, names in PACKAGES.items() if not all(map(find_spec, names))]
    if lacking:
        extras = ",".join(lacking)
        sys.stderr.write(
            f"{service.name}: packages are missing; pip install 'eventspine[{extras}]'\n"
        )
        sys.exit(EXIT_UNREACHABLE)
    from eventspine.process.start import start

    start(service, arguments)
