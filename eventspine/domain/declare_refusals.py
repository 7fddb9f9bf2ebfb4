"""Checks the enum of a domain's refusals: every value that can be raised has a status."""

from google.protobuf.descriptor import EnumDescriptor

from eventspine.domain.options import refusal_option
from eventspine.domain.problems import Problems
from eventspine.v1.options_pb2 import StatusCode


def check_refusals(enum: EnumDescriptor, problems: Problems) -> None:
    """Checks that value zero is `..._UNSPECIFIED` and all others have the `refusal` option."""
    zero = enum.values_by_number.get(0)
    if zero is None or not zero.name.endswith("_UNSPECIFIED"):
        name = "missing" if zero is None else zero.name
        problems.add(enum, f"its value 0 is {name}", "make value 0 `..._UNSPECIFIED`")
    if len(enum.values) < 2:
        problems.add(enum, "has nothing to refuse with", "add values, or name no refusals")
    for value in enum.values:
        option = refusal_option(value)
        example = "add `[(eventspine.v1.refusal) = {code: STATUS_CODE_FAILED_PRECONDITION}]`"
        if value.number == 0:
            if option is not None:
                cure = "remove the option: value 0 is never raised"
                problems.add(value, "value 0 has the refusal option", cure)
        elif option is None:
            problems.add(value, "has no refusal option", example)
        elif option.code not in StatusCode.values() or option.code == 0:
            problems.add(value, "its refusal option has no status code", example)
