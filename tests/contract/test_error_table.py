"""The error table against the contract: one row a reason, one reason a class, codes as written."""

import importlib
import pkgutil
import re
from pathlib import Path

import grpc
import pytest

import command_svc
import eventspine.domain
import eventspine.rpc
import eventspine.storage
import processor_svc
import query_svc
from eventspine.domain.errors import EventspineError, RefusalError
from eventspine.rpc.errors import TABLE, Cure, ErrorRow, row_of
from eventspine.v1.error_reason_pb2 import ErrorReason

PROTO = Path(__file__).parents[2] / "protos/eventspine/v1/error_reason.proto"
CODES = {code.value[0]: code.name for code in grpc.StatusCode}
VALUE = re.compile(r"((?:  //[^\n]*\n)+)  (ERROR_REASON_\w+) = (\d+);")


def commented() -> dict[str, str]:
    """Returns the comment of each reason in the proto."""
    found = VALUE.findall(PROTO.read_text())
    return {name: comment.replace("  //", "").strip() for comment, name, _ in found}


def classes(kind: type) -> list[type]:
    return [one for sub in kind.__subclasses__() for one in (sub, *classes(sub))]


def test_every_reason_has_one_row_and_every_row_one_reason() -> None:
    reasons = [ErrorReason.Name(row.reason) for row in TABLE]
    assert sorted(reasons) == sorted(set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"})


def test_every_error_of_the_product_has_a_row() -> None:
    services = (command_svc, processor_svc, query_svc)
    for package in (eventspine.domain, eventspine.storage, eventspine.rpc, *services):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.rpartition(".")[2] == "errors":
                importlib.import_module(module.name)
    product = [
        kind
        for kind in classes(EventspineError)
        if not kind.__module__.startswith("tests") and not issubclass(kind, RefusalError)
    ]
    assert len(product) >= len(TABLE)
    rows = {row.error for row in TABLE}
    # A class that is derived from one with a row may do with that row.
    owed = {kind for kind in product if kind in rows or not rows & set(kind.__mro__)}
    assert {kind.__name__ for kind in owed} == {kind.__name__ for kind in rows}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.error.__name__)
def test_a_reason_is_named_after_its_class_and_has_the_code_of_its_comment(row: ErrorRow) -> None:
    name = ErrorReason.Name(row.reason)
    words = re.findall(r"[A-Z][a-z]+", row.error.__name__.removesuffix("Error"))
    assert name == f"ERROR_REASON_{'_'.join(words).upper()}"
    assert commented()[name].partition(".")[0] == CODES[row.code]
    assert row.error.__doc__


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.error.__name__)
def test_only_what_may_be_sent_again_says_when(row: ErrorRow) -> None:
    if row.retry_seconds is not None:
        assert row.cure is Cure.SEND_AGAIN
    if CODES[row.code] == "UNAVAILABLE":
        assert row.retry_seconds is not None


def test_a_derived_error_has_the_row_of_the_class_that_it_is_derived_from() -> None:
    for row in TABLE:
        derived = type("DerivedError", (row.error,), {})
        assert row_of(derived.__new__(derived)) is row
