"""`make drill`: a node is destroyed, a keyspace is dropped, and what came after the last backup.

Each drill goes on under load or right after it, does what an operator would do by the command line,
and is judged by what clients were told before. Ends with 1 if anything is lost or twice.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from devstack.drill.witness import Verdict, Witness
from devstack.stack.platform import front_address, run_platform, settings_for
from devstack.stack.servers import Servers
from devstack.stack.services import Instances
from eventspine.client.client import Client
from eventspine.client.errors import CallError
from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.errors import OutcomeUnknownError
from eventspine.storage.stack import StackSettings
from eventspine.v1.admin_pb2 import ListViewsRequest

LOAD_SECONDS = 6.0
KEYSPACE = "eventspine"
SETTLED_SECONDS = 240.0
POLL_SECONDS = 0.5
DESTROYED = "cassandra-3"


class Report(NamedTuple):
    """What a drill has found.

    Attributes:
        name: What was done.
        verdict: What became of what was acknowledged.
        recovery_point: How old the last thing that came back was when the store was lost, in words.
        recovery_seconds: From the loss until all was served again, views included.
        notes: What else is worth to know.
    """

    name: str
    verdict: Verdict
    recovery_point: str
    recovery_seconds: float
    notes: str


class Drill:
    """The stack that is struck, and who watches it."""

    def __init__(self, servers: Servers, client: Client, address: str, folder: Path) -> None:
        """Drills on running servers; backups go into a folder."""
        self._servers = servers
        self._client = client
        self._address = address
        self._folder = folder
        self.witness = Witness(client)

    async def node_destroyed(self) -> Report:
        """One of three nodes is destroyed with its data under load, and a new one comes."""
        witness = self.witness
        async with witness.writing():
            await asyncio.sleep(LOAD_SECONDS)
            began = time.monotonic()
            await self._servers.replace(DESTROYED)
            took = time.monotonic() - began
            await asyncio.sleep(LOAD_SECONDS)
            gap = witness.longest_gap(began)
        # The others are asked to be quiet, so that the new one has to know.
        verdict = await self._judged()
        notes = f"commands went on, the longest wait for an answer was {gap:.1f} s"
        return Report("a node of three is destroyed", verdict, "nothing was lost", took, notes)

    async def keyspace_dropped(self) -> Report:
        """The keyspace is dropped, and restored from a backup taken just before."""
        async with self.witness.writing():
            await asyncio.sleep(LOAD_SECONDS)
            await self._command("backup", str(self._folder))
        # An incremental one, so that two have to fit together.
        await self._settled()
        await self._command("backup", str(self._folder))
        expired = self.witness.expired
        began = time.monotonic()
        await self._drop()
        await self._command("restore", str(self._folder), "--stack")
        await self._settled()
        took = time.monotonic() - began
        verdict = await self._judged()
        told = "was told CURSOR_EXPIRED" if self.witness.expired > expired else "went on"
        notes = f"the subscription {told}; services came back by themselves"
        return Report("the keyspace is dropped", verdict, "the last backup", took, notes)

    async def later_events_recovered(self) -> Report:
        """The keyspace is dropped, and the events since the last backup are in Kafka only."""
        async with self.witness.writing():
            await asyncio.sleep(LOAD_SECONDS)
        later = len(self.witness.acknowledged)
        await self._settled()
        began = time.monotonic()
        await self._drop()
        told = await self._command("restore", str(self._folder), "--stack", "--recover")
        await self._settled()
        took = time.monotonic() - began
        verdict = await self._judged()
        notes = f"{told.strip()} ({later} answers in all)"
        point = "the last event in Kafka"
        return Report("dropped after the last backup", verdict, point, took, notes)

    async def _command(self, *arguments: str) -> str:
        """Runs `eventspine`, as an operator does."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "devstack.cli.main", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **settings_for(self._servers), "EVENTSPINE_ADDRESS": self._address},
        )
        said, complaints = await process.communicate()
        if process.returncode:
            raise SystemExit(f"eventspine {' '.join(arguments)} failed: {complaints.decode()}")
        return said.decode()

    async def _drop(self) -> None:
        """Drops the keyspace while nobody writes: nodes may disagree on it for long otherwise."""
        services = [c for name, c in self._servers.children.items() if "_svc-" in name]
        await asyncio.gather(*[child.pause() for child in services])
        try:
            await self._drop_alone()
        finally:
            for child in services:
                child.resume()

    async def _drop_alone(self) -> None:
        session = await CassandraSession.open(_settings(self._servers))
        try:
            if await self._dropped(session):
                return
        finally:
            await session.close()
        # A node may fail in the middle of a drop and go on with half of it; reading its schema anew
        # cures that. It is what an operator would do after `nodetool describecluster`.
        for node in self._servers.nodes():
            await self._servers.children[node.name].restart()

    async def _dropped(self, session: CassandraSession) -> bool:
        """Drops the keyspace; returns whether all nodes have taken that over."""
        while True:
            try:
                return await session.define(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
            except OutcomeUnknownError:
                await asyncio.sleep(POLL_SECONDS)

    async def _settled(self) -> None:
        """Waits until every view has all that is in the log, and some time without news."""
        async with asyncio.timeout(SETTLED_SECONDS):
            quiet = 0
            while quiet < 3:
                quiet = quiet + 1 if await self._quiet() else 0
                await asyncio.sleep(POLL_SECONDS)

    async def _quiet(self) -> bool:
        try:
            answer = await self._client.execute(ListViewsRequest(), timeout_seconds=POLL_SECONDS)
        except CallError:
            return False
        builds = [view.builds[-1] for view in answer.views if view.builds]
        return bool(builds) and not any(build.lag_events for build in builds)

    async def _judged(self) -> Verdict:
        await self._settled()
        return await self.witness.judge()


def _settings(servers: Servers) -> StackSettings:
    return StackSettings(
        contact_points=servers.contact_points,
        bootstrap_servers=tuple(servers.bootstrap.split(",")),
        keyspace=KEYSPACE,
        request_timeout_seconds=30.0,
    )


async def drill(say: Callable[[str], None]) -> list[Report]:
    """Starts a stack with three nodes, and drills.

    Raises:
        StackError: It cannot be started here.
    """
    with tempfile.TemporaryDirectory(prefix="eventspine-drill-") as folder:
        async with Servers(nodes=3, brokers=1, quick=True, say=say) as servers:
            address = front_address("127.0.0.1:0")
            await run_platform(servers, Instances(command=2, processor=1, query=1), address=address)
            async with Client.connect(address) as client:
                return await _drills(Drill(servers, client, address, Path(folder) / "backup"), say)


async def _drills(drills: Drill, say: Callable[[str], None]) -> list[Report]:
    reports: list[Report] = []
    following = asyncio.create_task(drills.witness.follow())
    for one in (drills.node_destroyed, drills.keyspace_dropped, drills.later_events_recovered):
        reports.append(await one())
        say(_words(reports[-1]))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return reports


def _words(report: Report) -> str:
    verdict = report.verdict
    lines = [
        f"{report.name}: lost {len(verdict.lost)} of {verdict.looked_at} acknowledged, twice "
        f"{len(verdict.repeated)}, rows wrong {len(verdict.balances_wrong)}",
        f"  recovery point: {report.recovery_point}; time: {report.recovery_seconds:.0f} s",
        f"  {report.notes}",
    ]
    found = [*verdict.lost[:3], *verdict.repeated[:3], *verdict.balances_wrong[:3]]
    return "\n".join([*lines, *(f"  {one}" for one in found)])


def main() -> None:
    """Drills, and exits with 1 if anything was lost."""
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.0f} s  {text}\n")
        sys.stdout.flush()

    reports = asyncio.run(drill(say))
    good = all(report.verdict.good for report in reports)
    say("nothing is lost and nothing is twice" if good else "NOT all is as it was acknowledged")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
