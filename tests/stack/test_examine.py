"""What the doctor says of the real stack."""

import pytest

from devstack.doctor import examine
from devstack.stack.examine import LARGEST_MIB, SMALLEST_MIB, examine_stack, memory


@pytest.fixture
def bare_machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Maven, nothing fetched, an Envoy that is not there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("PATH", "")


def test_it_says_what_is_missing_and_how_to_get_it(bare_machine: None) -> None:
    found = {finding.subject: finding for finding in examine_stack()}
    assert found["maven"].verdict == "missing"
    assert "install Maven" in found["maven"].text
    assert found["cassandra 5.0.8"].verdict == "note"
    assert "python -m devstack.stack fetch" in found["kafka 4.3.1"].text
    assert found["leftovers"].verdict == "ok"


@pytest.mark.parametrize(
    ("mib", "verdict", "told"),
    [
        (None, "note", "not known"),
        (SMALLEST_MIB - 1, "missing", "2,559 MiB available; the smallest stack needs 2,560 MiB"),
        (SMALLEST_MIB, "note", "one node and broker fit"),
        (LARGEST_MIB, "ok", "three nodes and three brokers fit"),
    ],
)
def test_memory_is_told_by_what_fits(mib: int | None, verdict: str, told: str) -> None:
    found = memory(mib)
    assert found.verdict == verdict
    assert told in found.text


def test_what_only_the_stack_needs_is_missing_only_for_those_who_want_it(
    bare_machine: None,
) -> None:
    def verdict(*, stack: bool) -> str:
        findings = examine(address="127.0.0.1:7070", db=None, stack=stack)
        return next(f.verdict for f in findings if f.subject == "stack: maven")

    assert verdict(stack=False) == "note"
    assert verdict(stack=True) == "missing"
