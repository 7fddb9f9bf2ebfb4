"""One child process; promise: it is ready when a real query is answered, and gone when stopped."""

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from devstack.stack.errors import ChildFailedError
from devstack.stack.ports import check_free

LOG: Final = "out.log"
TAIL_LINES: Final = 30
TAIL_BYTES: Final = 64 * 1024
ERROR_LINES: Final = 5
_ERROR: Final = re.compile(r"ERROR|Exception|Error:")
LOOK_SECONDS: Final = 0.1
ANSWER_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run, and how to know that it is ready.

    Attributes:
        name: Unique among the children of a stack, such as `kafka-1`.
        argv: Program and arguments.
        folder: Its working folder, which exists; its output is appended to `out.log` there.
        ready: Tells whether a real query is answered now. OSError and EOFError count as no.
        addresses: Where it will listen, each host and port; they have to be free.
        env: Environment variables on top of this process's.
        start_seconds: How long it may take to become ready.
        stop_seconds: How long it may take to stop after TERM, before it is killed.
    """

    name: str
    argv: tuple[str, ...]
    folder: Path
    ready: Callable[[], Awaitable[bool]]
    addresses: tuple[tuple[str, int], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = 60.0
    stop_seconds: float = 30.0


class Child:
    """A process that is started, watched and stopped. It belongs to no event loop.

    Attributes:
        spec: What it runs.
    """

    def __init__(self, spec: ChildSpec, note: Callable[[str, int], None]) -> None:
        """Prepares a child; nothing is started.

        Args:
            spec: What to run.
            note: Is told its name and process id each time it is started.
        """
        self.spec = spec
        self._note = note
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, or None while it is not running."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the process is there, paused or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> int:
        """Starts the process and returns its id; `wait_ready` says when it is of use.

        Raises:
            AddressTakenError: Something listens on one of its addresses. Nothing was started.
            ChildFailedError: The program cannot be run. Nothing was started.
        """
        for host, port in self.spec.addresses:
            check_free(self.spec.name, host, port)
        with (self.spec.folder / LOG).open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self.spec.argv,
                    cwd=self.spec.folder,
                    env={**os.environ, **self.spec.env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the launcher, which stops in order
                )
            except OSError as error:
                raise ChildFailedError(self.spec.name, f"cannot be run: {error}") from error
        self._note(self.spec.name, self._process.pid)
        return self._process.pid

    async def wait_ready(self) -> None:
        """Waits until a real query is answered.

        Raises:
            ChildFailedError: The process has ended, or was not ready in `start_seconds`. Where it
                still runs, it goes on: stop it.
        """
        await self.wait(self.spec.ready)

    async def wait(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Waits until something is true of it; an OSError or EOFError counts as not yet.

        Raises:
            ChildFailedError: As `wait_ready`.
        """
        deadline = time.monotonic() + self.spec.start_seconds
        while not await _true(holds):
            self.check()
            if time.monotonic() > deadline:
                seconds = f"{self.spec.start_seconds:.0f} s"
                raise ChildFailedError(
                    self.spec.name, f"was not ready in {seconds}{self.log_tail()}"
                )
            await asyncio.sleep(LOOK_SECONDS)
        self.check()

    async def run_to_end(self) -> None:
        """Starts what ends by itself, and returns when it has.

        Raises:
            ChildFailedError: It has failed, or took longer than `start_seconds` and was killed.
        """
        self.start()
        try:
            ended = await self._gone(self.spec.start_seconds)
        finally:
            await self.kill()
        code = self._code()
        if code != 0:
            how = _how(code) if ended else f", not done in {self.spec.start_seconds:.0f} s"
            raise ChildFailedError(self.spec.name, f"failed{how}{self.log_tail()}")

    def check(self) -> None:
        """Makes sure that it still runs.

        Raises:
            ChildFailedError: It has ended, or was never started.
        """
        if not self.running:
            raise ChildFailedError(self.spec.name, f"ended{_how(self._code())}{self.log_tail()}")

    def _code(self) -> int | None:
        return self._process.poll() if self._process is not None else None

    def log_tail(self) -> str:
        """Returns the last lines of its output, indented, after a line that names the file.

        Before them stand the last ones that tell of an error: a server may log a good deal while it
        goes down.
        """
        path = self.spec.folder / LOG
        try:
            with path.open("rb") as log:
                log.seek(max(0, path.stat().st_size - TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError as error:
            return f"; its log cannot be read: {error}"
        before, tail = lines[:-TAIL_LINES], lines[-TAIL_LINES:]
        errors = [line for line in before if _ERROR.search(line)][-ERROR_LINES:]
        shown = [*errors, "...", *tail] if errors else tail
        return f"; the end of {path}:\n  " + "\n  ".join(shown or ["(empty)"])

    async def stop(self) -> None:
        """Asks it to stop, kills it if it does not, and returns when it is gone."""
        if not self.running:
            return
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        if not await self._gone(self.spec.stop_seconds):
            await self.kill()

    async def kill(self) -> None:
        """Kills it as `kill -9` does, and returns when it is gone."""
        self._signal(signal.SIGKILL)
        await self._gone(float("inf"))

    async def restart(self) -> None:
        """Starts it again, after stopping it if it runs; returns when it is ready.

        Raises:
            AddressTakenError: Something else listens now where it did.
            ChildFailedError: As `wait_ready`.
        """
        await self.stop()
        self.start()
        await self.wait_ready()

    async def pause(self) -> None:
        """Stops it from running, as SIGSTOP does: connections stay open and nothing is answered.

        Returns when all of its threads stand still, which is a little after the signal.
        """
        self._signal(signal.SIGSTOP)
        while self.running and not self._stands_still():  # noqa: ASYNC110 # no event tells
            await asyncio.sleep(LOOK_SECONDS / 10)

    def _stands_still(self) -> bool:
        assert self._process is not None
        asked = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, asked) is not None

    def resume(self) -> None:
        """Lets it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    async def _gone(self, seconds: float) -> bool:
        """Waits until the process has ended, for a time; tells whether it has."""
        deadline = time.monotonic() + seconds
        while self.running and time.monotonic() < deadline:  # noqa: ASYNC110 # no event tells
            await asyncio.sleep(LOOK_SECONDS / 2)
        return not self.running


async def _true(holds: Callable[[], Awaitable[bool]]) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await holds()
    except (OSError, EOFError):
        return False


def _how(code: int | None) -> str:
    if code is None:
        return ""
    if code < 0:
        return f" by signal {signal.Signals(-code).name}"
    return f" with exit code {code}"
