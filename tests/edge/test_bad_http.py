"""What no client of ours sends: each gets a clear status, nothing falls, others notice nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc import aio

from eventspine.rpc.address import split_address
from eventspine.v1.query_pb2 import GetStreamRequest
from tests.edge.conftest import Behind
from tests.edge.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    Connection,
    block,
    frame,
    grpc_headers,
    message,
)
from tests.edge.fronted import (
    DEPOSIT,
    GET_STREAM,
    OPEN,
    SUBSCRIBE,
    WAIT_SECONDS,
    depositing,
    opening,
    post,
)
from tests.journey.user import User, refusal

pytestmark = pytest.mark.envoy


@pytest.fixture(autouse=True)
async def others_notice_nothing(behind: Behind, account: str) -> AsyncIterator[None]:
    """Somebody else subscribes before, and gets an event after; all processes are still there."""
    async with aio.insecure_channel(behind.address) as channel:
        user = User(channel)
        await user.open(f"{account}-other")
        reader = user.subscribe(filter={"stream": f"account/{account}-other"})
        await reader.taken(1)
        yield
        async with asyncio.timeout(WAIT_SECONDS):
            await user.deposit(f"{account}-other", 1)
            await reader.taken(2)
        reader.leave()
    processes = (behind.edge.load_balancer, *behind.edge.gateways)
    assert all(process.running for process in processes)


def raw(address: str, request: bytes) -> bytes:
    """Sends bytes; returns all that comes until the other side closes."""
    with socket.create_connection(split_address(address), timeout=WAIT_SECONDS) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def status_line(answer: bytes) -> str:
    return answer.split(b"\r\n", 1)[0].decode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"header": {"commandId": "x", "expcted": {"version": "1"}}}, "header.expcted"),
        ({"header": {"expected": {"any": {"x": 1}}}}, "header.expected.any.x"),
        ({"header": {"waitFor": {"max_wait": "1s", "view": []}}}, "header.waitFor.view"),
        ({"header": {"metadata": {"any key": "v"}}, "more": 1}, "more"),
        ({"events": [{"type": "x"}, {"typ": "x"}]}, "events.typ"),
    ],
)
def test_a_json_field_that_the_message_does_not_have_is_named(
    address: str, body: object, field: str
) -> None:
    answer = post(address, "/eventspine.v1.CommandService/Append", body)
    info, request = answer.json["details"]
    assert (answer.status, answer.json["code"]) == (400, 3)
    assert info["reason"] == "ERROR_REASON_INVALID_REQUEST"
    assert request["fieldViolations"][0]["field"] == field


def test_a_misspelt_expectation_stores_nothing(address: str, account: str) -> None:
    post(address, OPEN, opening(account, "o1"))
    wish = depositing(account, "d1")
    wish["header"]["expcted"] = {"version": "7"}
    assert post(address, DEPOSIT, wish).status == 400
    assert post(address, GET_STREAM, {"stream": f"account/{account}"}).json["lastVersion"] == "1"


def test_fields_in_maps_packed_messages_and_repeated_ones_are_known(
    address: str, account: str
) -> None:
    post(address, OPEN, opening(account, "o1"))
    wish = depositing(account, "d1")
    wish["header"] |= {
        "metadata": {'any key, "quoted"': "v"},
        "expected": {"streamExists": {}},
        "waitFor": {"views": [], "maxWait": "5s"},
    }
    assert post(address, DEPOSIT, wish).json["result"]["projected"] is True
    packed = {"@type": "type.googleapis.com/bank.v1.DepositRequest", **depositing(account, "d2")}
    answer = post(address, "/eventspine.v1.CommandService/Execute", [{"commands": [packed]}])
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"header":', "Unexpected end of string"),
        (b"", "header.command_id: is missing"),
        (b"null", "message"),
        (b'{"accountId": "\xff\xfe"}', ""),
        (b'{"amountCents": "seven"}', "amount_cents"),
        (b'{"amountCents": 1e400}', ""),
        (b"[" * 100_000, "too deep"),
        (b'{"header":{"metadata":{' + b'"k":"v",' * 150_000 + b'"k":"v"}}}', "too many values"),
    ],
)
def test_json_that_is_none_is_refused_in_json(address: str, body: bytes, words: str) -> None:
    answer = post(address, DEPOSIT, body)
    assert (answer.status, answer.json["code"]) == (400, 3), answer.body
    assert words in answer.json["message"]


def test_a_body_that_is_too_large_is_refused(address: str) -> None:
    answer = post(address, DEPOSIT, b'{"accountId": "' + b"a" * (9 << 20) + b'"}')
    assert (answer.status, answer.json["code"]) == (413, 8)


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "application/xml", "application/jsonx"],
)
def test_another_content_type_is_refused_and_says_which_are_not(address: str, kind: str) -> None:
    answer = post(address, DEPOSIT, depositing("a", "d1"), content_type=kind)
    assert answer.status == 415
    assert b"application/grpc" in answer.body


@pytest.mark.parametrize(
    "path", ["/bank.v1.AccountCommands/Nothing", "/bank.v1.Nothing/Deposit", "/", "/favicon.ico"]
)
async def test_what_does_not_exist_is_unimplemented(address: str, path: str) -> None:
    answer = post(address, path, {})
    assert (answer.status, answer.json["code"]) == (404, 12)
    async with aio.insecure_channel(address) as channel:
        error = await refusal(channel.unary_unary(path)(b""))
    assert error.code is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        (f"POST {DEPOSIT} HTTP/1.0", "", "426 Upgrade Required"),
        (f"GET {DEPOSIT} HTTP/1.1", "", "404 Not Found"),
        (f"POST http://elsewhere{DEPOSIT} HTTP/1.1", "content-type: application/json", "400"),
        (f"POST http://[{DEPOSIT} HTTP/1.1", "content-type: application/json", "400 Bad Request"),
        (f"POST {DEPOSIT} HTTP/1.1", "under_score: 1", "400 Bad Request"),
        (f"POST {DEPOSIT} HTTP/1.1", "transfer-encoding: chunked\r\ncontent-length: 5", "400"),
        (f"POST {DEPOSIT} HTTP/1.1", "x: " + "y" * 20_000, "431"),
        (f"POST {DEPOSIT} HTTP/1.1", "\r\n".join(f"x{n}: y" for n in range(200)), "431"),
        (f"POST {DEPOSIT}%2f.. HTTP/1.1", "content-type: application/json", "400 Bad Request"),
        ("NONSENSE", "", "400 Bad Request"),
        (f"POST {DEPOSIT} HTTP/9.9", "", "426 Upgrade Required"),
        ("POST /\xff\xfe HTTP/1.1", "content-type: application/json", "40"),
    ],
    ids=[
        "HTTP/1.0", "GET", "absolute", "absolute-broken", "underscore", "two-lengths",
        "huge-header", "many-headers", "escaped-slash", "nonsense", "version", "not-utf-8",
    ],
)  # fmt: skip
def test_http_that_is_not_ours_gets_a_clear_status(
    address: str, request_line: str, headers: str, status: str
) -> None:
    lines = [request_line, "host: edge", *([headers] if headers else []), "connection: close"]
    answer = raw(address, "\r\n".join([*lines, "", ""]).encode("latin-1"))
    assert status_line(answer).startswith(f"HTTP/1.1 {status}"), answer


async def test_huge_metadata_of_a_call_is_refused(user: User) -> None:
    call = user.queries.GetStream(
        GetStreamRequest(stream="account/a"), metadata=(("x", "y" * 40_000),)
    )
    # HTTP/2 has no status for it: the stream is reset, which gRPC reads as INTERNAL.
    assert (await refusal(call)).code is grpc.StatusCode.INTERNAL


def test_headers_without_end_close_the_connection(address: str) -> None:
    with Connection(address) as connection:
        connection.send(frame(HEADERS, 0, 1, block(grpc_headers(GET_STREAM))))
        part = frame(CONTINUATION, 0, 1, block([("x", "y" * 8_000)]))
        try:
            for _ in range(2_000):
                connection.send(part)
        except OSError:
            pass
        found = connection.until(GOAWAY, RST_STREAM)
    assert found is None or found.kind in (GOAWAY, RST_STREAM)


def test_rapid_resets_close_the_connection_that_sends_them(address: str) -> None:
    with Connection(address) as connection:
        headers = block(grpc_headers(GET_STREAM))
        try:
            for number in range(1, 40_001, 2):
                connection.send(
                    frame(HEADERS, END_HEADERS, number, headers),
                    frame(RST_STREAM, 0, number, (8).to_bytes(4, "big")),
                )
            found = connection.until(GOAWAY)
        except OSError:
            return
    assert found is None or found.kind == GOAWAY


@pytest.mark.parametrize("sent", ["nothing", "half a message", "headers that end it"])
def test_a_call_that_ends_before_its_request_is_answered_at_its_deadline(
    address: str, sent: str
) -> None:
    headers = block(grpc_headers(GET_STREAM, ("grpc-timeout", "1S")))
    end = END_STREAM if sent == "headers that end it" else 0
    with Connection(address) as connection:
        connection.send(frame(HEADERS, END_HEADERS | end, 1, headers))
        if not end:
            content = message(b"\x0a\x05acco")[:7] if sent == "half a message" else b""
            connection.send(frame(DATA, END_STREAM, 1, content))
        found = connection.until(HEADERS, RST_STREAM, stream=1)
    assert found is not None
    assert found.flags & END_STREAM or found.kind == RST_STREAM


def test_a_subscription_that_is_half_closed_goes_on(address: str, account: str) -> None:
    post(address, OPEN, opening(account, "o1"))
    stream = f"account/{account}".encode()
    wish = (
        b"\x0a\x00" + b"\x32" + bytes([len(stream) + 2]) + b"\x0a" + bytes([len(stream)]) + stream
    )
    with Connection(address) as connection:
        connection.send(
            frame(HEADERS, END_HEADERS, 1, block(grpc_headers(SUBSCRIBE))),
            frame(DATA, END_STREAM, 1, message(wish)),
        )
        assert connection.until(DATA, stream=1) is not None
        post(address, DEPOSIT, depositing(account, "d1"))
        content = b""
        while b"d1" not in content:
            found = connection.until(DATA, stream=1)
            assert found is not None
            content += found.content


@pytest.mark.parametrize("timeout", ["0S", "0n"])
def test_a_deadline_of_nothing_is_exceeded(address: str, timeout: str) -> None:
    answer = post(address, GET_STREAM, {"stream": "account/a"}, grpc_timeout=timeout)
    assert answer.status in (408, 504)
    assert answer.json["code"] == 4
    with Connection(address) as connection:
        headers = grpc_headers(GET_STREAM, ("grpc-timeout", timeout))
        connection.send(
            frame(HEADERS, END_HEADERS, 1, block(headers)),
            frame(DATA, END_STREAM, 1, message(b"")),
        )
        assert connection.until(HEADERS, stream=1) is not None


@pytest.mark.parametrize("timeout", ["soon", "-1S", "999999999S", "", "1", "S"])
def test_a_deadline_that_is_none_is_refused(address: str, timeout: str) -> None:
    answer = post(address, GET_STREAM, {"stream": "account/a"}, grpc_timeout=timeout)
    assert (answer.status, answer.json["code"]) == (400, 3)
    assert "grpc-timeout" in answer.json["message"]


@pytest.mark.parametrize("timeout", ["soon", "-1S", "999999999S"])
def test_a_deadline_that_is_none_does_a_call_no_harm(address: str, timeout: str) -> None:
    headers = block(grpc_headers(GET_STREAM, ("grpc-timeout", timeout)))
    with Connection(address) as connection:
        connection.send(
            frame(HEADERS, END_HEADERS, 1, headers),
            frame(DATA, END_STREAM, 1, message(b"\x0a\x0caccount/none")),
        )
        assert connection.until(HEADERS, stream=1) is not None


async def test_a_header_with_an_underscore_refuses_the_call(user: User) -> None:
    call = user.queries.GetStream(
        GetStreamRequest(stream="account/a"), metadata=(("under_score", "1"),)
    )
    # HTTP/2 has no status for it: the stream is reset, which gRPC reads as INTERNAL.
    assert (await refusal(call)).code is grpc.StatusCode.INTERNAL
