"""The log lines of a running platform: JSON, with the ids by which a caller's doings are found."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from bank.v1.account_pb2 import DepositRequest
from bank.v1.account_pb2_grpc import AccountCommandsStub
from eventspine.v1.command_pb2 import CommandHeader
from eventspine.v1.query_pb2_grpc import QueryServiceStub
from eventspine.v1.subscription_pb2 import SubscribeRequest

DEV = (sys.executable, "-m", "devstack.cli.main", "dev", "--address", "127.0.0.1:0")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A platform in a process of its own that logs from `info` on, and its address."""
    errors = (tmp_path / "stderr").open("w")
    process = subprocess.Popen(
        [*DEV, "--log-level", "info"], stdout=subprocess.PIPE, stderr=errors, text=True
    )
    assert process.stdout is not None
    found = re.search(r"listens on (\S+)", process.stdout.readline())
    assert found is not None
    yield process, found[1]
    process.terminate()
    process.communicate(timeout=20)
    errors.close()


def test_a_refused_command_and_a_subscription_are_found_in_the_log_by_their_ids(
    running: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    process, address = running
    with grpc.insecure_channel(address) as channel:
        header = CommandHeader(command_id="grep-me")
        with pytest.raises(grpc.RpcError):
            AccountCommandsStub(channel).Deposit(DepositRequest(header=header, account_id="nobody"))
        replies = QueryServiceStub(channel).Subscribe(SubscribeRequest(beginning={}))
        subscription_id = next(replies).confirmation.subscription_id
        replies.cancel()
    process.terminate()
    process.wait(timeout=20)
    lines = [json.loads(line) for line in (tmp_path / "stderr").read_text().splitlines()]
    refused = [line for line in lines if line.get("command_id") == "grep-me"]
    assert [(line["level"], line["method"]) for line in refused] == [
        ("INFO", "bank.v1.AccountCommands/Deposit")
    ]
    assert [line["message"] for line in lines if line.get("subscription_id") == subscription_id]
