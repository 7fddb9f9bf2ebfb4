"""Collects what is wrong with declarations; promise: all at once, each with file, element, cure."""

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    EnumValueDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

from eventspine.domain.errors import DeclarationError

Element = (
    Descriptor
    | EnumDescriptor
    | EnumValueDescriptor
    | FieldDescriptor
    | MethodDescriptor
    | ServiceDescriptor
)


class Problems:
    """The problems found so far. Each is one line: `file: element: what is wrong; the cure`."""

    def __init__(self) -> None:
        """Starts without a problem."""
        self._lines: list[str] = []

    def add(self, element: Element, problem: str, cure: str) -> None:
        """Adds a problem of an element of a proto file."""
        self.add_at(_file_of(element), _name_of(element), problem, cure)

    def add_at(self, file: str, element: str, problem: str, cure: str) -> None:
        """Adds a problem of something that stands in no proto file."""
        line = f"{file}: {element}: {problem}; {cure}"
        if line not in self._lines:
            self._lines.append(line)

    def raise_any(self) -> None:
        """Ends the collecting.

        Raises:
            DeclarationError: There is a problem; the text has all, one a line.
        """
        if self._lines:
            raise DeclarationError("\n".join(self._lines))


def _file_of(element: Element) -> str:
    if isinstance(element, EnumValueDescriptor):
        return element.type.file.name
    if isinstance(element, MethodDescriptor):
        return element.containing_service.file.name
    if isinstance(element, FieldDescriptor):
        return element.containing_type.file.name if element.containing_type else ""
    return element.file.name


def _name_of(element: Element) -> str:
    if isinstance(element, EnumValueDescriptor):
        return f"{element.type.full_name}.{element.name}"
    return element.full_name
