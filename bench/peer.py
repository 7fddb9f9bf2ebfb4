"""D8: the pip package `eventsourcing` on SQLite: `peer_bank.py` in an environment of its own."""

from pathlib import Path
from types import TracebackType

from bench.accounts import ACCOUNTS
from bench.peer_process import PeerProcess
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
        """Prepares a folder for the peer's files."""
        folder.mkdir(parents=True, exist_ok=True)
        arguments = [str(folder / "peer.db"), str(ACCOUNTS)]
        self._process = PeerProcess(
            "bench.peer_bank", arguments, environment=ENVIRONMENT, pins=CONSTRAINTS
        )
        self.versions = ""

    def __enter__(self) -> "Peer":
        """Starts the process, which opens its accounts."""
        self._process.__enter__()
        self.versions = self._process.ask(work="versions")["versions"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the process."""
        self._process.__exit__(kind, error, trace)

    def best_threads(self, count: int = 400) -> int:
        """Returns the number of threads with which the peer saves fastest."""
        halves = {threads: self.save(count, threads=threads) for threads in THREADS}
        return max(halves, key=lambda threads: halves[threads].per_second)

    def save(self, count: int, *, threads: int) -> Half:
        """Saves events one at a time in so many threads."""
        answer = self._process.ask(work="save", count=count, threads=threads)
        return Half(count, answer["seconds"], answer["stored"])

    def save_and_follow(self, count: int, *, threads: int) -> Half:
        """Saves events while a view follows, until the view has them all."""
        answer = self._process.ask(work="save_and_follow", count=count, threads=threads)
        return Half(count, answer["seconds"], answer["stored"])
