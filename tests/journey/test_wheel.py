"""What is installed from a wheel works without the repository: platform, command, new domain."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.journey.command_line import ALICE, Dev, run_process, settings

ROOT = Path(__file__).parents[2]
SOURCES = (
    "pyproject.toml", "README.md", "LICENSE", "protos", "command_svc", "processor_svc", "query_svc",
    "eventspine", "domains", "devstack", "envoy", "tests", "bench",
)  # fmt: skip


def run(*arguments: str | Path, cwd: Path) -> None:
    scripts = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=settings(PATH=scripts),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy of the sources so that the repository stays as it is."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    (copy / "gen").mkdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", ".")
    run(*pip, "--no-deps", "--no-build-isolation", "-w", "dist", cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment that has the wheel, and this one's other packages."""
    home = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=home)
    python = home / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "-q", "--no-deps", wheel, cwd=home)
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    # Files that name paths have no effect in a folder that is named so: not the editable install's.
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


def test_the_wheel_has_protos_stubs_templates_and_types_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "eventspine/py.typed",
        "eventspine/contract/protos/eventspine/v1/options.proto",
        "eventspine/contract/protos/bank/v1/account.proto",
        "eventspine/v1/query_pb2.py",
        "eventspine/v1/query_pb2.pyi",
        "eventspine/v1/query_pb2_grpc.pyi",
        "bank/v1/account_pb2.py",
        "flights/v1/flight_pb2.py",
        "devstack/templates/new/tests/test_<<name>>.py.tmpl",
        "devstack/templates/new/.gitignore.tmpl",
        "devstack/edge/envoy/gateway.yaml",
        "devstack/edge/envoy/load_balancer.yaml",
        "devstack/edge/envoy/parts/route.yaml",
    } <= names
    tops = {name.split("/")[0] for name in names}
    assert tops.isdisjoint({"tests", "bench", "gen", "protos"})


def test_an_installed_platform_runs_and_a_new_domain_of_it_passes(
    scripts: Path, tmp_path: Path
) -> None:
    eventspine = scripts / "eventspine"
    running = Dev(cwd=tmp_path, program=eventspine)
    account = ("send", "bank.v1.OpenAccountRequest", ALICE)
    sent = run_process(*account, address=running.address, program=eventspine)
    assert sent.out.startswith("account/alice@1: 1 event stored"), sent.err
    assert running.stop(signal.SIGINT).code == 0
    run(eventspine, "new", "shop", cwd=tmp_path)
    run(scripts / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path / "shop")
    domain = ("--domain", "shop_domain.domain:SHOP")
    running = Dev(*domain, cwd=tmp_path / "shop", program=eventspine)
    assert "(domains: bank, flights, shop)" in running.lines[0]
    assert running.stop(signal.SIGINT).code == 0
