"""One port, four ways in: gRPC, gRPC-Web, JSON and lines of JSON; the same answers and errors."""

import asyncio
import base64
import json
import re
import struct
from http.client import HTTPConnection
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bank.v1 import account_pb2 as bank
from eventspine.rpc.address import split_address
from eventspine.v1.query_pb2 import GetStreamRequest
from eventspine.v1.record_pb2 import Expectation
from tests.edge.fronted import (
    DEPOSIT,
    OPEN,
    READ_STREAM,
    SUBSCRIBE,
    WAIT_SECONDS,
    depositing,
    opening,
    post,
)
from tests.journey.command_line import CommandLine
from tests.journey.user import User, refusal
from tests.journey.user import depositing as deposit_request

pytestmark = pytest.mark.envoy


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """Returns the frames of a body of gRPC-Web: the flags and the content of each."""
    found = []
    while body:
        flags, size = struct.unpack(">BI", body[:5])
        found.append((flags, body[5 : 5 + size]))
        body = body[5 + size :]
    return found


def from_text(body: bytes) -> bytes:
    """Returns the bytes of gRPC-Web's text form: pieces of base64, each with its own padding."""
    return b"".join(base64.b64decode(piece) for piece in re.findall(rb"[^=]+=*", body))


def trailers(frame: bytes) -> dict[str, str]:
    """Returns the trailers of gRPC-Web's last frame."""
    lines = (line.split(":", 1) for line in frame.decode().splitlines())
    return {name.lower(): value.strip() for name, value in lines}


def status(found: dict[str, str]) -> Status:
    """Returns the status that stands in trailers."""
    encoded = found["grpc-status-details-bin"]
    return Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))


def as_json(error: Status) -> Any:
    """Returns a status as the transcoder writes it."""
    return MessageToDict(error)


async def test_grpc_calls_and_subscribes(user: User, account: str) -> None:
    await user.open(account, cents=5)
    reader = user.subscribe(filter={"stream": f"account/{account}"})
    assert [record.stream_version for record in await reader.taken(2)] == [1, 2]
    await user.deposit(account, 7)
    assert (await reader.taken(3))[-1].type == "bank.v1.MoneyDeposited"
    reader.leave()


async def test_many_commands_on_one_stream_of_both_directions(user: User, account: str) -> None:
    await user.open(account)
    verdicts = await user.execute(*([deposit_request(account, 1)] for _ in range(10)))
    assert sorted(verdict.result.last_version for verdict in verdicts) == list(range(2, 12))


@pytest.mark.parametrize("text", [False, True])
async def test_grpc_web_calls_and_gets_trailers_in_the_body(
    user: User, address: str, account: str, text: bool
) -> None:
    await user.open(account)
    kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
    message = deposit_request(account, 5).SerializeToString()
    framed = struct.pack(">BI", 0, len(message)) + message
    answer = post(
        address, DEPOSIT, base64.b64encode(framed) if text else framed,
        content_type=kind, accept=kind, x_grpc_web="1",
    )  # fmt: skip
    body = from_text(answer.body) if text else answer.body
    (_, content), (flags, last) = frames(body)
    assert (answer.status, answer.headers["content-type"].split("+")[0]) == (
        200,
        kind.split("+")[0],
    )
    assert bank.DepositResponse.FromString(content).result.last_version == 2
    assert (flags, trailers(last)["grpc-status"]) == (0x80, "0")


async def test_json_calls_by_either_name_of_a_field(address: str, account: str) -> None:
    assert post(address, OPEN, opening(account, "o1")).json["result"]["lastVersion"] == "1"
    plain = {"header": {"command_id": "d1"}, "account_id": account, "amount_cents": 5}
    answer = post(address, DEPOSIT, plain)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json["result"]["lastVersion"] == "2"
    assert post(address, DEPOSIT, plain).json["result"]["replayed"] is True


async def test_a_refusal_tells_the_same_in_all_ways(user: User, address: str, account: str) -> None:
    await user.open(account, cents=1)
    await user.deposit(account, 1)
    wish = deposit_request(account, 1, expected=Expectation(version=1))
    by_grpc = await refusal(user.accounts.Deposit(wish))
    message = wish.SerializeToString()
    framed = struct.pack(">BI", 0, len(message)) + message
    web = post(address, DEPOSIT, framed, content_type="application/grpc-web+proto")
    # A refusal without an answer has its trailers as headers.
    by_web = status(web.headers)
    by_json = post(address, DEPOSIT, MessageToDict(wish))
    assert by_grpc.conflict is not None
    assert len(by_grpc.conflict.missed) == 2
    assert by_web == by_grpc.status
    assert by_json.status == 409
    assert by_json.json == as_json(by_grpc.status)


async def test_an_error_in_a_stream_of_json_tells_its_details(address: str, user: User) -> None:
    answer = post(address, READ_STREAM, {"stream": "account/nobody"})
    by_grpc = await refusal(user.queries.GetStream(GetStreamRequest(stream="account/nobody")))
    assert answer.status == 404
    assert answer.json["details"][0]["reason"] == by_grpc.reason == "ERROR_REASON_STREAM_NOT_FOUND"


async def test_a_stream_is_one_json_object_a_line(user: User, address: str, account: str) -> None:
    opened = bank.AccountOpened(account_id=account, owner="Ann")
    await user.append(f"account/{account}", [opened] * 600)
    answer = post(address, READ_STREAM, {"stream": f"account/{account}"})
    assert len(answer.lines) > 1
    records = [record for line in answer.lines for record in line["records"]]
    assert [record["streamVersion"] for record in records] == [str(n) for n in range(1, 601)]


async def test_a_subscription_in_json_comes_line_by_line_as_events_happen(
    user: User, address: str, account: str
) -> None:
    await user.open(account)
    connection = HTTPConnection(*split_address(address), timeout=WAIT_SECONDS)
    wish = {"end": {}, "filter": {"stream": f"account/{account}"}}
    connection.request("POST", SUBSCRIBE, json.dumps(wish), {"content-type": "application/json"})
    response = connection.getresponse()
    kinds = [next(iter(json.loads(response.readline()))) for _ in range(2)]
    assert kinds == ["confirmation", "caughtUp"]
    post(address, DEPOSIT, depositing(account, "d1", 12))
    line = json.loads(response.readline())
    assert line["batch"]["records"][0]["commandId"] == "d1"
    connection.close()


async def test_a_new_domain_is_routed_by_its_options_alone(user: User) -> None:
    # The flights stand in no template, and neither does the bank.
    found = user.subscribe(filter={"categories": ["flight"]}, end=Empty())
    await found.until("caught_up")
    found.leave()


async def test_health_and_reflection_answer_at_the_one_address(
    address: str, account: str, user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    await user.open(account)
    asked = health_pb2.HealthCheckRequest()
    health = health_pb2_grpc.HealthStub(user.channel)
    assert (await health.Check(asked)).status == health_pb2.HealthCheckResponse.SERVING
    # The command line reads messages of any domain by reflection.
    ran = await asyncio.to_thread(CommandLine(address, capsys).at, "state", f"account/{account}")
    assert ran.out.startswith(f"account/{account}@1 bank.v1.AccountState")
