"""`make run` on two days of flights: what it prints, how it ends, and that it can be repeated."""

import csv
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from devstack.flights_data import flights_file

ROOT = Path(__file__).parents[2]
DAYS = 2


def run(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "devstack.tour", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file of a first run, and what the run printed."""
    db = tmp_path_factory.mktemp("tour") / "new-folder" / "flights.db"
    code, printed = run("--days", str(DAYS), "--db", db)
    assert code == 0, printed
    return db, printed


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of the first days, with one delay a minute longer and one flight left out."""
    with zipfile.ZipFile(flights_file()) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    rows = list(csv.DictReader(io.StringIO(text[:200_000])))
    rows = [row for row in rows[:-1] if row["month"] == "1" and int(row["day"]) <= DAYS]
    rows[0]["dep_delay"] = str(int(rows[0]["dep_delay"]) + 1)
    path = tmp_path_factory.mktemp("planted") / "flights.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row for row in rows if row is not rows[1])
    return path


def test_every_step_of_the_way_is_a_line_that_names_files_which_exist(
    first: tuple[Path, str],
) -> None:
    _, printed = first
    steps = re.findall(r"^(\d)  (\S.*?)  +\S.*\n +by (.*)$", printed, re.MULTILINE)
    assert [(number, name) for number, name, _ in steps] == [
        ("1", "command in"),
        ("2", "decide"),
        ("3", "append"),
        ("4", "publish"),
        ("5", "sequence"),
        ("6", "project"),
        ("7", "query out"),
        ("8", "watch, subscribe"),
    ]
    files = [file for _, _, files in steps for file in files.split(", ")]
    assert len(files) >= 8
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_it_ends_with_totals_that_are_those_of_the_file(first: tuple[Path, str]) -> None:
    _, printed = first
    assert "1,785 flights from 2013-01-01 to 2013-01-02" in printed
    assert "equal the totals counted straight from the CSV" in printed
    assert "5,343 took effect now, 0 at an earlier run, 0 refused" in printed
    assert "the boards are empty" in printed


def test_a_second_run_on_the_file_stores_nothing_and_a_planted_difference_is_found(
    first: tuple[Path, str], planted: Path
) -> None:
    code, printed = run("--days", str(DAYS), "--db", first[0], "--totals-from", planted)
    assert code == 1
    assert "0 took effect now, 5,343 at an earlier run, 0 refused" in printed
    differs = [line for line in printed.splitlines() if line.startswith("DIFFERS  ")]
    assert any("EWR 2013-01-01: departure_delay_sum is" in line for line in differs)
    assert any("LGA 2013-01-01: departures is" in line for line in differs)
    assert any("UA 2013-01: " in line for line in differs)
    assert all("2013-01-02" not in line for line in differs)


def test_a_file_with_more_days_than_asked_for_is_refused_before_anything_is_replayed(
    first: tuple[Path, str],
) -> None:
    code, printed = run("--days", "1", "--db", first[0])
    assert code == 3
    assert "holds 5,343 events, and 1 days of flights are 2,522; choose another file" in printed


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "choose 1 to 365", ["--days", "0", "--db", "x.db"]),
        (2, "one of the arguments --db --address is required", []),
        (
            1,
            "No such file or directory: '/nope.csv'",
            ["--db", "x.db", "--totals-from", "/nope.csv"],
        ),
        (2, "cannot be opened as a store", ["--days", "1", "--db", "{text}"]),
    ],
)
def test_a_wrong_call_ends_with_a_sentence(
    tmp_path: Path, code: int, words: str, arguments: list[str]
) -> None:
    text = tmp_path / "text.db"
    text.write_text("not a store, and longer than a header of one would be" * 20)
    ended, printed = run(*(argument.replace("{text}", str(text)) for argument in arguments))
    assert (ended, words in printed) == (code, True), printed
