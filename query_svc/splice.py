"""The encoding of replies out of bytes that are encoded already; promise: no row is parsed for it.

A message is its fields one after the other, and a field that is a message is a tag, a length and
the encoding. So a reply is put together from stored bytes, and is what protobuf would have made.
Source: protobuf.dev, "Encoding"; fields may stand in any order.
"""

from collections.abc import Sequence

_SHORT = 1 << 12
_LENGTH_DELIMITED = 2


def varint(number: int) -> bytes:
    """Encodes a whole number from 0."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


class Field:
    """One length-delimited field, by its number."""

    def __init__(self, number: int) -> None:
        """Prepares the tag, with the length of everything that is short."""
        self._tag = varint(number << 3 | _LENGTH_DELIMITED)
        self._starts = [self._tag + varint(length) for length in range(_SHORT)]

    def start(self, length: int) -> bytes:
        """Returns what stands before a value of this length."""
        return self._starts[length] if length < _SHORT else self._tag + varint(length)

    def one(self, value: bytes) -> bytes:
        """Encodes the field with one value."""
        return self.start(len(value)) + value

    def parts(self, values: Sequence[bytes]) -> list[bytes]:
        """Returns the pieces of the field repeated, one value after the other, to be joined."""
        parts: list[bytes] = [b""] * (2 * len(values))
        parts[1::2] = values
        try:
            parts[::2] = map(self._starts.__getitem__, map(len, values))
        except IndexError:
            # Some are long.
            parts[::2] = map(self.start, map(len, values))
        return parts


_FIELDS: dict[int, Field] = {}


def field(number: int) -> Field:
    """Returns the field of a number; one for all who ask."""
    found = _FIELDS.get(number)
    if found is None:
        found = _FIELDS[number] = Field(number)
    return found


def fitting(values: Sequence[bytes], count_max: int, bytes_max: int) -> int:
    """Returns how many leading values fit into a message: one at least, where there is one.

    Args:
        values: The encoded values of a repeated field.
        count_max: How many may stand in it.
        bytes_max: How large they may be together; a single larger one stands alone.
    """
    if sum(map(len, values[:count_max])) <= bytes_max:
        return min(len(values), count_max)
    size = 0
    for count, value in enumerate(values[:count_max]):
        size += len(value)
        if size > bytes_max and count:
            return count
    return min(len(values), count_max)
