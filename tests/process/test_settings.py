"""Settings of service processes: where they are read from, and what is said of wrong ones."""

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from command_svc.settings import CommandSettings
from eventspine.process.read_settings import Section, read_settings, settings_of
from eventspine.process.settings import ProcessSettings, SettingsError
from eventspine.storage.stack import StackSettings
from query_svc.settings import QuerySettings

SECTIONS = [
    Section(ProcessSettings),
    Section(StackSettings, without=("tenant",)),
    Section(CommandSettings, "command_", without=("tenant",)),
]


def read(
    *, given: dict[str, Any] | None = None, file: Path | None = None, **environment: str
) -> tuple[ProcessSettings, StackSettings, CommandSettings]:
    ours = {f"EVENTSPINE_{name.upper()}": value for name, value in environment.items()}
    return tuple(
        read_settings(SECTIONS, given=given or {}, file=file, environment={"PATH": "/", **ours})
    )


def problems(**said: Any) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read(**said)
    return str(raised.value).splitlines()


def test_without_a_word_all_defaults_hold() -> None:
    assert read() == (ProcessSettings(), StackSettings(), CommandSettings())


def test_each_kind_of_value_is_read_from_the_environment(tmp_path: Path) -> None:
    process, stack, command = read(
        address="127.0.0.1:7071",
        domains="shop.domain:SHOP, tea.domain:TEA",
        log_level="debug",
        drain_seconds="0",
        open_to_strangers="true",
        tls_key_file=str(tmp_path / "key.pem"),
        contact_points="db1,db2:9043",
        replication="dc1:3,dc2:2",
        partitions="8",
        cassandra_tls_ca_file="/etc/ca.pem",
        cassandra_credentials_username="me",
        cassandra_credentials_password="secret",
        command_attempts_max="7",
        query_memo_batches="1",
        test_cassandra="127.0.0.1:1",
    )
    assert process.address == "127.0.0.1:7071"
    assert process.domains == ("shop.domain:SHOP", "tea.domain:TEA")
    assert (process.log_level, process.drain_seconds) == ("debug", 0.0)
    assert process.open_to_strangers is True
    assert process.tls_key_file == tmp_path / "key.pem"
    assert stack.contact_points == ("db1", "db2:9043")
    assert (stack.replication, stack.partitions) == ({"dc1": 3, "dc2": 2}, 8)
    assert stack.cassandra_tls is not None
    assert stack.cassandra_tls.ca_file == Path("/etc/ca.pem")
    assert stack.cassandra_tls.check_hostname is True
    assert stack.cassandra_credentials is not None
    assert stack.cassandra_credentials.password == "secret"
    assert command.attempts_max == 7


def test_the_nearest_word_counts(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('keyspace = "file"\ntenant = "file"\naddress = "127.0.0.1:1"\n')
    process, stack, _ = read(
        given={"address": "127.0.0.1:3"}, file=file, tenant="env", address="127.0.0.1:2"
    )
    assert (stack.keyspace, process.tenant, process.address) == ("file", "env", "127.0.0.1:3")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("settings.toml", 'contact_points = ["a", "b"]\ndrain_seconds = 2.5\n[replication]\nx = 3'),
        (
            "service.env",
            "EVENTSPINE_CONTACT_POINTS=a,b\nEVENTSPINE_DRAIN_SECONDS='2.5'\n"
            "EVENTSPINE_REPLICATION=x:3\nPATH=/bin\n",
        ),
    ],
)
def test_a_file_may_say_everything(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    process, stack, _ = read(file=tmp_path / name)
    assert (stack.contact_points, process.drain_seconds) == (("a", "b"), 2.5)
    assert stack.replication == {"x": 3}


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from file\n")
    said = {
        "cassandra_credentials_username": "me",
        "cassandra_credentials_password_file": str(tmp_path / "password"),
    }
    _, stack, _ = read(**said)
    assert stack.cassandra_credentials is not None
    assert stack.cassandra_credentials.password == "from file"
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "eventspine_kafka_credentials_password").write_text("from folder")
    _, stack, _ = read(kafka_credentials_username="me", secrets_dir=str(folder), **said)
    assert stack.kafka_credentials is not None
    assert stack.kafka_credentials.password == "from folder"
    (problem,) = problems(cassandra_credentials_password_file=str(tmp_path / "none"))
    assert "EVENTSPINE_CASSANDRA_CREDENTIALS_PASSWORD_FILE" in problem
    assert "cannot be read" in problem
    (problem,) = problems(secrets_dir=str(tmp_path / "none"))
    assert "name a folder" in problem


