"""Writes messages for people who read a failed test; promise: the text is the message, whole."""

from collections.abc import Iterable

from google.protobuf import text_format
from google.protobuf.message import Message

_LINE_MAX = 90


def same(one: Message | None, other: Message | None) -> bool:
    """Tells whether two messages are of one type and would be stored as the same bytes."""
    if one is None or other is None:
        return one is other
    return type(one) is type(other) and encoding(one) == encoding(other)


def encoding(message: Message) -> bytes:
    """Returns a message's bytes; equal messages of one type have equal bytes."""
    return message.SerializeToString(deterministic=True)


def words(message: object) -> str:
    """Returns a message as its name and its text form, on one line where that is short."""
    if not isinstance(message, Message):
        return repr(message)
    name = message.DESCRIPTOR.full_name
    line = text_format.MessageToString(message, as_one_line=True, as_utf8=True)
    if len(name) + len(line) <= _LINE_MAX:
        return f"{name} {{ {line} }}" if line else f"{name} {{}}"
    text = text_format.MessageToString(message, as_utf8=True)
    inner = "".join(f"  {part}\n" for part in text.splitlines())
    return f"{name} {{\n{inner}}}"


def listing(messages: Iterable[object]) -> str:
    """Returns several messages as a numbered, indented list; `(none)` for no message."""
    lines: list[str] = []
    for number, message in enumerate(messages, start=1):
        first, *rest = words(message).split("\n")
        lines.append(f"  {number}. {first}")
        lines.extend(f"     {line}" for line in rest)
    return "\n".join(lines) or "  (none)"


def sections(**parts: str) -> str:
    """Returns titled parts one below the other; `_` in a title stands for a blank."""
    return "\n".join(f"{title.replace('_', ' ')}:\n{text}" for title, text in parts.items())
