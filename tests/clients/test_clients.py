"""The clients in other languages: built by each language's own tools, run against a real platform.

Each builds its stubs from what `eventspine contract export` has written, as a team would, and runs
its own tests, which start, kill and restart a platform. A language whose tools are not here is
skipped, with the reason.
"""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from devstack.contract_export import export_contract
from tests.journey.command_line import EVENTSPINE, settings

CLIENTS = Path(__file__).parents[2] / "clients"
SECONDS_MAX = 600

pytestmark = [pytest.mark.clients, pytest.mark.timeout(SECONDS_MAX)]


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the clients, beside the exported contract."""
    folder = tmp_path_factory.mktemp("clients")
    built = shutil.ignore_patterns("gen", "node_modules", "dist", "target", "contract")
    shutil.copytree(CLIENTS, folder, ignore=built, dirs_exist_ok=True)
    export_contract(folder / "contract")
    return folder


def run(*command: str, cwd: Path, needs: str, fetches: bool = False) -> str:
    """Runs a step of a language's own tools; skips the test where they are not here.

    A step that only fetches packages skips it too where they cannot be had.
    """
    scripts = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    if shutil.which(needs, path=scripts) is None:
        pytest.skip(f"no {needs} here: its client was not built")
    done = subprocess.run(
        command,
        cwd=cwd,
        env=settings(PATH=scripts, EVENTSPINE=str(EVENTSPINE)),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    if fetches and done.returncode:
        pytest.skip(f"{' '.join(command)} cannot fetch packages here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    return done.stdout


def test_the_client_in_go_is_built_and_passes_its_tests(clients: Path) -> None:
    folder = clients / "go"
    run("go", "mod", "download", cwd=folder, needs="go", fetches=True)
    run("buf", "generate", cwd=folder, needs="go")
    assert run("gofmt", "-l", "eventspine", "example", cwd=folder, needs="gofmt") == ""
    run("go", "vet", "./...", cwd=folder, needs="go")
    told = run("go", "test", "-count=1", "-v", "./eventspine", cwd=folder, needs="go")
    assert told.count("--- PASS: Test") > 150
    assert "--- SKIP" not in told


def test_the_client_in_typescript_is_built_and_passes_its_tests(clients: Path) -> None:
    folder = clients / "node"
    run("npm", "ci", "--no-audit", "--no-fund", cwd=folder, needs="npm", fetches=True)
    run("npm", "run", "generate", cwd=folder, needs="npm")
    run("npm", "run", "build", cwd=folder, needs="npm")
    told = run("npm", "test", cwd=folder, needs="npm")
    assert "# fail 0" in told
    assert "# skipped 0" in told


def test_the_client_in_java_is_built_and_passes_its_tests(clients: Path) -> None:
    folder = clients / "java"
    run("mvn", "-B", "dependency:resolve-plugins", cwd=folder, needs="mvn", fetches=True)
    told = run("mvn", "-B", "test", cwd=folder, needs="mvn")
    assert "Failures: 0, Errors: 0, Skipped: 0" in told
    assert "BUILD SUCCESS" in told
