"""Keys out of requests: whole ones and leading parts; each refusal names the field and the cure."""

import binascii
import re
from collections.abc import Sequence

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from eventspine.domain.declared import ViewDeclaration
from eventspine.domain.view import Key, KeyValue
from eventspine.rpc.checks import refuse

_SIGNED = (-(1 << 63), (1 << 63) - 1)
_UNSIGNED = (0, (1 << 64) - 1)
_SMALL_SIGNED = (-(1 << 31), (1 << 31) - 1)
_SMALL_UNSIGNED = (0, (1 << 32) - 1)

_RANGES = {
    FieldDescriptor.TYPE_INT32: _SMALL_SIGNED,
    FieldDescriptor.TYPE_SINT32: _SMALL_SIGNED,
    FieldDescriptor.TYPE_SFIXED32: _SMALL_SIGNED,
    FieldDescriptor.TYPE_UINT32: _SMALL_UNSIGNED,
    FieldDescriptor.TYPE_FIXED32: _SMALL_UNSIGNED,
    FieldDescriptor.TYPE_INT64: _SIGNED,
    FieldDescriptor.TYPE_SINT64: _SIGNED,
    FieldDescriptor.TYPE_SFIXED64: _SIGNED,
    FieldDescriptor.TYPE_UINT64: _UNSIGNED,
    FieldDescriptor.TYPE_FIXED64: _UNSIGNED,
}


def whole_key(view: ViewDeclaration, request: Message) -> Key:
    """Returns the key that a request names by fields called like the row's.

    Raises:
        InvalidRequestError: A text of the key is empty.
    """
    return tuple(_value(request, field.name) for field in view.key_fields)


def leading_key(view: ViewDeclaration, request: Message) -> Key:
    """Returns the leading key values that a request names; all of its class that are set.

    Raises:
        InvalidRequestError: A text is empty, or a value is set behind one that is absent.
    """
    values: list[KeyValue] = []
    absent = ""
    for field in view.key_fields:
        own = request.DESCRIPTOR.fields_by_name.get(field.name)
        if own is None or (own.has_presence and not request.HasField(field.name)):
            absent = absent or field.name
        elif absent:
            refuse(absent, f"is missing; it stands before `{field.name}` in the key, so send both")
        else:
            values.append(_value(request, field.name))
    return tuple(values)


def parsed_key(view: ViewDeclaration, texts: Sequence[str]) -> Key:
    """Returns the leading key values that are given as text.

    Strings stand for themselves, bytes are hexadecimal, enum values are names or numbers.

    Raises:
        InvalidRequestError: There are too many, or one is not of its field's type.
    """
    fields = view.key_fields
    if len(texts) > len(fields):
        names = ", ".join(field.name for field in fields)
        refuse("key_prefix", f"has {len(texts)} values; the key has {len(fields)}: {names}")
    pairs = enumerate(zip(fields, texts, strict=False))
    return tuple(_parsed(f"key_prefix[{place}]", field, text) for place, (field, text) in pairs)


def _value(request: Message, name: str) -> KeyValue:
    value: KeyValue = getattr(request, name)
    if value in ("", b""):
        refuse(name, "is missing; it is part of the key, so send it")
    return value


def _parsed(path: str, field: FieldDescriptor, text: str) -> KeyValue:
    if field.type == FieldDescriptor.TYPE_STRING:
        return text
    if field.type == FieldDescriptor.TYPE_BYTES:
        try:
            return binascii.unhexlify(text)
        except (binascii.Error, ValueError):
            refuse(path, f"is not hexadecimal; `{field.name}` is bytes")
    if field.type == FieldDescriptor.TYPE_BOOL:
        if text not in ("true", "false"):
            refuse(path, f"is neither `true` nor `false`; `{field.name}` is a truth value")
        return text == "true"
    return _number(path, field, text)


def _number(path: str, field: FieldDescriptor, text: str) -> int:
    named = field.enum_type.values_by_name.get(text) if field.enum_type is not None else None
    if named is not None:
        return int(named.number)
    minimum, maximum = _RANGES.get(field.type, _SMALL_SIGNED)
    # More than 20 digits are out of range, and costly to read.
    number = int(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else None
    if number is None or not minimum <= number <= maximum:
        kind = "a name or number of its enum" if field.enum_type is not None else "a whole number"
        refuse(path, f"is not {kind} from {minimum} to {maximum}, as `{field.name}` needs")
    return number
