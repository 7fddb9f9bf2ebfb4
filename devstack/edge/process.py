"""Runs one Envoy as a child; promise: started it answers, stopped it is gone.

Everything of it lies in one folder: its configuration, its log and its access log.
"""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Final

from devstack.edge.admin import ask
from devstack.edge.binary import envoy_path
from eventspine.rpc.host import PortTakenError

START_SECONDS: Final = 60.0
"""How long a start may take on a machine that has much else to do."""

STOP_SECONDS: Final = 10.0
"""How long a stop may take before the process is killed."""

_LOG_LINES: Final = 20
_FLUSH_MILLISECONDS: Final = 200


class EnvoyFailedError(Exception):
    """Envoy refused its configuration or did not start; the text has the end of its log."""


class EnvoyProcess:
    """One Envoy process.

    Attributes:
        address: Where it listens, `host:port`, once it is started.
        folder: Where its files are.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Prepares a process; nothing is started.

        Args:
            folder: For its files; made when it starts. What an earlier process left is overwritten.
            threads: Worker threads.
        """
        self.address = ""
        self.folder = folder
        self._threads = threads
        self._child: asyncio.subprocess.Process | None = None
        self._admin = ""

    @property
    def access_log(self) -> Path:
        """The file to name as the access log; lines come up to 0.2 s late."""
        return self.folder / "access.log"

    @property
    def log(self) -> Path:
        """What Envoy itself has to say."""
        return self.folder / "envoy.log"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._child is not None and self._child.returncode is None

    @property
    def pid(self) -> int:
        """The process's id, once it is started."""
        assert self._child is not None, "only a process that was started has an id"
        return self._child.pid

    async def start(self, configuration: str) -> str:
        """Starts the process and waits until it takes calls. Returns where it listens.

        Raises:
            EnvoyNotFoundError: There is no Envoy that can be used here.
            EnvoyFailedError: It ended, or was not ready in time. Nothing is left running.
            PortTakenError: Something else listens where it should. Nothing is left running.
        """
        admin = self.folder / "admin"
        file = _write(self.folder, configuration)
        self._child = await asyncio.create_subprocess_exec(
            *_dying_with_us(),
            await asyncio.to_thread(envoy_path),
            *options(file, threads=self._threads),
            *("--admin-address-path", str(admin), "--log-path", str(self.log)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                self._admin = await self._ready(admin)
                self.address = await self._listening()
        except BaseException as error:
            await self.kill()
            if isinstance(error, TimeoutError):
                raise EnvoyFailedError(self._told("was not ready in time")) from None
            raise
        return self.address

    async def statistics(self, pattern: str) -> dict[str, int]:
        """Returns counters and gauges by name; those whose name matches a regular expression."""
        body = await ask(self._admin, f"/stats?format=json&filter={pattern}")
        return {stat["name"]: stat["value"] for stat in json.loads(body)["stats"] if "name" in stat}

    async def drain(self, seconds: float) -> None:
        """Sends callers elsewhere: health says so; `seconds` later connections are asked to end.

        Args:
            seconds: Longer than the interval of the health checks of the tier before.
        """
        await ask(self._admin, "/healthcheck/fail", method="POST")
        await asyncio.sleep(seconds)
        await ask(self._admin, "/drain_listeners?graceful", method="POST")

    async def stop(self) -> None:
        """Ends the process, and calls with it. Stopping one that is not there is fine."""
        if self._child is None:
            return
        if self.running:
            self._child.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._child.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """Ends the process at once, as a crash would."""
        if self._child is not None and self.running:
            self._child.kill()
            await self._child.wait()

    async def _ready(self, admin: Path) -> str:
        """Waits until the process takes calls. Returns the address of its admin page.

        Raises:
            EnvoyFailedError: It ended.
            PortTakenError: It could not listen.
        """
        while True:
            if not self.running:
                text = self._told("did not start")
                kind = PortTakenError if "Address already in use" in text else EnvoyFailedError
                raise kind(text)
            address = _read(admin)
            if address:
                try:
                    if (await ask(address, "/ready")).strip() == "LIVE":
                        return address
                except OSError:
                    # Not yet: the next look tells whether it is still starting.
                    pass
            await asyncio.sleep(0.02)

    async def _listening(self) -> str:
        """Returns where the process listens."""
        listeners = json.loads(await ask(self._admin, "/listeners?format=json"))
        socket = listeners["listener_statuses"][0]["local_address"]["socket_address"]
        return f"{socket['address']}:{socket['port_value']}"

    def _told(self, what: str) -> str:
        """Says what went wrong, with the end of the log."""
        lines = _read(self.log).splitlines()
        return "\n".join([f"envoy {what}; the end of {self.log}:", *lines[-_LOG_LINES:]])


def options(file: Path, *, threads: int = 1) -> tuple[str, ...]:
    """Returns the command line of a process after the program's name.

    Args:
        file: Its configuration.
        threads: Worker threads.
    """
    return (
        *("--config-path", str(file), "--log-level", "warning"),
        *("--concurrency", str(threads), "--disable-hot-restart"),
        *("--file-flush-interval-msec", str(_FLUSH_MILLISECONDS), "--drain-time-s", "1"),
    )


async def validate(configuration: str, folder: Path) -> None:
    """Lets Envoy read a configuration, without starting it.

    Raises:
        EnvoyNotFoundError: There is no Envoy that can be used here.
        EnvoyFailedError: It refuses the configuration; the text says why.
    """
    file = _write(folder, configuration)
    child = await asyncio.create_subprocess_exec(
        await asyncio.to_thread(envoy_path),
        *("--mode", "validate", "--config-path", str(file), "--log-level", "warning"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await child.communicate()
    if child.returncode != 0:
        raise EnvoyFailedError(told.decode(errors="replace"))


def _dying_with_us() -> tuple[str, ...]:
    """Returns what to put before a command so that it ends when we are killed; empty without.

    Otherwise it would go on holding its port, in front of a platform that is gone.
    """
    setpriv = shutil.which("setpriv")
    return () if setpriv is None else (setpriv, "--pdeathsig", "TERM", "--")


def _write(folder: Path, configuration: str) -> Path:
    """Makes a process's folder, without what an earlier process left, and writes its file."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in ("admin", "envoy.log"):
        (folder / left).unlink(missing_ok=True)
    file = folder / "envoy.yaml"
    file.write_text(configuration)
    return file


def _read(file: Path) -> str:
    """Returns what a file holds; nothing where there is none."""
    return file.read_text() if file.exists() else ""
