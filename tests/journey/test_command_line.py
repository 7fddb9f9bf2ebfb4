"""The command line against a running `eventspine dev`: what it prints, and how it ends."""

import json
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey.command_line import (
    ALICE,
    EVENTSPINE,
    CommandLine,
    Dev,
    run_process,
    settings,
)

BALANCE = "bank.v1.AccountBalance"
NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A platform on a file, in a process of its own, with the account of Alice."""
    running = Dev("--db", tmp_path_factory.mktemp("dev") / "bank.db")
    opened = run_process(
        "send", "bank.v1.OpenAccountRequest", ALICE, "--command-id", "open-alice",
        address=running.address,
    )  # fmt: skip
    paid = run_process(
        "send", "bank.v1.DepositRequest", '{"account_id": "alice", "amount_cents": 5000}',
        address=running.address,
    )  # fmt: skip
    assert (opened.code, paid.code) == (0, 0), opened.err + paid.err
    yield running
    assert running.stop(signal.SIGTERM).code == 0


@pytest.fixture
def cli(dev: Dev, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(dev.address, capsys)


def test_dev_says_where_it_listens_what_it_keeps_and_what_to_try(dev: Dev) -> None:
    printed = "\n".join(dev.lines)
    assert f"listens on {dev.address} (domains: bank, flights)" in printed
    assert "everything is kept in" in printed
    assert f"eventspine tail --from beginning --address {dev.address}" in printed


def test_a_command_sent_again_is_answered_as_replayed(cli: CommandLine) -> None:
    again = cli.at("send", "bank.v1.OpenAccountRequest", ALICE, "--command-id", "open-alice")
    assert again.code == 0
    assert again.out.startswith("account/alice@1: 1 event stored (replayed")
    (answer,) = cli.at(
        "send", "bank.v1.OpenAccountRequest", ALICE, "--command-id", "open-alice", "--json"
    ).lines
    assert answer["replayed"] is True
    assert answer["last_version"] == 1


def test_a_dry_run_says_what_would_be_stored_and_stores_nothing(cli: CommandLine) -> None:
    deposit = '{"account_id": "alice", "amount_cents": 1}'
    told = cli.at("send", "bank.v1.DepositRequest", deposit, "--dry-run")
    assert told.out == "dry run: account/alice would get bank.v1.MoneyDeposited\n"
    (answer,) = cli.at("send", "bank.v1.DepositRequest", deposit, "--dry-run", "--json").lines
    assert answer["would_append"] == ["bank.v1.MoneyDeposited"]
    assert len(cli.at("read", "account/alice", "--json").lines) == 2


def test_a_stream_is_read_in_both_directions_from_any_version(cli: CommandLine) -> None:
    forwards = cli.at("read", "account/alice", "--json").lines
    assert [event["stream_version"] for event in forwards] == [1, 2]
    assert forwards[0]["data"] == json.loads(ALICE)
    assert forwards[0]["command_id"] == "open-alice"
    assert cli.at("read", "account/alice", "--json", "--backwards").lines == forwards[::-1]
    assert cli.at("read", "account/alice", "--json", "--from", "2").lines == forwards[1:]
    assert cli.at("read", "account/alice", "--json", "--limit", "1").lines == forwards[:1]
    people = cli.at("read", "account/alice").out.splitlines()
    assert "account/alice@2" in people[1]
    assert 'MoneyDeposited       {"account_id": "alice", "amount_cents": "5000"}' in people[1]


def test_a_tail_stops_at_its_limit_and_goes_on_from_the_cursor_that_it_prints(
    cli: CommandLine,
) -> None:
    first = cli.at("tail", "--from", "beginning", "--limit", "2", "--json")
    assert [event["stream_version"] for event in first.lines] == [1, 2]
    cursor = first.err.strip().removeprefix("resume with: --from ")
    appended = cli.at("append", "account/tailed", "bank.v1.AccountOpened", "{}")
    assert appended.code == 0
    (event,) = cli.at("tail", "--from", cursor, "--limit", "1", "--json").lines
    assert event["stream"] == "account/tailed"
    filters = ("--category", "account", "--prefix", "account/t", "--type", "bank.v1.AccountOpened")
    (event,) = cli.at("tail", "--from", "beginning", "--limit", "1", "--json", *filters).lines
    assert event["stream"] == "account/tailed"
    by_stream = ("--stream", "account/tailed")
    (event,) = cli.at("tail", "--from", "beginning", "--limit", "1", "--json", *by_stream).lines
    assert event["stream_version"] == 1


def test_a_tail_begins_at_a_version_or_a_time(cli: CommandLine) -> None:
    by_stream = ("--stream", "account/alice", "--limit", "1", "--json")
    (event,) = cli.at("tail", "--from", "2", *by_stream).lines
    assert event["stream_version"] == 2
    (event,) = cli.at("tail", "--from", "1", *by_stream).lines
    assert event["stream_version"] == 1
    (event,) = cli.at("tail", "--from", event["append_time"], "--limit", "1", "--json").lines
    assert event["stream"] == "account/alice"


def test_the_state_is_shown_now_and_at_a_version_and_a_time(cli: CommandLine) -> None:
    (now,) = cli.at("state", "account/alice", "--json").lines
    assert now["state"]["balance_cents"] == "5000"
    (before,) = cli.at("state", "account/alice", "--version", "1", "--json").lines
    assert (before["stream_version"], before["state"]["balance_cents"]) == (1, "0")
    first, _ = cli.at("read", "account/alice", "--json").lines
    (then,) = cli.at("state", "account/alice", "--time", first["append_time"], "--json").lines
    assert then == before
    assert cli.at("state", "account/alice").out.startswith("account/alice@2 bank.v1.Account")


def test_rows_are_shown_whole_by_key_and_up_to_a_limit(cli: CommandLine) -> None:
    (row,) = cli.at("rows", BALANCE, "alice", "--json").lines
    assert (row["owner"], row["balance_cents"]) == ("Alice", "5000")
    assert cli.at("rows", BALANCE, "nobody").out == ""
    assert len(cli.at("rows", BALANCE, "--limit", "1").out.splitlines()) == 1
    assert "owner=Alice" in cli.at("rows", BALANCE, "alice", "--build", "1").out


def test_an_append_expects_what_it_is_told(cli: CommandLine) -> None:
    opened = ("append", "account/expected", "bank.v1.AccountOpened", '{"owner": "E"}')
    assert cli.at(*opened, "--expect", "stream-exists").code == 3
    assert cli.at(*opened, "--expect", "no-stream", "--dry-run").code == 0
    (stored,) = cli.at(*opened, "--expect", "no-stream", "--command-id", "e1", "--json").lines
    assert (stored["stream"], stored["last_version"], stored["command_id"]) == (
        "account/expected", 1, "e1",
    )  # fmt: skip
    refused = cli.at(*opened, "--expect", "no-stream")
    assert refused.code == 3
    assert refused.err.startswith("eventspine: STREAM_VERSION_CONFLICT (ABORTED)")
    assert cli.at(*opened, "--expect", "1").code == 0


def test_a_view_is_built_compared_switched_rolled_back_and_retired(cli: CommandLine) -> None:
    view = "bank.v1.BankTotals"
    (built,) = cli.at("views", "build", view, "--json").lines
    assert (built["build"], built["state"]) == (2, "BUILD_STATE_READY")
    (compared,) = cli.at("views", "compare", view, "2", "--json").lines
    assert (compared["different"], compared["only_serving"]) == ("0", "0")
    assert "rows are the same, 0 differ" in cli.at("views", "compare", view, "2").out
    switched = cli.at("views", "switch", view, "2").out
    assert "build 1  code 1  standby" in switched
    assert "build 2  code 1  serving" in switched
    assert "build 2  code 1  standby" in cli.at("views", "roll-back", view).out
    assert cli.at("views", "retire", view, "1").code == 3
    (left,) = cli.at("views", "retire", view, "2", "--json").lines
    assert [build["build"] for build in left["builds"]] == [1]


def test_a_comparison_in_small_parts_says_what_the_whole_one_says(cli: CommandLine) -> None:
    for name in ("ann", "bea", "cid"):
        opening = json.dumps({"account_id": name, "owner": name})
        assert cli.at("send", "bank.v1.OpenAccountRequest", opening).code == 0
    assert cli.at("views", "build", BALANCE).code == 0
    whole = cli.at("views", "compare", BALANCE, "2")
    assert whole.code == 0
    assert int(whole.out.split()[0]) >= 3
    assert cli.at("views", "compare", BALANCE, "2", "--at-once", "1").out == whole.out
    assert cli.at("views", "retire", BALANCE, "2").code == 0


def test_views_are_listed_paused_and_resumed(cli: CommandLine) -> None:
    listed = cli("views", "--address", cli.address)
    assert listed.code == 0
    assert BALANCE in listed.out.splitlines()
    (paused,) = cli.at("views", "pause", BALANCE, "--json").lines
    assert paused["builds"][0]["paused"] is True
    assert "[paused]" in cli("views", "--address", cli.address).out
    (resumed,) = cli.at("views", "resume", BALANCE, "--json").lines
    assert resumed["builds"][0]["paused"] is False
    statuses = cli("views", "--address", cli.address, "--json").lines
    assert len(statuses) == 7
    assert cli.at("views", "parked", BALANCE).out == "no key is parked\n"
    assert cli.at("views", "parked", BALANCE, "--json").out == ""
    (retried,) = cli.at("views", "retry", BALANCE, "--json").lines
    assert retried == {"released_keys": "0", "parked_keys": "0"}


def test_flights_are_imported_once_in_effect(cli: CommandLine) -> None:
    (first,) = cli.at("import", "flights", "--days", "1", "--json").lines
    assert first["failed"] == first["replayed"] == 0
    assert first["stored"] == first["commands"] > 2_000
    (second,) = cli.at("import", "flights", "--days", "1", "--json").lines
    assert (second["stored"], second["replayed"]) == (0, first["commands"])
    assert "stored before, 0 refused" in cli.at("import", "flights", "--days", "1").out


def test_verify_says_how_much_it_verified(cli: CommandLine) -> None:
    (one,) = cli.at("verify", "account/alice", "--json").lines
    assert (one["streams"], one["records"], one["breaks"]) == ("1", "2", [])
    whole = cli.at("verify")
    assert whole.code == 0
    assert " events are as they were stored; streams: " in whole.out


def test_audit_says_up_to_when_all_is_in_the_log(cli: CommandLine) -> None:
    told = cli.at("audit")
    assert told.code == 0
    assert told.out.startswith("all that was stored before 20")
    (one,) = cli.at("audit", "--json").lines
    assert (one["complete"], one["missing_records"], one["missing"]) == (True, "0", [])
    assert int(one["streams"]) >= 1


def test_schema_prints_the_keyspace_and_a_table_of_each_view(cli: CommandLine) -> None:
    printed = cli("schema", "--keyspace", "bank_store", "--replication", "dc1=3,dc2=2").out
    statements = printed.split(";\n\n")
    assert statements[0] == (
        'CREATE KEYSPACE IF NOT EXISTS "bank_store" WITH replication ='
        " {'class': 'NetworkTopologyStrategy', 'dc1': 3, 'dc2': 2}"
    )
    assert any("rows of view bank.v1.AccountBalance" in text for text in statements)
    assert cli("schema", "--replication", "dc1").code == 2
    assert cli("schema", "--domain", "nowhere:IT").code == 2


def test_doctor_looks_at_the_machine_and_the_file(cli: CommandLine, tmp_path: Path) -> None:
    whole = cli.at("doctor")
    assert whole.code == 0
    assert f"address {cli.address}: something listens here" in whole.out
    text = tmp_path / "text.db"
    text.write_text("not a store")
    told = cli.at("doctor", "--db", text, "--json")
    assert told.code == 1
    assert told.lines[-1]["text"] == "is not a SQLite file; choose another one"
    assert cli("doctor", "--address", "a:b").code == 1
    assert cli("doctor", "--address", "127.0.0.1:99999").code == 1


WRONG_CALLS = (
    (2, "", "Missing argument", ["read"]),
    (2, "", "No such command", ["nope"]),
    (2, "", "No such command", ["views", "nope"]),
    (2, "", "greater than or equal to 1", ["read", "account/alice", "--from", "0"]),
    (2, "", "less than or equal to 365", ["import", "flights", "--days", "366"]),
    (2, "@", "is not a time; write it as", ["state", "account/alice", "--time", "yesterday"]),
    (2, "@", "choose one of", ["state", "a/b", "--time", "2013-01-01T10:00:00Z", "--version", "1"]),
    (2, "@", "knows no message 'bank.v1.Nope'", ["send", "bank.v1.Nope", "{}"]),
    (2, "@", "knows no message 'bank.v1.Nope'", ["append", "account/a", "bank.v1.Nope", "{}"]),
    (2, "@", "not the JSON of a bank.v1.Deposit", ["send", "bank.v1.DepositRequest", "{bad"]),
    (2, "@", "does not begin with {", ["send", "bank.v1.DepositRequest", "[]"]),
    (2, "@", "not the JSON", ["send", "bank.v1.DepositRequest", '{"amount_cents": "many"}']),
    (2, "@", "not the JSON", ["send", "bank.v1.DepositRequest", '{"nope": 1}']),
    (2, "@", "has no header", ["send", "bank.v1.AccountBalance", "{}"]),
    (2, "@", "none of any, no-stream", ["append", "a/b", "bank.v1.MoneyDeposited", "{}",
                                        "--expect", "0"]),
    (3, "@", "account_id: is missing", ["send", "bank.v1.DepositRequest", "{}"]),
    (3, "@", "stream: is 'nonsense'", ["read", "nonsense"]),
    (3, "@", "STREAM_NOT_FOUND", ["read", "account/nobody"]),
    (3, "@", "STREAM_NOT_FOUND", ["state", "account/nobody"]),
    (3, "@", "STREAM_NOT_FOUND", ["verify", "account/nobody"]),
    (3, "@", "has no version 9", ["state", "account/alice", "--version", "9"]),
    (3, "@", "CURSOR_INVALID", ["tail", "--from", "garbage"]),
    (2, "@", "is not a time", ["tail", "--from", "10:00"]),
    (2, "@", "name its stream with --stream", ["tail", "--from", "5"]),
    (2, "@", "the first one is 1", ["tail", "--from", "0", "--stream", "account/alice"]),
    (3, "@", "after_version", ["tail", "--from", "99", "--stream", "account/alice"]),
    (3, "@", "VIEW_NOT_FOUND", ["rows", "bank.v1.Nope"]),
    (3, "@", "the key has 1: account_id", ["rows", BALANCE, "a", "b"]),
    (3, "@", "has no build 9", ["rows", BALANCE, "--build", "9"]),
    (3, "@", "VIEW_NOT_FOUND", ["views", "parked", "Nope"]),
    (3, "@", "VIEW_NOT_FOUND", ["views", "build", "Nope"]),
    (3, "@", "has no build 7", ["views", "compare", BALANCE, "7"]),
    (3, "@", "serves; switch to another", ["views", "retire", BALANCE, "1"]),
    (3, "@", "keeps no build that served before", ["views", "roll-back", BALANCE]),
    (4, NOWHERE, "nothing answers at 127.0.0.1:1", ["read", "account/alice"]),
    (4, NOWHERE, "nothing answers at 127.0.0.1:1", ["import", "flights", "--days", "1"]),
    (2, "127.0.0.1:0", "is not module:ATTRIBUTE", ["dev", "--domain", "shop"]),
    (2, "127.0.0.1:0", "cannot import 'nope'", ["dev", "--domain", "nope:SHOP"]),
    (2, "127.0.0.1:0", "has no 'NOPE'", ["dev", "--domain", "domains.bank.domain:NOPE"]),
    (2, "127.0.0.1:0", "not a Domain", ["dev", "--domain", "os:path"]),
    (2, "127.0.0.1:0", "two domains have it", ["dev", "--domain", "domains.bank.domain:BANK"]),
    (2, "127.0.0.1:0", "make it first", ["dev", "--db", "/nope/bank.db"]),
    (2, "127.0.0.1:0", "give the path of a file", ["dev", "--db", "/tmp"]),
    (2, "127.0.0.1:0", "cannot be opened as a store", ["dev", "--db", "{text}"]),
    (2, "nonsense", "write host:port", ["dev"]),
    (2, "127.0.0.1:99999", "write host:port", ["dev"]),
    (2, "", "is no name of a domain", ["new", "1x"]),
)  # fmt: skip


@pytest.mark.parametrize(
    ("code", "address", "words", "arguments"),
    WRONG_CALLS,
    ids=[" ".join(c[3]) for c in WRONG_CALLS],
)
def test_a_wrong_call_ends_with_its_code_and_a_sentence(
    cli: CommandLine, tmp_path: Path, code: int, address: str, words: str, arguments: list[str]
) -> None:
    text = tmp_path / "text.db"
    text.write_text("not a store, and longer than the header of one would be" * 20)
    arguments = [argument.replace("{text}", str(text)) for argument in arguments]
    where = ["--address", address.replace("@", cli.address)] if address else []
    ran = cli(*arguments, *where)
    assert ran.code == code
    assert words in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err


def test_a_port_that_is_taken_is_named(cli: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = cli("dev", "--address", address)
    assert ran.code == 4
    assert ran.err == (
        f"eventspine: cannot listen on {address}: another process listens there; "
        "stop it or choose another port\n"
    )


def test_a_file_that_another_process_owns_is_named_with_its_owner(
    cli: CommandLine, dev: Dev
) -> None:
    path = next(line for line in dev.lines if "kept in" in line).split("kept in ")[1]
    ran = cli("dev", "--db", path, "--address", "127.0.0.1:0")
    assert ran.code == 4
    assert f"is owned by process {dev.process.pid}" in ran.err


def test_ctrl_c_ends_a_tail_with_130_and_the_cursor_to_go_on_from(dev: Dev) -> None:
    with subprocess.Popen(
        [EVENTSPINE, "tail", "--from", "beginning", "--address", dev.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tail:
        assert tail.stdout is not None
        assert "account/alice@1" in tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        _, err = tail.communicate(timeout=10)
    assert tail.returncode == 130
    assert "resume with: --from " in err
    assert "Traceback" not in err


INTERRUPTED = """
import os, signal, time
from devstack.cli import main

