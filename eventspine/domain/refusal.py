"""Refuses a command by a value of the domain's own enum; promise: its status is as declared."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import EnumValueDescriptor

from eventspine.domain.errors import RefusalError
from eventspine.domain.options import refusal_option

if TYPE_CHECKING:
    # The class exists in the type stubs only; at run time it is EnumTypeWrapper.
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper


def refuse(
    enum: "_EnumTypeWrapper[Any]", value: int, text: str, /, **metadata: str
) -> RefusalError:
    """Makes the error with which a decider refuses, to be raised by it.

    Args:
        enum: The generated enum of the domain's refusals.
        value: The generated constant of one of its values.
        text: Why, and how to cure it, for people.
        metadata: What belongs to the reason, by name; sent to the caller.

    Raises:
        ValueError: The enum has no such value, which is a defect of the domain.
    """
    descriptor = enum.DESCRIPTOR.values_by_number.get(value)
    if descriptor is None:
        raise ValueError(
            f"{enum.DESCRIPTOR.full_name} has no value {value}; refuse with one it has"
        )
    return RefusalError(descriptor, text, metadata)


@lru_cache(maxsize=1024)
def refusal_status(value: EnumValueDescriptor) -> int:
    """Returns the number of the gRPC status that an enum value declares; 0 when it declares none.

    `declare` refuses a domain with a refusal that declares none, so a hosted one is never 0.
    """
    option = refusal_option(value)
    return 0 if option is None else option.code
