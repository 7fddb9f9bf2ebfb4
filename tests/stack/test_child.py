"""One child: started, watched, killed, paused, stopped."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from devstack.stack.child import Child, ChildSpec
from devstack.stack.errors import AddressTakenError, ChildFailedError
from tests.stack.child_programs import FAILS, LISTENS, SLEEPS, WILL_NOT_STOP, spec_of

Making = Callable[[ChildSpec], Child]
GENEROUS_SECONDS = 60


@pytest.fixture
async def making() -> AsyncIterator[Making]:
    """Makes children, and kills those that a test leaves."""
    made: list[Child] = []

    def make(spec: ChildSpec) -> Child:
        made.append(Child(spec, lambda name, pid: None))
        return made[-1]

    yield make
    for child in made:
        await child.kill()


async def test_it_is_ready_when_it_answers_and_gone_when_it_is_stopped(
    making: Making, tmp_path: Path
) -> None:
    noted: list[tuple[str, int]] = []
    child = Child(spec_of(LISTENS, tmp_path), lambda name, pid: noted.append((name, pid)))
    assert not child.running
    pid = child.start()
    await child.wait_ready()
    assert (child.running, child.pid, noted) == (True, pid, [("child", pid)])
    await child.stop()
    assert (child.running, child.pid) == (False, None)
    with pytest.raises(ChildFailedError, match="ended by signal SIGTERM"):
        child.check()


async def test_one_that_ends_is_told_at_once_with_the_tail_of_its_log(
    making: Making, tmp_path: Path
) -> None:
    child = making(spec_of(FAILS, tmp_path, start=3600))
    child.start()
    async with asyncio.timeout(GENEROUS_SECONDS):
        with pytest.raises(ChildFailedError) as failed:
            await child.wait_ready()
    text = str(failed.value)
    assert text.startswith("child ended with exit code 1; the end of ")
    assert str(tmp_path / "out.log") in text
    assert text.endswith("no space left on device")


async def test_one_that_is_not_ready_in_time_is_told(making: Making, tmp_path: Path) -> None:
    child = making(spec_of(SLEEPS, tmp_path, start=0.2))
    child.start()
    with pytest.raises(ChildFailedError, match="was not ready in 0 s"):
        await child.wait_ready()
    assert child.running


async def test_one_that_will_not_stop_is_killed(making: Making, tmp_path: Path) -> None:
    child = making(spec_of(WILL_NOT_STOP, tmp_path, stop=0.2))
    child.start()
    await child.wait_ready()
    await child.stop()
    with pytest.raises(ChildFailedError, match="ended by signal SIGKILL"):
        child.check()


async def test_it_answers_again_after_a_kill_and_a_restart(making: Making, tmp_path: Path) -> None:
    child = making(spec_of(LISTENS, tmp_path))
    first = child.start()
    await child.wait_ready()
    await child.kill()
    with pytest.raises(OSError):
        await child.spec.ready()
    await child.restart()
    assert child.pid not in (None, first)


async def test_a_paused_one_answers_nothing_and_a_resumed_one_does(
    making: Making, tmp_path: Path
) -> None:
    child = making(spec_of(LISTENS, tmp_path))
    child.start()
    await child.wait_ready()
    await child.pause()
    answering = asyncio.ensure_future(child.spec.ready())
    done, _ = await asyncio.wait([answering], timeout=0.3)
    assert not done
    assert child.running
    child.resume()
    assert await asyncio.wait_for(answering, GENEROUS_SECONDS)


async def test_a_paused_one_is_stopped_all_the_same(making: Making, tmp_path: Path) -> None:
    child = making(spec_of(LISTENS, tmp_path, stop=3600))
    child.start()
    await child.wait_ready()
    await child.pause()
    await asyncio.wait_for(child.stop(), GENEROUS_SECONDS)
    assert not child.running


async def test_nothing_is_started_where_somebody_listens(making: Making, tmp_path: Path) -> None:
    child = making(spec_of(LISTENS, tmp_path))
    (address,) = child.spec.addresses
    with socket.create_server(address), pytest.raises(AddressTakenError, match="make stack-down"):
        child.start()
    assert not child.running


async def test_a_program_that_is_not_there_is_told(making: Making, tmp_path: Path) -> None:
    spec = ChildSpec("ghost", ("no-such-program",), tmp_path, ready=lambda: asyncio.sleep(0, True))
    with pytest.raises(ChildFailedError, match=r"ghost cannot be run: .*no-such-program"):
        making(spec).start()


async def test_what_ends_by_itself_is_waited_for(making: Making, tmp_path: Path) -> None:
    await making(spec_of("pass", tmp_path)).run_to_end()
    with pytest.raises(ChildFailedError, match=r"failed with exit code 1(.|\n)*no space left"):
        await making(spec_of(FAILS, tmp_path)).run_to_end()
    slow = making(spec_of(SLEEPS, tmp_path, start=0.2))
    with pytest.raises(ChildFailedError, match="not done in 0 s"):
        await slow.run_to_end()
    assert not slow.running
