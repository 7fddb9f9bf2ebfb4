"""Reads addresses; promise: what cannot be one is refused with how to write it."""

from typing import Final

PORT_MAX: Final = 65_535


class AddressError(ValueError):
    """The address cannot be one; the text says how to write it."""


def split_address(address: str) -> tuple[str, int]:
    """Returns the host and the port of an address `host:port`.

    Raises:
        AddressError: It is not written so, or the port is beyond the last one.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and int(port) <= PORT_MAX):
        raise AddressError(
            f"{address!r} is no address; write host:port with a port up to {PORT_MAX}, such as "
            "127.0.0.1:7070"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)
