"""`eventspine dev --domain` with an author's own code: what is wrong is said with file and line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.new_domain import create_domain
from devstack.stubs import make_stubs, newer_proto

DEV = (sys.executable, "-m", "devstack.cli.main", "dev", "--address", "127.0.0.1:0")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    create_domain("tea", folder)
    return folder


def failed(project: Path, domain: str = "tea_domain.domain:TEA") -> str:
    done = subprocess.run(
        [*DEV, "--domain", domain],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("def decide_create(", "def decide_create((", "was never closed"),
        ("evolve_archived,", "evolve_archivd,", "NameError: name 'evolve_archivd'"),
        ('category="tea",', 'categry="tea",', "unexpected keyword argument 'categry'"),
        ("import Aggregate,", "import Agregate,", "cannot import name 'Agregate'"),
    ],
)
def test_code_that_cannot_be_imported_is_named_by_file_and_line(
    project: Path, old: str, new: str, words: str
) -> None:
    file = project / "tea_domain" / "aggregate.py"
    right = file.read_text()
    assert old in right
    file.write_text(right.replace(old, new))
    try:
        text = failed(project)
    finally:
        file.write_text(right)
    assert f"{file}, line " in text
    assert words in text


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ("tea_domain.domain", "is not module:ATTRIBUTE"),
        ("tea_domain.domain:TEE", "has no 'TEE'"),
        ("tea_domain.aggregate:TEA_AGGREGATE", "is of class Aggregate, not a Domain"),
        ("..:TEA", "cannot import '..'"),
        ("tee_domain:TEA", "No module named 'tee_domain'"),
    ],
)
def test_a_name_that_leads_to_no_domain_is_refused(project: Path, domain: str, words: str) -> None:
    assert words in failed(project, domain)


def test_stubs_that_were_never_made_are_asked_for(project: Path) -> None:
    stubs = project / "tea"
    stubs.rename(project / "aside")
    try:
        assert "make its stubs: python -m devstack.stubs" in failed(project)
    finally:
        (project / "aside").rename(stubs)


def test_a_proto_that_is_newer_than_its_stubs_is_told(project: Path) -> None:
    make_stubs(project)
    assert newer_proto(project) is None
    proto = project / "protos" / "tea" / "v1" / "views.proto"
    later = proto.stat().st_mtime_ns + 10**12
    os.utime(proto, ns=(later, later))
    assert newer_proto(project) == proto
