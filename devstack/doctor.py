"""Looks at the machine: what is there, what is missing, and how to get it."""

import os
import shutil
import socket
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from eventspine.rpc.address import AddressError, split_address

SQLITE_MIN = (3, 35, 0)
FREE_BYTES_MIN = 2**30
EXTRAS = (
    ("kafka", "confluent_kafka", "the event bus on Kafka"),
    ("cassandra", "cassandra", "the event store on Cassandra"),
    ("dev", "grpc_tools", "`eventspine new` and the tests"),
)


class Finding(NamedTuple):
    """One thing looked at. `verdict` is `ok`, `missing` (something will not work) or `note`."""

    subject: str
    verdict: str
    text: str


def examine(*, address: str, db: Path | None) -> list[Finding]:
    """Looks at Python, SQLite, packages, data, disk, the address and, if given, a file.

    Args:
        address: Where a platform would listen.
        db: A SQLite file to look at; it is not opened for writing.
    """
    return [
        _python(),
        _sqlite(),
        *_packages(),
        _envoy(),
        _flights(),
        _disk(db.parent if db is not None else Path()),
        _listening(address),
        *([_file(db)] if db is not None else []),
    ]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok", found)


def _sqlite() -> Finding:
    found = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        return Finding("sqlite", "missing", f"{found} is too old; use a Python with 3.35 or newer")
    return Finding("sqlite", "ok", found)


def _packages() -> list[Finding]:
    findings = [Finding("eventspine", "ok", version("eventspine"))]
    for name in ("grpcio", "protobuf", "uvloop"):
        try:
            findings.append(Finding(name, "ok", version(name)))
        except PackageNotFoundError:
            findings.append(Finding(name, "note", f"not here; pip install {name}"))
    for extra, module, use in EXTRAS:
        here = find_spec(module) is not None
        text = use if here else f"not here; for {use}: pip install 'eventspine[{extra}]'"
        findings.append(Finding(f"extra {extra}", "ok" if here else "note", text))
    return findings


def _envoy() -> Finding:
    from devstack.edge.binary import EnvoyNotFoundError, envoy_path

    # The binary itself, not its package: our folder of templates has the same name.
    try:
        return Finding("extra envoy", "ok", f"the load balancer and gateways: {envoy_path()}")
    except EnvoyNotFoundError as error:
        return Finding("extra envoy", "note", str(error))


def _flights() -> Finding:
    from devstack.flights_data import FlightsNotFoundError, flights_file

    try:
        return Finding("flight data", "ok", str(flights_file()))
    except FlightsNotFoundError as error:
        return Finding("flight data", "note", str(error))


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder if folder.exists() else Path()).free
    text = f"{free / 2**30:.1f} GiB free"
    if free < FREE_BYTES_MIN:
        return Finding("disk", "missing", f"{text}; a year of flights needs about 1 GiB")
    return Finding("disk", "ok", text)


def _listening(address: str) -> Finding:
    try:
        with socket.create_connection(split_address(address), timeout=1):
            taken = True
    except ConnectionRefusedError:
        taken = False
    except (OSError, AddressError) as error:
        text = f"cannot be reached: {error}"
        return Finding(f"address {address}", "missing", text)
    text = "something listens here" if taken else "free; start a platform with `eventspine dev`"
    return Finding(f"address {address}", "ok" if taken else "note", text)


def _file(db: Path) -> Finding:
    if not db.exists():
        return Finding(str(db), "note", "not there yet; `eventspine dev --db` makes it")
    if not os.access(db, os.R_OK | os.W_OK):
        return Finding(str(db), "missing", "this user may not read and write it")
    with db.open("rb") as file:
        begins = file.read(16)
    if begins != b"SQLite format 3\0":
        return Finding(str(db), "missing", "is not a SQLite file; choose another one")
    return Finding(str(db), "ok", f"{db.stat().st_size:,} bytes")
