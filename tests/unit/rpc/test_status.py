"""Statuses and failures: what they tell, and that they fit."""

import io
import json
import logging
from urllib.parse import quote

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

from bank.v1 import account_pb2
from eventspine.domain.refusal import refuse
from eventspine.rpc import limits, logs
from eventspine.rpc.errors import (
    CommandIdReusedError,
    InvalidRequestError,
    OverloadedError,
    StreamVersionConflictError,
    Violation,
)
from eventspine.rpc.status import to_failure, to_status
from eventspine.v1.record_pb2 import EventRecord, VersionConflict

PLAIN = "".join(chr(n) for n in range(32, 127) if chr(n) != "%")
FAILED_PRECONDITION, INTERNAL, RESOURCE_EXHAUSTED = 9, 13, 8


def detail(message: object, kind: type) -> object:
    for packed in message.details:
        if packed.Is(kind.DESCRIPTOR):
            unpacked = kind()
            packed.Unpack(unpacked)
            return unpacked
    raise AssertionError(f"no {kind.__name__} in {message}")


def conflict(records: int, payload: int) -> StreamVersionConflictError:
    missed = [
        EventRecord(stream="account/a", stream_version=n, payload=bytes(payload))
        for n in range(1, records + 1)
    ]
    told = VersionConflict(stream="account/a", actual_version=records, missed=missed)
    return StreamVersionConflictError("expected version 0", told)


def test_a_refusal_has_its_enum_values_name_package_and_code() -> None:
    refusal = account_pb2.AccountRefusal
    error = refuse(refusal, account_pb2.ACCOUNT_REFUSAL_CLOSED, "it is closed", balance="0")
    status = to_status(error)
    info = detail(status, ErrorInfo)
    assert status.code == FAILED_PRECONDITION
    assert (info.reason, info.domain) == ("ACCOUNT_REFUSAL_CLOSED", "bank.v1")
    assert dict(info.metadata) == {"balance": "0"}
    failure = to_failure(error)
    assert (failure.code, failure.reason, failure.domain) == (
        FAILED_PRECONDITION,
        "ACCOUNT_REFUSAL_CLOSED",
        "bank.v1",
    )


def test_wrong_fields_are_named_each() -> None:
    error = InvalidRequestError(Violation("a.b", "is missing"), Violation("c", "is 5"))
    request = detail(to_status(error), BadRequest)
    assert [(v.field, v.description) for v in request.field_violations] == [
        ("a.b", "is missing"),
        ("c", "is 5"),
    ]


def test_an_overloaded_process_says_when_to_try_again() -> None:
    status = to_status(OverloadedError("too many commands wait; try again"))
    assert status.code == RESOURCE_EXHAUSTED
    assert detail(status, RetryInfo).retry_delay.ToMilliseconds() == 100


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError(*[Violation("ü" * 5_000, "ä" * 5_000)] * 500),
        CommandIdReusedError("%\n" * 50_000, **{f"k{n}": "ü" * 4_000 for n in range(50)}),
        CommandIdReusedError("x" * 901),
        CommandIdReusedError("\ud800" * 1_000, key="\ud800"),
        conflict(500, 10_000),
        conflict(500, 10),
    ],
)
def test_no_status_is_larger_than_the_headers_of_any_client(error: Exception) -> None:
    status = to_status(error)
    assert status.ByteSize() <= limits.STATUS_BYTES_MAX
    assert len(quote(status.message, safe=PLAIN)) <= limits.MESSAGE_BYTES_MAX + 2 * 3
    assert len(to_failure(error).SerializeToString()) < limits.CONFLICT_BYTES_MAX + 8_192


def test_a_conflict_keeps_the_oldest_records_and_says_that_it_was_cut() -> None:
    small = detail(to_status(conflict(3, 10)), VersionConflict)
    assert (len(small.missed), small.truncated) == (3, False)
    cut = detail(to_status(conflict(500, 100)), VersionConflict)
    assert cut.truncated
    assert cut.actual_version == 500
    assert [r.stream_version for r in cut.missed] == list(range(1, len(cut.missed) + 1))
    assert len(cut.missed) > 10
    bulk = detail(to_failure(conflict(500, 100)), VersionConflict)
    assert (len(bulk.missed), bulk.truncated) == (limits.CONFLICT_RECORDS_MAX, True)


def test_an_unforeseen_error_of_a_bulk_command_has_no_text_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failure = to_failure(RuntimeError("secret"))
    assert (failure.code, failure.message) == (INTERNAL, "")
    assert failure.reason == "ERROR_REASON_INTERNAL"
    assert caplog.records[-1].exc_info[1].args == ("secret",)


def test_a_log_line_is_one_json_object_with_its_fields() -> None:
    output = io.StringIO()
    log = logging.Logger("t")
    handler = logging.StreamHandler(output)
    handler.setFormatter(logs.JsonLines())
    log.addHandler(handler)
    error = ValueError("a\nb")
    logs.write(log, logging.ERROR, "it failed", error=error, command_id="c1", stream="account/ü")
    (text,) = output.getvalue().splitlines()
    line = json.loads(text)
    assert (line["level"], line["message"], line["command_id"]) == ("ERROR", "it failed", "c1")
    assert line["stream"] == "account/ü"
    assert "ValueError" in line["traceback"]
    assert line["time"].endswith("+00:00")
