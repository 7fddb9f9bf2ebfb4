"""A refusal is a value of the domain's enum, and its status is the one declared there."""

import pytest

from bank.v1 import account_pb2 as pb
from eventspine.domain import RefusalError, refuse
from eventspine.domain.refusal import refusal_status


def test_a_refusal_carries_value_text_and_metadata() -> None:
    error = refuse(pb.AccountRefusal, pb.ACCOUNT_REFUSAL_CLOSED, "closed", account_id="a")
    assert isinstance(error, RefusalError)
    assert error.value.name == "ACCOUNT_REFUSAL_CLOSED"
    assert (str(error), error.metadata) == ("closed", {"account_id": "a"})


def test_metadata_may_have_any_name() -> None:
    error = refuse(pb.AccountRefusal, pb.ACCOUNT_REFUSAL_CLOSED, "closed", value="1", enum="2")
    assert error.metadata == {"value": "1", "enum": "2"}


def test_the_status_is_the_declared_one() -> None:
    value = refuse(pb.AccountRefusal, pb.ACCOUNT_REFUSAL_NOT_OPEN, "not open").value
    assert refusal_status(value) == 5


def test_a_value_without_the_option_has_no_status() -> None:
    assert refusal_status(pb.AccountRefusal.DESCRIPTOR.values_by_number[0]) == 0


def test_a_value_that_the_enum_does_not_have_is_a_defect() -> None:
    with pytest.raises(ValueError, match=r"bank\.v1\.AccountRefusal has no value 99"):
        refuse(pb.AccountRefusal, 99, "never")
