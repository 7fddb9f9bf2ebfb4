"""Rests: longer each time, in the loop's own time, so that a simulation needs no real one."""

import asyncio

from processor_svc.rest import REST_SECONDS_MAX, REST_SECONDS_MIN, Rest, until_one_goes_on
from tests.faults.simulation.clock import VirtualLoop


def test_each_rest_is_twice_as_long_and_one_that_goes_on_begins_anew() -> None:
    async def rests() -> list[float]:
        rest, left = Rest(), []
        assert rest.left == 0
        for _ in range(9):
            rest.begin()
            left.append(rest.left)
            await asyncio.sleep(rest.left)
            assert rest.left == 0
        rest.over()
        rest.begin()
        return [*left, rest.left]

    loop = VirtualLoop()
    lengths = loop.run_until_complete(rests())
    loop.close()
    doubled = [REST_SECONDS_MIN * 2**count for count in range(9)]
    expected = [*(min(seconds, REST_SECONDS_MAX) for seconds in doubled), REST_SECONDS_MIN]
    assert all(abs(one - other) < 1e-3 for one, other in zip(lengths, expected, strict=True))


async def test_what_waits_for_several_waits_for_the_first() -> None:
    short, long = Rest(), Rest()
    long.begin()
    long.begin()
    short.begin()
    assert 0 < until_one_goes_on([long, short]) <= REST_SECONDS_MIN
    assert until_one_goes_on([long, Rest()]) == 0
    assert until_one_goes_on([]) == 0
