"""What the suites of the edge share: both tiers in front of something, and callers of HTTP."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devstack.edge.binary import EnvoyNotFoundError, envoy_path
from devstack.edge.contract import Kind, descriptor_set
from devstack.edge.settings import Limits, Tier
from devstack.edge.tiers import Edge
from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS
from eventspine.rpc.address import split_address

CONTRACT = descriptor_set([*BANK.protos, *FLIGHTS.protos])
WAIT_SECONDS = 30.0
DEPOSIT = "/bank.v1.AccountCommands/Deposit"
OPEN = "/bank.v1.AccountCommands/OpenAccount"
SUBSCRIBE = "/eventspine.v1.QueryService/Subscribe"
GET_STREAM = "/eventspine.v1.QueryService/GetStream"
READ_STREAM = "/eventspine.v1.QueryService/ReadStream"


def why_no_envoy() -> str:
    """Returns why there is no Envoy here; empty where there is one."""
    try:
        envoy_path()
    except EnvoyNotFoundError as error:
        return str(error)
    return ""


def needs_envoy() -> None:
    """Skips the test where there is no Envoy, with the reason."""
    if reason := why_no_envoy():
        pytest.skip(reason)


@asynccontextmanager
async def fronted(
    folder: Path, *services: str, limits: Limits | None = None, **options: Any
) -> AsyncIterator[Edge]:
    """Both tiers in front of instances that answer everything."""
    needs_envoy()
    tier = Tier(limits=limits or Limits())
    where = dict.fromkeys(Kind, services)
    async with Edge(CONTRACT, where, folder, front=tier, gateway=tier, **options) as edge:
        yield edge


def free_address() -> str:
    """Returns an address where nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


class Answer(NamedTuple):
    """An answer over HTTP: its status, its headers with lower-case names, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


def post(address: str, path: str, body: object, **headers: str) -> Answer:
    """Sends a body over HTTP/1.1: bytes as they are, all else as JSON."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = HTTPConnection(*split_address(address), timeout=WAIT_SECONDS)
    try:
        connection.request("POST", path, encoded, {"content-type": "application/json", **names})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def opening(account: str, command_id: str) -> dict[str, Any]:
    """Returns a command that opens an account, in JSON."""
    return {"header": {"commandId": command_id}, "accountId": account, "owner": "Ann"}


def depositing(account: str, command_id: str, cents: int = 1) -> dict[str, Any]:
    """Returns a command that puts money into an account, in JSON."""
    return {
        "header": {"commandId": command_id}, "accountId": account, "amountCents": str(cents)
    }  # fmt: skip
