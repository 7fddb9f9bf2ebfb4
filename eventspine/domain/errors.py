"""The errors of the domain kit, and the root of all errors that callers get.

An error class says by its docstring what has and has not happened when it is raised. The table in
`eventspine/rpc/errors.py` gives each its reason and status; nothing else does.
"""

from collections.abc import Mapping

from google.protobuf.descriptor import EnumValueDescriptor


class EventspineError(Exception):
    """The root of all errors that have a reason in the contract.

    Attributes:
        metadata: What belongs to the reason, by name; sent to the caller. May be empty.
    """

    def __init__(self, text: str, /, **metadata: str) -> None:
        """Says what went wrong and how to cure it in `text`, for people."""
        super().__init__(text)
        self.metadata: dict[str, str] = metadata


class RefusalError(EventspineError):
    """A decider refuses a command by a value of its domain's refusal enum. Nothing was stored.

    Attributes:
        value: The enum value, which carries the status code in its `refusal` option.
    """

    def __init__(
        self, value: EnumValueDescriptor, text: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Refuses with a declared enum value and a text for people."""
        super().__init__(text, **(metadata or {}))
        self.value = value


class DomainDefectError(EventspineError):
    """A function of a domain raised what it must not, or returned what it must not.

    Nothing was stored. It is a defect of the domain: operators have to know.
    """


class DeclarationError(Exception):
    """A domain is declared wrongly; the process must not start.

    The text names file, element and cure. Several problems are joined, one a line.
    """