class Interrupted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))

def app(args):
    Interrupted()
    time.sleep(30)

main.app = app
main.main([])
"""
"""A command whose Ctrl-C comes while a destructor runs, as those of the transport's calls do."""


def test_ctrl_c_counts_also_while_a_destructor_runs() -> None:
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], timeout=20, check=False)
    assert ended.returncode == 130


def test_ctrl_c_ends_a_platform_in_order(tmp_path: Path) -> None:
    running = Dev(cwd=tmp_path)
    assert "everything is in memory" in running.lines[1]
    ended = running.stop(signal.SIGINT)
    assert ended == (0, "stopping\n", "")


def test_a_reader_that_leaves_is_no_reason_for_a_stack_trace(dev: Dev) -> None:
    with subprocess.Popen(
        [EVENTSPINE, "read", "account/alice", "--address", dev.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as reading:
        assert reading.stdout is not None
        reading.stdout.close()
        reading.wait(10)
        assert reading.stderr is not None
        assert reading.stderr.read() == ""
    assert reading.returncode == 1


def test_a_platform_that_dies_ends_a_tail_with_a_sentence(tmp_path: Path) -> None:
    running = Dev()
    with subprocess.Popen(
        [EVENTSPINE, "tail", "--from", "beginning", "--address", running.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=settings(),
        text=True,
    ) as tail:
        run_process("append", "account/a", "bank.v1.AccountOpened", "{}", address=running.address)
        assert tail.stdout is not None
        tail.stdout.readline()
        running.stop(signal.SIGKILL)
        _, err = tail.communicate(timeout=10)
    assert tail.returncode == 4
    assert "Traceback" not in err
    assert "UNAVAILABLE" in err


def test_verify_names_the_first_event_of_a_file_that_was_changed_by_hand(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    db = tmp_path / "bank.db"
    running = Dev("--db", db)
    cli = CommandLine(running.address, capsys)
    cli.at("send", "bank.v1.OpenAccountRequest", ALICE)
    for cents in (100, 200, 300):
        data = f'{{"account_id": "alice", "amount_cents": {cents}}}'
        cli.at("send", "bank.v1.DepositRequest", data)
    running.stop(signal.SIGTERM)
    with sqlite3.connect(db) as changed:
        (record,) = changed.execute(
            "SELECT encoded FROM events WHERE stream_version = 3"
        ).fetchone()
        forged = bytes(record).replace(b"\xc8\x01", b"\xc8\x02")
        assert forged != record
        changed.execute("UPDATE events SET encoded = ? WHERE stream_version = 3", [forged])
    changed.close()
    running = Dev("--db", db)
    cli = CommandLine(running.address, capsys)
    try:
        told = cli.at("verify")
        assert told.code == 1
        assert told.out.startswith("account/alice@3: ")
        assert told.out.endswith("streams: 1, of which changed: 1\n")
        (answer,) = cli.at("verify", "account/alice", "--json").lines
        assert [one["stream_version"] for one in answer["breaks"]] == ["3"]
    finally:
        running.stop(signal.SIGTERM)
