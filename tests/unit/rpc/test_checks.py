"""Request checks: what passes is safe, and what does not is told which field and what to send."""

import unicodedata

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from eventspine.rpc import limits
from eventspine.rpc.checks import (
    StreamName,
    check_duration,
    check_enum,
    check_id,
    check_limit,
    check_metadata,
    check_optional_id,
    check_stream,
)
from eventspine.rpc.errors import InvalidRequestError, LimitExceededError
from eventspine.v1.query_pb2 import StalePolicy

FIELD = "header.command_id"


def problem(call: object) -> str:
    with pytest.raises(InvalidRequestError) as raised:
        call()
    (violation,) = raised.value.violations
    assert violation.field
    return f"{violation.field} {violation.description}"


@pytest.mark.parametrize("value", ["a", "x" * 200, "a b/c~d", "é" * 100, "日本", "🙂"])
def test_an_id_of_printable_text_passes_as_it_is(value: str) -> None:
    assert check_id(FIELD, value) == value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "is missing"),
        ("x" * 201, "has 201 bytes"),
        ("é" * 101, "has 202 bytes"),
        ("a\nb", "has U+000A at 1"),
        ("a\x00", "has U+0000 at 1"),
        ("a\u200bb", "has U+200B at 1"),
        ("a\u00a0b", "has U+00A0 at 1"),
        ("e\u0301", "is not in NFC form"),
        ("\ud800", "has U+D800 at 0"),
    ],
)
def test_any_other_id_is_refused_with_field_fault_and_cure(value: str, says: str) -> None:
    told = problem(lambda: check_id(FIELD, value))
    assert told.startswith(f"{FIELD} {says}")
    assert "send 1 to 200 bytes" in told


@given(st.text(max_size=210))
def test_an_id_that_passes_is_short_printable_and_normal(value: str) -> None:
    try:
        check_id(FIELD, value)
    except InvalidRequestError:
        return
    assert 0 < len(value.encode()) <= limits.ID_BYTES_MAX
    assert value.isprintable()
    assert unicodedata.normalize("NFC", value) == value


def test_an_absent_optional_id_passes_and_a_malformed_one_does_not() -> None:
    assert check_optional_id(FIELD, "") == ""
    assert FIELD in problem(lambda: check_optional_id(FIELD, "\t"))


def test_a_stream_has_a_category_and_an_id_that_may_hold_slashes() -> None:
    assert check_stream("stream", "account/a/b") == StreamName("account", "a/b")


@pytest.mark.parametrize(
    "value", ["", "account", "/a", "account/", "Account/a", "1a/b", "a" * 65 + "/b", "ä/b"]
)
def test_any_other_stream_name_is_refused(value: str) -> None:
    assert problem(lambda: check_stream("stream", value)).startswith("stream ")


def test_metadata_passes_up_to_its_limit_and_not_beyond() -> None:
    assert check_metadata("header.metadata", {}) == {}
    full = {"k": "v" * (limits.METADATA_BYTES_MAX - 1)}
    assert check_metadata("header.metadata", full) == full
    with pytest.raises(LimitExceededError) as raised:
        check_metadata("header.metadata", {**full, "x": ""})
    assert raised.value.metadata == {
        "field": "header.metadata",
        "limit": "metadata_bytes",
        "maximum": str(limits.METADATA_BYTES_MAX),
        "actual": str(limits.METADATA_BYTES_MAX + 1),
    }
    assert "header.metadata key" in problem(lambda: check_metadata("header.metadata", {"": "v"}))


@pytest.mark.parametrize(
    ("duration", "says"),
    [
        (Duration(seconds=-1), "is -1 s"),
        (Duration(seconds=31), "is 31 s"),
        (Duration(), "is 0 s"),
        (Duration(seconds=10**18), "is not a valid duration"),
        (Duration(nanos=2 * 10**9), "is not a valid duration"),
        (None, "is missing"),
    ],
)
def test_a_duration_out_of_range_is_refused(duration: Duration | None, says: str) -> None:
    told = problem(lambda: check_duration("max_wait", duration, minimum=0.001, maximum=30))
    assert told == f"max_wait {says}; send 0.001 s to 30 s"


def test_a_duration_is_seconds_and_absence_is_the_default() -> None:
    half = Duration(nanos=500_000_000)
    assert check_duration("f", half, minimum=0.1, maximum=30) == 0.5
    assert check_duration("f", None, minimum=0.1, maximum=30, default=5.0) == 5.0


def test_a_limit_of_zero_is_the_default_and_others_have_bounds() -> None:
    assert check_limit("limit", 0, maximum=10, default=4) == 4
    assert check_limit("limit", 10, maximum=10, default=4) == 10
    assert "limit is -1" in problem(lambda: check_limit("limit", -1, maximum=10, default=4))
    with pytest.raises(LimitExceededError, match="limit has 11 entries; send at most 10"):
        check_limit("limit", 11, maximum=10, default=4)


def test_an_enum_has_to_be_set_and_known() -> None:
    assert check_enum("stale_policy", StalePolicy, 1) == 1
    for value in (0, 99):
        told = problem(lambda value=value: check_enum("stale_policy", StalePolicy, value))
        assert "STALE_POLICY_FAIL" in told
        assert "UNSPECIFIED" not in told
