"""`eventspine new` writes a domain that works at once, whatever its name is."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from devstack.contract_files import proto_root
from devstack.new_domain import NewDomainError, create_domain
from devstack.stubs import StubsError, make_stubs

SCRIPTS = Path(sysconfig.get_path("scripts"))

FILES = {
    ".gitignore",
    "README.md",
    "conftest.py",
    "gift_card_domain/__init__.py",
    "gift_card_domain/aggregate.py",
    "gift_card_domain/domain.py",
    "gift_card_domain/summary.py",
    "gift_card_domain/totals.py",
    "protos/gift_card/v1/commands.proto",
    "protos/gift_card/v1/views.proto",
    "pyproject.toml",
    "tests/test_gift_card.py",
}


def run(*arguments: str | Path, cwd: Path) -> str:
    # The project's own settings count, not those that this test run was started with.
    settings = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def test_a_new_domain_passes_its_tests_at_once(tmp_path: Path) -> None:
    project = tmp_path / "shop"
    create_domain("gift_card", project)
    output = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    assert "13 passed" in output
    assert "warning" not in output


def test_all_files_are_written_and_named(tmp_path: Path) -> None:
    written = create_domain("gift_card", tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in written} == FILES
    assert all("<<" not in path.read_text() for path in written)
    assert (tmp_path / "gift_card" / "v1" / "commands_pb2_grpc.py").is_file()


@pytest.mark.parametrize("name", ["oz", "gift_card", "extraordinarily_long_name"[:24]])
def test_what_is_written_is_formatted_and_free_of_findings(tmp_path: Path, name: str) -> None:
    project = tmp_path / "project"
    create_domain(name, project)
    run(SCRIPTS / "ruff", "check", "--no-cache", ".", cwd=project)
    run(SCRIPTS / "ruff", "format", "--no-cache", "--check", ".", cwd=project)
    module = tmp_path / "module"
    module.mkdir()
    (module / "buf.yaml").write_text((proto_root() / "buf.yaml").read_text())
    (module / "eventspine").symlink_to(proto_root() / "eventspine")
    (project / "protos" / name).rename(module / name)
    run(SCRIPTS / "buf", "lint", "--path", name, cwd=module)
    run(SCRIPTS / "buf", "format", "--diff", "--exit-code", "--path", name, cwd=module)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is no name of a domain"),
        ("Shop", "lower-case letters"),
        ("1shop", "lower-case letters"),
        ("gift-card", "joined by _"),
        ("gift__card", "joined by _"),
        ("_shop", "joined by _"),
        ("../shop", "lower-case letters"),
        ("a" * 25, "up to 24"),
        ("class", "word of Python's own"),
        ("match", "word of Python's own"),
        ("bank", "exists already"),
        ("eventspine", "exists already"),
        ("google", "exists already"),
        ("json", "exists already"),
        ("grpc", "exists already"),
        ("tests", "exists already"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(NewDomainError, match=words):
        create_domain(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_not_empty_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(NewDomainError, match="is not empty; name an empty or new folder"):
        create_domain("shop", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(NewDomainError, match="is a file; name a folder"):
        create_domain("shop", tmp_path / "mine.txt")


def test_stubs_are_made_only_where_a_proto_is_newer(tmp_path: Path) -> None:
    create_domain("shop", tmp_path)
    assert make_stubs(tmp_path) is False
    proto = tmp_path / "protos" / "shop" / "v1" / "views.proto"
    later = proto.stat().st_mtime_ns + 10**10
    os.utime(proto, ns=(later, later))
    assert make_stubs(tmp_path) is True


def test_stubs_of_a_proto_that_is_gone_are_removed(tmp_path: Path) -> None:
    create_domain("shop", tmp_path)
    orphan = tmp_path / "shop" / "v1" / "old_pb2.py"
    orphan.write_text("")
    own = tmp_path / "shop" / "v1" / "own.py"
    own.write_text("")
    make_stubs(tmp_path)
    assert (orphan.exists(), own.exists()) == (False, True)


def test_a_proto_that_protoc_refuses_is_an_error_and_the_old_stubs_stay(tmp_path: Path) -> None:
    create_domain("shop", tmp_path)
    stub = tmp_path / "shop" / "v1" / "views_pb2.py"
    before = stub.read_text()
    proto = tmp_path / "protos" / "shop" / "v1" / "views.proto"
    later = proto.stat().st_mtime_ns + 10**10
    proto.write_text(proto.read_text() + "message {")
    os.utime(proto, ns=(later, later))
    with pytest.raises(StubsError, match="protoc refuses"):
        make_stubs(tmp_path)
    assert stub.read_text() == before


def test_a_project_without_protos_has_no_stubs(tmp_path: Path) -> None:
    with pytest.raises(StubsError, match="no proto file in"):
        make_stubs(tmp_path)
