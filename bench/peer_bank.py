"""The peer: the same bank on the `eventsourcing` library and SQLite, run in its own environment.

It reads one JSON object a line from standard input and answers each with one. It imports nothing of
this repository. What it does is what the library's documentation does: an `Application` with an
aggregate cache, `repository.get`, a command method that triggers an event, `save`; and for a view a
tracking recorder that writes the row and the position in one transaction for each event. (SQLite
recorders of the library have no subscriptions, so that `ProjectionRunner` cannot be used; the
notification log is read in sections, as its `SingleThreadedRunner` does.)
"""

import json
import sqlite3
import sys
import threading
import time
from importlib.metadata import version
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.sqlite import SQLiteDatastore, SQLiteTrackingRecorder

SECTION = 500


class Account(Aggregate):
    """An account; every deposit is an event."""

    def __init__(self, owner: str) -> None:
        """Opens it."""
        self.owner = owner
        self.balance_cents = 0

    @event("Deposited")
    def deposit(self, amount_cents: int) -> None:
        """Puts money in."""
        self.balance_cents += amount_cents


class Bank(Application):
    """Accounts."""

    def deposit(self, account_id: UUID, amount_cents: int) -> None:
        """Puts money into an account and stores that."""
        account = self.repository.get(account_id)
        account.deposit(amount_cents)
        self.save(account)


class Balances(SQLiteTrackingRecorder):
    """A view: the balance of each account, with the place it has come to."""

    def construct_create_table_statements(self) -> list[str]:
        """Adds the view's table."""
        statements = super().construct_create_table_statements()
        statements.append(
            "CREATE TABLE IF NOT EXISTS balances (account TEXT PRIMARY KEY, cents INTEGER)"
        )
        return statements

    def add(self, account_id: UUID, cents: int, tracking: Tracking) -> None:
        """Changes a balance and the place, in one transaction."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "INSERT INTO balances VALUES (?, ?)"
                " ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents",
                (account_id.hex, cents),
            )


class Bench:
    """The application in a file, its view in another one."""

    def __init__(self, path: str, accounts: int) -> None:
        """Opens the accounts."""
        self.path = path
        self.bank = Bank(
            env={
                "PERSISTENCE_MODULE": "eventsourcing.sqlite",
                "SQLITE_DBNAME": path,
                "SQLITE_LOCK_TIMEOUT": "60",
                "AGGREGATE_CACHE_MAXSIZE": str(2 * accounts),
                # One process owns the file and each account has one thread: no need to look again.
                "AGGREGATE_CACHE_FASTFORWARD": "n",
                "DEEPCOPY_FROM_AGGREGATE_CACHE": "n",
            }
        )
        self.accounts = [uuid5(NAMESPACE_URL, f"account/{number}") for number in range(accounts)]
        for number in range(accounts):
            account = Account(owner=f"Owner {number}")
            self.accounts[number] = account.id
            self.bank.save(account)
        self.view = Balances(SQLiteDatastore(f"{path}.view", lock_timeout=60))
        self.view.create_table()
        self.next = 0

    def save(self, count: int, threads: int) -> dict[str, object]:
        """Deposits, each thread into accounts of its own."""
        before = self._end()
        shares = [self._share(count, threads, number) for number in range(threads)]
        workers = [threading.Thread(target=self._deposit, args=(share,)) for share in shares]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "stored": self._end() - before}

    def save_and_follow(self, count: int, threads: int) -> dict[str, object]:
        """Deposits while the view follows in a thread of its own, until it has seen all."""
        self.follow()
        before = self.view.max_tracking_id("bank") or 0
        began = time.perf_counter()
        follower = threading.Thread(target=self._follow_to, args=(before + count,))
        follower.start()
        self.save(count, threads)
        follower.join()
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "stored": (self.view.max_tracking_id("bank") or 0) - before}

    def follow(self) -> dict[str, object]:
        """Lets the view catch up."""
        before = self.view.max_tracking_id("bank") or 0
        began = time.perf_counter()
        self._follow_to(self._end())
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "stored": (self.view.max_tracking_id("bank") or 0) - before}

    def _share(self, count: int, threads: int, number: int) -> list[UUID]:
        own = self.accounts[number::threads]
        return [own[turn % len(own)] for turn in range(len(range(number, count, threads)))]

    def _deposit(self, share: list[UUID]) -> None:
        for account_id in share:
            self.bank.deposit(account_id, 100)

    def _follow_to(self, end: int) -> None:
        place = self.view.max_tracking_id("bank") or 0
        while place < end:
            notifications = self.bank.recorder.select_notifications(place + 1, SECTION)
            for notification in notifications:
                happened = self.bank.mapper.to_domain_event(notification)
                cents = getattr(happened, "amount_cents", 0)
                tracking = Tracking("bank", notification.id)
                self.view.add(happened.originator_id, cents, tracking)
                place = notification.id

    def _end(self) -> int:
        return self.bank.recorder.max_notification_id() or 0


def versions() -> dict[str, str]:
    """Returns what runs here."""
    connection = sqlite3.connect(":memory:")
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    return {
        "versions": f"eventsourcing {version('eventsourcing')}, SQLite {sqlite3.sqlite_version}, "
        f"synchronous {synchronous}"
    }


def main() -> None:
    """Answers requests until there are no more."""
    bench = Bench(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        request = json.loads(line)
        work = {
            "save": bench.save,
            "save_and_follow": bench.save_and_follow,
            "follow": bench.follow,
            "versions": versions,
        }[request.pop("work")]
        sys.stdout.write(json.dumps(work(**request)) + "\n")
        sys.stdout.flush()
    bench.bank.close()


if __name__ == "__main__":
    main()
