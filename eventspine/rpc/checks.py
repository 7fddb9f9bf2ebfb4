"""Checks of request fields; promise: what passes is safe to store, and each refusal names its cure.

Every check takes the field's path, such as `header.command_id`, for the error to name.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final, NamedTuple, NoReturn

from google.protobuf.duration_pb2 import Duration
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from eventspine.rpc import limits
from eventspine.rpc.errors import InvalidRequestError, LimitExceededError, Violation

_CATEGORY: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DURATION_SECONDS_MAX: Final = 315_576_000_000


class StreamName(NamedTuple):
    """A stream's name in its two parts."""

    category: str
    id: str


def refuse(field: str, description: str) -> NoReturn:
    """Refuses one field.

    Raises:
        InvalidRequestError: Always. Nothing was stored.
    """
    raise InvalidRequestError(Violation(field, description))


def check_size(field: str, actual: int, maximum: int, *, limit: str, unit: str = "bytes") -> None:
    """Checks a size against a limit of `limits.py`, named `limit`.

    Raises:
        LimitExceededError: It is over. Nothing was stored.
    """
    if actual > maximum:
        raise LimitExceededError(
            f"{field} has {actual} {unit}; send at most {maximum}",
            field=field,
            limit=limit,
            maximum=str(maximum),
            actual=str(actual),
        )


def check_id(field: str, value: str) -> str:
    """Checks an id: 1 to 200 bytes of printable UTF-8 in NFC form. Returns it.

    Raises:
        InvalidRequestError: It is empty, too long, or has other characters. Nothing was stored.
    """
    if value.isascii():
        if 0 < len(value) <= limits.ID_BYTES_MAX and value.isprintable():
            return value
    elif (
        value.isprintable()
        and len(value.encode()) <= limits.ID_BYTES_MAX
        and unicodedata.is_normalized("NFC", value)
    ):
        return value
    refuse(field, _id_problem(value))


def _id_problem(value: str) -> str:
    """Says what is wrong with an id, and what is allowed."""
    allowed = f"send 1 to {limits.ID_BYTES_MAX} bytes of printable UTF-8 in NFC form"
    if not value:
        return f"is missing; {allowed}"
    size = len(value.encode(errors="surrogatepass"))
    if size > limits.ID_BYTES_MAX:
        return f"has {size} bytes; {allowed}"
    for place, character in enumerate(value):
        if not character.isprintable():
            return f"has U+{ord(character):04X} at {place}, which is not printable; {allowed}"
    return f"is not in NFC form; {allowed}"


def check_optional_id(field: str, value: str) -> str:
    """Checks an id that may be empty. Returns it.

    Raises:
        InvalidRequestError: It is set and not an id. Nothing was stored.
    """
    return check_id(field, value) if value else value


def check_category(field: str, value: str) -> str:
    """Checks a stream's category. Returns it.

    Raises:
        InvalidRequestError: It has not the form of a category. Nothing was stored.
    """
    if _CATEGORY.fullmatch(value) is None:
        refuse(
            field,
            f"has no category in {_shown(value)}; send a lower-case letter and then up to 63 "
            "lower-case letters, digits and `_`",
        )
    return value


def check_stream(field: str, value: str) -> StreamName:
    """Checks a stream's name, `category/id`. Returns its parts; the id may hold further slashes.

    Raises:
        InvalidRequestError: It has not that form. Nothing was stored.
    """
    category, slash, stream_id = value.partition("/")
    if not slash:
        refuse(field, f"is {_shown(value)}; send `category/id`, for example `account/alice`")
    check_category(field, category)
    return StreamName(category, check_id(field, stream_id))


def check_metadata(field: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Checks a command's metadata: keys are ids, keys and values together at most 16 KiB.

    Returns:
        The metadata as a plain dict; empty where there is none.

    Raises:
        InvalidRequestError: A key is malformed. Nothing was stored.
        LimitExceededError: It is too large. Nothing was stored.
    """
    if not metadata:
        return {}
    plain = dict(metadata)
    size = 0
    for key, value in plain.items():
        check_id(f"{field} key", key)
        size += len(key.encode()) + len(value.encode())
    check_size(field, size, limits.METADATA_BYTES_MAX, limit="metadata_bytes")
    return plain


def check_duration(
    field: str,
    duration: Duration | None,
    *,
    minimum: float,
    maximum: float,
    default: float | None = None,
) -> float:
    """Checks a duration. Returns it in seconds; `default` where it is absent (None).

    Raises:
        InvalidRequestError: It is absent without a default, malformed or out of range. Nothing was
            stored.
    """
    allowed = f"send {minimum:g} s to {maximum:g} s"
    if duration is None:
        if default is None:
            refuse(field, f"is missing; {allowed}")
        return default
    if abs(duration.seconds) > _DURATION_SECONDS_MAX or abs(duration.nanos) > 999_999_999:
        refuse(field, f"is not a valid duration; {allowed}")
    seconds = duration.seconds + duration.nanos / 1e9
    if not minimum <= seconds <= maximum:
        refuse(field, f"is {seconds:g} s; {allowed}")
    return seconds


def check_limit(field: str, value: int, *, maximum: int, default: int) -> int:
    """Checks a number of things to send at most; 0 means `default`. Returns the number.

    Raises:
        InvalidRequestError: It is negative. Nothing was stored.
        LimitExceededError: It is over `maximum`. Nothing was stored.
    """
    if value < 0:
        refuse(field, f"is {value}; send 0 for {default}, or 1 to {maximum}")
    check_size(field, value, maximum, limit=field.rpartition(".")[2], unit="entries")
    return value or default


def check_enum(field: str, enum: EnumTypeWrapper, value: int) -> int:
    """Checks that an enum value is set and known. Returns it.

    Raises:
        InvalidRequestError: It is unspecified, or a number that the enum does not name.
    """
    if value == 0 or value not in enum.values():
        named = ", ".join(name for name, number in enum.items() if number)
        refuse(field, f"is {value}; send one of {named}")
    return value


def _shown(value: str) -> str:
    """Shows a value of the caller inside a message: quoted, escaped, and not too long."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
