"""Service processes that start quickly, because what they import was imported once for all.

A process of its own imports the services and then forks one of them for each request. From there on
they run as `python -m command_svc` does: same entry, same settings from the environment, same
signals, same exit codes. Each dies with the process that has forked it.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
HOUR_SECONDS = 3600
_DIE_WITH_PARENT = 1


class Forking:
    """The process that forks; to be used by one thread."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stack.forking"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def start(self, service: str, settings: Mapping[str, str], log: Path) -> "Forked":
        """Starts a service whose output goes to a file; `settings` are added to the environment.

        Its clock goes wrong on the signals USR1, an hour ahead, and USR2, an hour behind.
        """
        return Forked(
            self, self.ask({"service": service, "settings": dict(settings), "log": str(log)}), log
        )

    def ask(self, request: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends it and all that it has forked and that is still there."""
        self._process.communicate(timeout=60)


class Forked:
    """One forked service process."""

    def __init__(self, forking: Forking, pid: int, log: Path) -> None:
        self._forking = forking
        self._code: int | None = None
        self._asked = False
        self.pid = pid
        self.log = log

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self._code is None:
            self._code = self._forking.ask({"wait": self.pid})
        return self._code

    def signal(self, number: int) -> None:
        """Sends a signal; asking twice to stop would end it at once, so it is asked once."""
        if self.code is None and not (number == signal.SIGTERM and self._asked):
            os.kill(self.pid, number)
            self._asked |= number == signal.SIGTERM


def _forked(request: Mapping[str, Any]) -> NoReturn:
    """Becomes the service that is asked for."""
    from eventspine.process.entry import main

    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    os.environ.update(request["settings"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, number)
    _let_clock_go_wrong()
    code = 1
    try:
        main(_services()[request["service"]], [])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _let_clock_go_wrong() -> None:
    right, right_ns, seconds = time.time, time.time_ns, 0

    def shift(number: int, _: object) -> None:
        nonlocal seconds
        seconds = HOUR_SECONDS if number == signal.SIGUSR1 else -HOUR_SECONDS

    def now() -> float:
        # The transport compares with a deadline that its code in C takes from the right clock.
        caller = sys._getframe(1).f_globals["__name__"]
        return right() + (0 if caller.startswith(("grpc", "eventspine.rpc")) else seconds)

    time.time = now
    time.time_ns = lambda: right_ns() + seconds * 10**9
    signal.signal(signal.SIGUSR1, shift)
    signal.signal(signal.SIGUSR2, shift)


def _services() -> dict[str, Any]:
    import command_svc.__main__
    import processor_svc.__main__
    import query_svc.__main__

    modules = (command_svc.__main__, processor_svc.__main__, query_svc.__main__)
    return {module.__package__: module.SERVICE for module in modules}


def _waited(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _serve() -> None:
    # What takes long to import, the drivers with it.
    import cassandra.cluster  # noqa: F401
    import confluent_kafka  # noqa: F401
    import uvloop  # noqa: F401

    import domains.bank.domain
    import domains.flights.domain  # noqa: F401

    _services()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = _waited(request["wait"])
            if answer is not None:
                running.discard(request["wait"])
        else:
            answer = os.fork()
            if not answer:
                _forked(request)
            running.add(answer)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    _serve()
