"""Seen from the kernel: an event is on the disk before the first byte of its answer is sent."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bank.v1 import account_pb2 as pb
from eventspine.client.client import Client
from tests.faults.process import running

CALLS = "trace=fdatasync,fsync,pwrite64,pwritev,write,writev,sendmsg,sendto"
STRACE = ("strace", "-D", "-f", "-y", "-s", "65536", "-e", CALLS, "-e", "signal=none")
SYNCED = re.compile(r"^(\d+) +f(?:data)?sync\(\d+<(\S+)>(.*)$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. f(?:data)?sync resumed>\) += 0")


class Trace:
    """The system calls of a platform, in order."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def stored(self, marker: str) -> int:
        """Returns the line that wrote a marker into the write-ahead log."""
        return self._first(0, lambda line: "pwrite" in line and "-wal>" in line and marker in line)

    def answered(self, marker: str, after: int) -> int:
        """Returns the line that sent a marker to a caller."""
        sending = ("sendmsg(", "sendto(", "writev(", "write(")
        return self._first(
            after,
            lambda line: marker in line and any(call in line for call in sending),
        )

    def synced(self, after: int) -> int:
        """Returns the line at which a sync of the write-ahead log that began later had ended."""
        waiting = set()
        for place, line in enumerate(self._lines[after:], after):
            if (found := SYNCED.match(line)) and found.group(2).endswith("-wal"):
                if found.group(3).rstrip().endswith("= 0"):
                    return place
                waiting.add(found.group(1))
            if (found := RESUMED.match(line)) and found.group(1) in waiting:
                return place
        raise AssertionError("the write-ahead log was never synced")

    def _first(self, start: int, wanted: Callable[[str], bool]) -> int:
        for place, line in enumerate(self._lines[start:], start):
            if wanted(line):
                return place
        raise AssertionError("no such system call")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed here")
async def test_an_fsync_of_the_event_ends_before_its_answer_is_sent(tmp_path: Path) -> None:
    traced = tmp_path / "calls.txt"
    markers = [f"marker-{number}" for number in range(5)]
    async with (
        running(tmp_path / "store.db", prefix=(*STRACE, "-o", str(traced))) as platform,
        Client.connect(platform.address) as client,
    ):
        for marker in markers:
            await client.execute(pb.OpenAccountRequest(account_id=marker, owner="Ann"))
        assert (await platform.stop())[0] == 0
    trace = Trace(traced.read_text(errors="replace"))
    for marker in markers:
        stored = trace.stored(marker)
        synced = trace.synced(stored)
        answered = trace.answered(marker, stored)
        assert stored < synced < answered, marker
