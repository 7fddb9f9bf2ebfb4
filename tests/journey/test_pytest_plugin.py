"""Another project's pytest: a platform in a parameter, without anything set up."""

import subprocess
import sys
from pathlib import Path

from tests.journey.command_line import Ran, settings

INI = (
    "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    "filterwarnings = error\n"
)

TESTS = """
import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

from bank.v1.account_pb2 import DepositRequest, OpenAccountRequest
from bank.v1.account_pb2_grpc import AccountCommandsStub
from bank.v1.views_pb2 import GetAccountBalanceRequest
from eventspine.client.errors import CallError
from eventspine.v1.command_pb2 import CommandHeader
from eventspine.v1.query_pb2 import STALE_POLICY_FAIL, QueryHeader
from eventspine.v1.subscription_pb2 import SubscribeRequest

OPEN = OpenAccountRequest(account_id="ann", owner="Ann")


async def test_commands_queries_and_a_subscription_that_stays_open(eventspine):
    await eventspine.client.execute(OPEN)
    done = await eventspine.client.execute(DepositRequest(account_id="ann", amount_cents=5))
    header = QueryHeader(token=done.result.token, stale_policy=STALE_POLICY_FAIL)
    asked = GetAccountBalanceRequest(header=header, account_id="ann")
    assert (await eventspine.client.execute(asked)).row.balance_cents == 5
    types = []
    async for record in eventspine.client.subscribe(SubscribeRequest(beginning=Empty())):
        types.append(record.type)
        if len(types) == 2:
            break
    assert types == ["bank.v1.AccountOpened", "bank.v1.MoneyDeposited"]


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_an_empty_platform_also_without_asyncio(eventspine, turn):
    with grpc.insecure_channel(eventspine.address) as channel:
        request = OpenAccountRequest(
            header=CommandHeader(command_id="c"), account_id="ann", owner="Ann"
        )
        result = AccountCommandsStub(channel).OpenAccount(request).result
        assert (result.last_version, result.replayed) == (1, False)


def test_a_client_needs_a_coroutine(eventspine):
    with pytest.raises(RuntimeError, match="no running event loop"):
        eventspine.client


class TestOtherDomains:
    @pytest.fixture
    def eventspine_domains(self):
        from domains.flights.domain import FLIGHTS

        return [FLIGHTS]

    async def test_the_bank_is_not_hosted(self, eventspine):
        with pytest.raises(CallError, match="UNIMPLEMENTED"):
            await eventspine.client.execute(OPEN)
"""


def run(project: Path, *arguments: str) -> Ran:
    """Runs a project's pytest as its author would."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        env=settings(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def test_a_projects_tests_get_a_platform_each_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_mine.py").write_text(TESTS)
    ran = run(tmp_path)
    assert ran.code == 0, ran.out + ran.err
    assert "5 passed" in ran.out


def test_the_ini_option_says_which_domains_are_hosted(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(
        INI + "eventspine_domains =\n    domains.flights.domain:FLIGHTS\n"
    )
    (tmp_path / "test_mine.py").write_text(TESTS)
    ran = run(tmp_path, "-k", "bank or empty")
    assert ran.code == 1
    assert "1 passed" in ran.out
    assert "StatusCode.UNIMPLEMENTED" in ran.out


def test_a_domain_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(INI + "eventspine_domains = shop.domain:SHOP\n")
    (tmp_path / "test_mine.py").write_text(TESTS)
    ran = run(tmp_path, "-k", "coroutine")
    assert ran.code == 1
    assert "the ini option eventspine_domains: cannot import 'shop.domain'" in ran.out


def test_a_test_run_that_asks_for_no_platform_does_not_load_one(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import sys\n\ndef test_nothing():\n"
        "    assert 'devstack.pytest_plugin' in sys.modules\n"
        "    assert 'grpc' not in sys.modules\n"
    )
    ran = run(tmp_path)
    assert ran.code == 0, ran.out + ran.err
