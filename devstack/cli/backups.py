"""`eventspine backup`, `restore`: what is left when a store is gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devstack.cli.connection import DEFAULT_ADDRESS, Address, Json, connected, line
from devstack.cli.dev import Domains, run_loop
from devstack.cli.failure import EXIT_FOUND, EXIT_UNREACHABLE, CommandLineError, stop
from devstack.cli.interrupts import Interrupts
from devstack.cli.lazy import lazily

if TYPE_CHECKING:
    from eventspine.v1 import admin_pb2, admin_pb2_grpc
else:
    admin_pb2 = lazily("eventspine.v1.admin_pb2")
    admin_pb2_grpc = lazily("eventspine.v1.admin_pb2_grpc")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the backup.")]


def backup(
    folder: Folder,
    every: Annotated[
        float, typer.Option(min=0.0, help="Go on: one more each so many seconds, until Ctrl-C.")
    ] = 0.0,
    age: Annotated[
        bool, typer.Option("--age", help="Take none; tell how old the folder's backup is.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Back up a running platform; into the same folder again, only what has moved."""
    if age:
        _tell_age(folder, as_json=as_json)
        return
    if not every:
        facts = _backed_up(folder, address)
        _tell(facts, _words(facts), as_json=as_json)
        return
    with Interrupts() as interrupts:
        while True:
            try:
                facts = _backed_up(folder, address)
                _tell(facts, _words(facts), as_json=as_json)
            except CommandLineError as error:
                if error.exit_code != EXIT_UNREACHABLE:
                    raise
                # The platform may come back; the backup that is there only grows older.
                typer.echo(f"no backup: {error}; the last one is {_age_words(folder)}", err=True)
            interrupts.check()
            time.sleep(every)


def _tell(facts: dict[str, Any], words: str, *, as_json: bool) -> None:
    typer.echo(line(facts) if as_json else words)