def test_every_wrong_value_is_named_with_its_cure(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('partitions = -1\nreplicaton = "dc1:3"\nquery_memo_batches = 3')
    found = problems(
        file=file,
        drain_seconds="soon",
        log_level="loud",
        command_attempts_max="0",
        replication="dc1",
        adress="127.0.0.1:1",
    )
    assert found == [
        "adress in the environment is no setting; did you mean address?",
        f"replicaton in {file} is no setting; did you mean replication?",
        "log_level (EVENTSPINE_LOG_LEVEL) is 'loud': input should be 'debug', 'info', 'warning' "
        "or 'error'",
        "drain_seconds (EVENTSPINE_DRAIN_SECONDS) is 'soon': input should be a valid number, "
        "unable to parse string as a number",
        "replication (EVENTSPINE_REPLICATION) is 'dc1': write name:number, separated by commas",
        "partitions (EVENTSPINE_PARTITIONS) is -1: input should be greater than 0",
        "command_attempts_max (EVENTSPINE_COMMAND_ATTEMPTS_MAX) is '0': input should be greater "
        "than 0",
    ]


def test_a_secret_is_never_shown() -> None:
    @dataclass(frozen=True)
    class Locked:
        """A class.

        Attributes:
            pin: A number.
        """

        pin: int = field(default=1, repr=False)

    with pytest.raises(SettingsError) as raised:
        read_settings([Section(Locked)], given={"pin": "hunter2"}, file=None, environment={})
    assert "hunter2" not in str(raised.value)
    assert "pin (EVENTSPINE_PIN): input should be a valid integer" in str(raised.value)


def test_half_a_group_is_refused() -> None:
    (problem,) = problems(cassandra_credentials_username="me")
    assert "cassandra_credentials_username, cassandra_credentials_password" in problem
    assert "a needed one is missing" in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [("x = ", "Invalid value"), (None, "No such file"), ("x = 1\nx = 2", "Cannot overwrite")],
)
def test_a_settings_file_that_is_none_is_refused(
    tmp_path: Path, text: str | None, words: str
) -> None:
    file = tmp_path / "settings.toml"
    if text is not None:
        file.write_text(text)
    (problem,) = problems(file=file)
    assert str(file) in problem
    assert words in problem


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"address": "0.0.0.0:7071"}, "open to strangers"),
        ({"address": "nowhere"}, "write host:port"),
        ({"address": ""}, "address is empty"),
        ({"metrics_address": "9100"}, "metrics_address: '9100' is no address"),
        ({"domains": ()}, "domains is empty"),
        ({"tls_certificate_file": Path("c")}, "go together"),
        ({"tls_callers_file": Path("c")}, "needs tls_certificate_file"),
    ],
)
def test_what_does_not_fit_together_is_told(settings: dict[str, Any], words: str) -> None:
    assert any(words in problem for problem in ProcessSettings(**settings).problems())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"address": "[::1]:7071"},
        {"address": "localhost:7071"},
        {"address": "unix:/tmp/x"},
        {"address": "0.0.0.0:7071", "open_to_strangers": True},
        {
            "address": "10.0.0.1:7071",
            "tls_certificate_file": Path("c"),
            "tls_key_file": Path("k"),
            "tls_callers_file": Path("a"),
        },
    ],
)
def test_what_fits_together_is_fine(settings: dict[str, Any]) -> None:
    assert ProcessSettings(**settings).problems() == []


def test_every_setting_has_a_meaning_and_no_two_a_name() -> None:
    sections = [*SECTIONS, Section(QuerySettings, "query_")]
    settings = [setting for section in sections for setting in settings_of(section)]
    assert [setting.name for setting in settings if not setting.help] == []
    assert len({setting.name for setting in settings}) == len(settings)


def test_the_readme_names_settings_that_there_are(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    known = {
        f"EVENTSPINE_{one.name.upper()}" for section in SECTIONS for one in settings_of(section)
    }
    listed = re.findall(r"^\| (`EVENTSPINE_.*?) \|", readme, re.MULTILINE)
    named = {name for row in listed for name in re.findall(r"EVENTSPINE_\w+", row)}
    assert len(named) > 8
    assert named <= known
    (example,) = re.findall(r"^```toml\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    file = tmp_path / "settings.toml"
    file.write_text(example)
    _, stack, _ = read(
        file=file,
        cassandra_credentials_password="one",
        kafka_credentials_password="two",
    )
    assert (stack.replication, stack.create_schema) == ({"dc1": 3}, False)
    assert stack.kafka_credentials is not None
    assert stack.kafka_credentials.username == "shop"


@pytest.mark.parametrize("service", ["command_svc", "processor_svc", "query_svc"])
def test_help_prints_every_setting_and_check_ends_after_looking(
    service: str, tmp_path: Path
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", service, *arguments],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    helped = run("--help")
    assert helped.returncode == 0
    for section in SECTIONS[:2]:
        for setting in settings_of(section):
            assert f"EVENTSPINE_{setting.name.upper()}  (default: " in helped.stdout
    assert ("EVENTSPINE_COMMAND_ATTEMPTS_MAX" in helped.stdout) == (service == "command_svc")
    audited = "EVENTSPINE_PROCESSOR_AUDIT_STREAMS_PER_SECOND  (default: 2000" in helped.stdout
    assert audited == (service == "processor_svc")
    checked = run("--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    file = tmp_path / "settings.toml"
    file.write_text("drain_seconds = -1")
    wrong = run("--check", "--settings", str(file), "--address", "0.0.0.0:1")
    assert wrong.returncode == 2
    name = service.removesuffix("_svc")
    assert wrong.stderr == (
        f"{name}: drain_seconds (EVENTSPINE_DRAIN_SECONDS) is -1: input should be greater than or "
        "equal to 0\n"
    )
    for arguments, words in (
        (("--domain", "shop.domain:SHOP"), "cannot import 'shop.domain'"),
        (("--address", "0.0.0.0:1"), "is open to strangers"),
    ):
        wrong = run("--check", *arguments)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert words in wrong.stderr
        assert "Traceback" not in wrong.stderr
