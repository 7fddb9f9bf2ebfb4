"""The README's commands and its client, run from top to bottom as a new user would."""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guide import blocks, commands
from tests.journey.command_line import CommandLine, Dev, settings

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text()
COMMANDS = commands(TEXT)
(CLIENT,) = blocks(TEXT, "python")
LINKS = re.findall(r"\]\(([^)#:]+)\)", TEXT)
PATHS = re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?)`", TEXT)
MADE_BY_A_COMMAND = {"shop/"}


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    platform = Dev("--db", "bank.db", cwd=tmp_path)
    yield platform
    platform.stop(signal.SIGTERM)


@pytest.fixture
def cli(dev: Dev, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(dev.address, capsys)


def test_every_command_of_the_readme_does_what_it_says(
    dev: Dev, tmp_path: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTSPINE_ADDRESS", dev.address)
    mine = [command for command in COMMANDS if not command.startswith("make ")]
    assert len(mine) > 15
    for command in mine:
        folder, _, rest = command.rpartition(" && ")
        monkeypatch.chdir(tmp_path / folder.removeprefix("cd "))
        name, *arguments = shlex.split(rest)
        if name == "python":
            if arguments[1].endswith("_svc"):
                # A service goes on until it is stopped; what it is told is looked at.
                arguments.append("--check")
            done = subprocess.run([sys.executable, *arguments], env=settings(), check=False)
            assert done.returncode == 0, command
        elif arguments[0] == "dev":
            # It goes on until it is stopped, so it is enough that it becomes ready.
            assert Dev(*arguments[1:], cwd=Path.cwd()).stop(signal.SIGTERM).code == 0
        else:
            assert name == "eventspine"
            ran = cli(*arguments)
            assert ran.code == 0, f"{command}\n{ran.out}{ran.err}"


def test_the_targets_of_the_readme_are_in_the_makefile() -> None:
    targets = {shlex.split(command)[1] for command in COMMANDS if command.startswith("make ")}
    assert targets
    makefile = (README.parent / "Makefile").read_text()
    assert all(f"\n{target}: " in makefile for target in targets)


def test_the_client_of_the_readme_prints_events(dev: Dev, tmp_path: Path, cli: CommandLine) -> None:
    account = '{"account_id": "alice", "owner": "Alice"}'
    sent = cli("send", "bank.v1.OpenAccountRequest", account, "--address", dev.address)
    assert sent.code == 0
    assert '"127.0.0.1:7070"' in CLIENT
    client = subprocess.Popen(
        [sys.executable, "-u", "-c", CLIENT.replace("127.0.0.1:7070", dev.address)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "account/alice 1 bank.v1.AccountOpened\n"
    finally:
        client.kill()
        client.communicate()


def test_every_file_and_folder_that_the_readme_names_is_there() -> None:
    assert len(LINKS) > 3
    assert len(PATHS) > 15
    missing = [
        name for name in {*LINKS, *PATHS} - MADE_BY_A_COMMAND if not (README.parent / name).exists()
    ]
    assert missing == []
