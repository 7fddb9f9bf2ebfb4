"""`eventspine backup` that goes on, and how old a backup is; what `restore` is not told twice."""

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from devstack.cli.interrupts import Interrupts
from tests.journey.command_line import ALICE, EVENTSPINE, CommandLine, Dev, run_process, settings

SECONDS = 60


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine("127.0.0.1:1", capsys)


def test_a_backup_goes_on_until_it_is_stopped_also_while_the_platform_is_away(
    tmp_path: Path,
) -> None:
    dev, folder = Dev("--db", tmp_path / "bank.db"), tmp_path / "backup"
    run_process("send", "bank.v1.OpenAccountRequest", ALICE, address=dev.address)
    with subprocess.Popen(
        [EVENTSPINE, "backup", folder, "--every", "0.1", "--json"],
        env=settings(EVENTSPINE_ADDRESS=dev.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as going_on:
        try:
            assert going_on.stdout is not None
            assert going_on.stderr is not None
            first, second = [json.loads(going_on.stdout.readline()) for _ in range(2)]
            assert (first["records"], first["seconds_since_last"]) == (1, None)
            assert (second["records"], second["ends"]) == (0, [1])
            assert 0 <= second["seconds_since_last"] < SECONDS
            assert dev.stop(signal.SIGTERM).code == 0
            line = next(line for line in going_on.stderr if "no backup: " in line)
            assert "the last one is" in line
            going_on.send_signal(signal.SIGINT)
            assert going_on.wait(SECONDS) == 130
        finally:
            going_on.kill()
    aged = run_process("backup", folder, "--age", "--json", address=dev.address)
    assert (aged.code, aged.lines[0]["folder"]) == (0, str(folder))
    assert 0 <= aged.lines[0]["age_seconds"] < SECONDS


def test_a_folder_without_a_backup_has_no_age(cli: CommandLine, tmp_path: Path) -> None:
    told = cli("backup", tmp_path, "--age")
    assert (told.code, told.err) == (1, f"eventspine: {tmp_path} holds no finished backup\n")


@pytest.mark.parametrize("where", [(), ("--db", "x.db", "--stack")], ids=["nowhere", "both"])
def test_a_restore_is_told_where_to_once(
    cli: CommandLine, tmp_path: Path, where: tuple[str, ...]
) -> None:
    told = cli("restore", tmp_path, *where)
    assert (told.code, told.err) == (2, "eventspine: say where to: --db FILE, or --stack\n")


def test_only_a_stack_has_topics_to_recover_from(cli: CommandLine, tmp_path: Path) -> None:
    told = cli("restore", tmp_path, "--db", "x.db", "--recover")
    assert told.code == 2
    assert "say --stack too" in told.err


class _Dropping:
    """Is interrupted while it is destroyed, and drops that, as a channel of the transport does."""

    def __del__(self) -> None:
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stop_that_a_destructor_drops_is_not_lost() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        interrupts.check()
        dropping = _Dropping()
        del dropping
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), signal.SIGINT)
