"""`eventspine dev --envoy` and `eventspine edge`: the edge as its users start it."""

import asyncio
import shutil
import signal
import socket
from pathlib import Path

import pytest

from devstack.edge.process import validate
from eventspine.rpc.address import split_address
from tests.edge.fronted import OPEN, needs_envoy, opening, post
from tests.journey.command_line import CommandLine, Dev
from tests.journey.user import eventually


@pytest.fixture(autouse=True)
def logs_stay_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a platform keeps of its edge goes where the test's other files are."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def listens(address: str) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(split_address(address)) == 0


def addresses(dev: Dev) -> list[str]:
    """Returns where all processes of the edge listen, as the start has told."""
    (behind,) = [line for line in dev.lines if "behind Envoy" in line]
    return [dev.address, *behind.partition("gateways on ")[2].split(", ")]


@pytest.mark.envoy
async def test_dev_prints_one_address_that_speaks_json_and_takes_all_of_it_with_it() -> None:
    needs_envoy()
    dev = Dev("--envoy")
    front, *gateways = addresses(dev)
    assert len(gateways) == 2
    answer = await asyncio.to_thread(post, front, OPEN, opening("alice", "o1"))
    assert answer.json["result"]["lastVersion"] == "1"
    assert dev.stop(signal.SIGTERM).code == 0
    assert not any(map(listens, (front, *gateways)))


@pytest.mark.envoy
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv to end with its parent")
async def test_no_envoy_is_left_when_dev_is_killed() -> None:
    needs_envoy()
    dev = Dev("--envoy")
    where = addresses(dev)
    dev.stop(signal.SIGKILL)

    async def gone() -> bool:
        return not any(map(listens, where))

    await eventually(gone)


def test_an_address_that_is_taken_is_said_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    needs_envoy()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = CommandLine(address, capsys).at("dev", "--envoy")
    assert ran.code == 4
    assert "Address already in use" in ran.err


@pytest.mark.envoy
def test_the_written_configuration_is_one_that_envoy_reads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    needs_envoy()
    ran = CommandLine("", capsys)(
        "edge", tmp_path / "edge",
        "--command", "command-1:7070", "--command", "command-2:7070", "--query", "query:7070",
        "--processor", "processor:7070", "--gateway", "gateway-1:9090", "--gateway", "[::1]:9090",
        "--origin", r"https://[a-z]+\.example",
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    for line in ran.out.splitlines():
        file = Path(line)
        text = file.read_text()
        assert "0.0.0.0" in text
        asyncio.run(validate(text, tmp_path / file.stem))
    assert "command-2" in (tmp_path / "edge" / "gateway.yaml").read_text()


def test_an_address_that_is_none_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ran = CommandLine("", capsys)(
        "edge", tmp_path, "--command", "nowhere", "--query", "q:1", "--processor", "p:1",
        "--gateway", "g:1",
    )  # fmt: skip
    assert ran.code == 2
    assert "'nowhere' is no address" in ran.err
