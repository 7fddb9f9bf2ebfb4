"""Picks ports for servers; promise: none that somebody listens on, nor one the system lends out.

Ports are taken from below the range that systems lend to outgoing connections (32,768 and up on
Linux), because between the choice and the moment when a slow server listens, such a port is often
lent to somebody else.
"""

import random
import socket
from collections.abc import Sequence
from typing import Final

from devstack.stack.errors import AddressTakenError

FIRST: Final = 20_000
LAST: Final = 32_000
TRIES: Final = 1_000


def is_free(host: str, port: int) -> bool:
    """Tells whether a server could listen at an address of this machine now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(hosts: Sequence[str], *, besides: set[int]) -> int:
    """Returns a port that is free on every one of some hosts, and adds it to `besides`.

    Args:
        hosts: Addresses of this machine.
        besides: Ports that were chosen already.

    Raises:
        AddressTakenError: No port was found; perhaps one of the hosts is not this machine's.
    """
    for _ in range(TRIES):
        port = random.randint(FIRST, LAST)
        if port not in besides and all(is_free(host, port) for host in hosts):
            besides.add(port)
            return port
    raise AddressTakenError(
        f"no port between {FIRST:,} and {LAST:,} is free on {', '.join(hosts)}; where an address "
        "such as 127.0.0.2 is missing, add it: sudo ifconfig lo0 alias 127.0.0.2 (macOS)"
    )


def check_free(name: str, host: str, port: int) -> None:
    """Makes sure that a server can listen at an address.

    Raises:
        AddressTakenError: Something listens there, or the address is not this machine's.
    """
    if not is_free(host, port):
        raise AddressTakenError(
            f"{name} cannot listen on {host}:{port}: something else does (a server of an earlier "
            "run? `make stack-down` stops those), or this machine does not have the address"
        )