def _backed_up(folder: Path, address: str) -> dict[str, Any]:
    """Takes one backup; returns what it has added, and how old the one before was."""
    from devstack.backup.save import OtherStoreError, save
    from devstack.backup.segment import DamagedBackupError
    from devstack.progress_bar import progress_bar
    from eventspine.storage.errors import OwnedError

    before = _age_seconds(folder)
    with connected(address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        ends = stub.GetStatus(admin_pb2.GetStatusRequest()).ends
        total = sum(end.sequence for end in ends)
        try:
            with progress_bar("backup", total) as bar:
                saved = save(stub, folder, advance=lambda done, left: bar.at(total - left))
        except (OtherStoreError, DamagedBackupError) as error:
            stop(str(error), EXIT_FOUND)
        except OwnedError as error:
            stop(str(error), EXIT_UNREACHABLE)
        except OSError as error:
            stop(f"cannot write the backup: {error}", EXIT_UNREACHABLE)
    return {
        "folder": str(folder),
        "records": saved.records,
        "commands": saved.commands,
        "bytes": saved.size,
        "ends": list(saved.manifest.ends),
        "segments": len(saved.manifest.segments),
        "seconds_since_last": before,
    }


def _words(facts: dict[str, Any]) -> str:
    before = facts["seconds_since_last"]
    after = "" if before is None else f", {before:,.0f} s after the one before"
    return (
        f"{facts['records']:,} events and {facts['commands']:,} commands added"
        f" ({facts['bytes']:,} bytes){after}; {facts['folder']} now holds"
        f" {sum(facts['ends']):,} events in {facts['segments']} segments"
    )


def _tell_age(folder: Path, *, as_json: bool) -> None:
    seconds = _age_seconds(folder)
    if seconds is None:
        stop(f"{folder} holds no finished backup", EXIT_FOUND)
    text = f"the last backup into {folder} is {seconds:,.0f} s old"
    _tell({"folder": str(folder), "age_seconds": seconds}, text, as_json=as_json)


def _age_seconds(folder: Path) -> float | None:
    """Returns how long ago the folder's last backup ended; None where there is none."""
    from devstack.backup.manifest import NoBackupError, read_manifest
    from devstack.backup.segment import DamagedBackupError

    try:
        created = datetime.fromisoformat(read_manifest(folder).created)
    except NoBackupError:
        return None
    except DamagedBackupError as error:
        stop(str(error), EXIT_FOUND)
    return max(0.0, (datetime.now(UTC) - created).total_seconds())


def _age_words(folder: Path) -> str:
    seconds = _age_seconds(folder)
    return "still to come" if seconds is None else f"{seconds:,.0f} s old"


def restore(
    folder: Folder,
    db: Annotated[
        Path | None, typer.Option(help="The SQLite file to make; it must not hold events.")
    ] = None,
    stack: Annotated[
        bool,
        typer.Option(
            "--stack",
            help="Into the keyspace that the environment names, as for a service; it must not"
            " hold events. Its topics are made empty.",
        ),
    ] = False,
    recover: Annotated[
        bool,
        typer.Option("--recover", help="With --stack: also what the topics hold that came later."),
    ] = False,
    domain: Domains = None,
    as_json: Json = False,
) -> None:
    """Restore a backup into an empty store: verify every stream, and build the views anew."""
    if stack == (db is not None):
        stop("say where to: --db FILE, or --stack")
    if recover and not stack:
        stop("only a stack has topics to recover from; say --stack too")
    with _failures():
        if db is None:
            facts, words = _into_stack(folder, recover=recover)
        else:
            facts, words = _into_file(folder, db, domain or ())
    _tell(facts, words, as_json=as_json)


@contextmanager
def _failures() -> Iterator[None]:
    """Turns what may be wrong with a backup or a store into words and exit codes."""
    from devstack.backup.manifest import NoBackupError
    from devstack.backup.restore import UnfitBackupError
    from devstack.backup.segment import DamagedBackupError
    from eventspine.storage import errors

    try:
        yield
    except (DamagedBackupError, NoBackupError, UnfitBackupError, errors.NotEmptyError) as error:
        stop(str(error), EXIT_FOUND)
    except (errors.RestoreOrderError, errors.ChainBrokenError) as error:
        stop(f"cannot restore: {error}", EXIT_FOUND)
    except (
        errors.StackSetupError,
        errors.BusSetupError,
        errors.StoreUnavailableError,
        errors.OutcomeUnknownError,
        OSError,
    ) as error:
        stop(f"cannot restore: {error}", EXIT_UNREACHABLE)


def _into_file(folder: Path, db: Path, domains: tuple[str, ...] | list[str]) -> tuple[Any, str]:
    from devstack.backup.restore import restore_backup
    from eventspine.process.domains import SHIPPED, find_domains

    told: list[tuple[Any, str]] = []

    async def work() -> None:
        restored = await restore_backup(folder, db, find_domains((*SHIPPED, *domains)))
        told.append(
            (
                {"db": str(db), **restored._asdict()},
                f"{restored.records:,} events of {restored.streams:,} streams and"
                f" {restored.commands:,} commands restored into {db}; every version and chain"
                f" verified, {restored.views} views built",
            )
        )

    run_loop(work())
    return told[0]


def _into_stack(folder: Path, *, recover: bool) -> tuple[Any, str]:
    from devstack.backup.restore_stack import restore_stack
    from eventspine.process.settings import SettingsError
    from eventspine.process.stack_settings import read_stack_settings

    try:
        settings = read_stack_settings()
    except SettingsError as error:
        stop(str(error))
    told: list[tuple[Any, str]] = []

    async def work() -> None:
        restored = await restore_stack(folder, settings, recover=recover)
        words = (
            f"{restored.records:,} events and {restored.commands:,} commands restored into keyspace"
            f" {settings.keyspace}, and {restored.recovered:,} later events from Kafka; all"
            f" {restored.streams:,} streams were read again, every version and chain verified; the"
            " processors build the views"
        )
        if restored.unfit:
            words += f". {restored.unfit:,} events in Kafka do not follow: one before is gone"
        told.append(({"keyspace": settings.keyspace, **restored._asdict()}, words))

    run_loop(work())
    return told[0]
