"""Checks and describes the shapes of messages and fields; promise: one rule for each shape."""

import hashlib
import re
from collections.abc import Iterator
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto
from google.protobuf.message import Message

from eventspine.domain.problems import Problems

_CATEGORY = re.compile(r"[a-z][a-z0-9_]{0,63}")

CATEGORY_CURE = (
    "give it 1 to 64 characters: a lower-case letter, then lower-case letters, digits and _"
)

KEY_TYPES = frozenset(
    {
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_BYTES,
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_ENUM,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_SINT32,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_FIXED32,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED32,
        FieldDescriptor.TYPE_SFIXED64,
    }
)

_TYPE_NAMES = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def descriptor_of(message: type[Message]) -> Descriptor:
    """Returns the descriptor of a message class, by the type that the descriptors' readers know."""
    return cast(Descriptor, message.DESCRIPTOR)


def valid_category(category: str) -> bool:
    """Tells whether a text has the form of a category."""
    return _CATEGORY.fullmatch(category) is not None


def type_words(field: FieldDescriptor) -> str:
    """Returns the type of a field as it would be written in a proto file, without its name."""
    word = _TYPE_NAMES[field.type]
    if field.message_type is not None:
        word = field.message_type.full_name
    elif field.enum_type is not None:
        word = field.enum_type.full_name
    return f"repeated {word}" if field.is_repeated else word


def check_field(message: Descriptor, name: str, words: str, problems: Problems) -> None:
    """Checks that a message has a field of a name and a type.

    Args:
        message: The message.
        name: The name of the field.
        words: The field's type as `type_words` returns it.
        problems: Gets what is wrong.
    """
    field = message.fields_by_name.get(name)
    if field is None:
        problems.add(message, f"has no field {name}", f"add `{words} {name}`")
    elif type_words(field) != words:
        problems.add(field, f"is {type_words(field)}", f"make it `{words} {name}`")


def messages_of(file: FileDescriptor) -> Iterator[Descriptor]:
    """Iterates over the messages of a file and those nested in them."""
    for message in file.message_types_by_name.values():
        yield from _with_nested(message)


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for nested in message.nested_types:
        yield from _with_nested(nested)


def fingerprint(message: Descriptor) -> bytes:
    """Returns 8 bytes that tell one shape of a message from another.

    They are the first bytes of SHA-256 over the descriptors of the message and of all messages and
    enums that its fields lead to, in order of their full names, each after its name and length.
    Comments do not count. Of Google's well-known types only the name counts, so that a newer
    release of them changes nothing.
    """
    shapes: dict[str, bytes] = {}
    _collect(message, shapes)
    digest = hashlib.sha256()
    for name, shape in sorted(shapes.items()):
        digest.update(f"{name} {len(shape)} ".encode())
        digest.update(shape)
    return digest.digest()[:8]


def _collect(message: Descriptor, shapes: dict[str, bytes]) -> None:
    if message.full_name in shapes or message.file.package == "google.protobuf":
        return
    proto = DescriptorProto()
    message.CopyToProto(proto)
    shapes[message.full_name] = proto.SerializeToString(deterministic=True)
    for field in message.fields:
        if field.message_type is not None:
            _collect(field.message_type, shapes)
        elif field.enum_type is not None:
            enum = EnumDescriptorProto()
            field.enum_type.CopyToProto(enum)
            shapes[field.enum_type.full_name] = enum.SerializeToString(deterministic=True)
