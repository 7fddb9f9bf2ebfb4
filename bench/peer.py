"""D8: the pip package `eventsourcing` on SQLite, in an environment and a process of its own.

The process is `bench.peer_bank`, run by its path, since nothing of ours is installed there.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.accounts import ACCOUNTS
from bench.rounds import Half

ENVIRONMENT = Path(".venv-peer")
CONSTRAINTS = Path("constraints-peer.txt")
THREADS = (1, 2, 4, 8)


class Peer:
    """The peer's process; a context manager.

    Attributes:
        versions: What the peer runs on.
    """

    def __init__(self, folder: Path) -> None:
        """Prepares a folder for the peer's files; makes its environment where there is none."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "peer.db"
        self._python = _environment()
        self._process: subprocess.Popen[str]
        self.versions = ""

    def __enter__(self) -> "Peer":
        """Starts the process, which opens its accounts."""
        script = Path(__file__).with_name("peer_bank.py")
        self._process = subprocess.Popen(
            [str(self._python), str(script), str(self._path), str(ACCOUNTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions = self._ask(work="versions")["versions"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def best_threads(self, count: int = 400) -> int:
        """Returns the number of threads with which the peer saves fastest."""
        halves = {threads: self.save(count, threads=threads) for threads in THREADS}
        return max(halves, key=lambda threads: halves[threads].per_second)

    def save(self, count: int, *, threads: int) -> Half:
        """Saves events one at a time in so many threads."""
        answer = self._ask(work="save", count=count, threads=threads)
        return Half(count, answer["seconds"], answer["stored"])

    def save_and_follow(self, count: int, *, threads: int) -> Half:
        """Saves events while a view follows, until the view has them all."""
        answer = self._ask(work="save_and_follow", count=count, threads=threads)
        return Half(count, answer["seconds"], answer["stored"])

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _environment() -> Path:
    """Makes the peer's environment; returns its Python."""
    python = ENVIRONMENT / "bin" / "python"
    made = ENVIRONMENT / ".made"
    wanted = CONSTRAINTS.read_text()
    if not made.exists() or made.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        install = (
            *(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", "-r", str(CONSTRAINTS)),
        )
        subprocess.run(install, check=True)
        made.write_text(wanted)
    return python
