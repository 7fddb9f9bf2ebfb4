"""A line that repeats itself is said now and then."""

import logging

from eventspine.storage.kafka.logs import LINES_MAX, REPEAT_SECONDS, Repeated


def test_a_line_that_differs_in_numbers_only_is_said_again_after_a_while() -> None:
    now = 0.0
    repeated = Repeated(now=lambda: now)

    def said(line: str) -> bool:
        return repeated.filter(logging.LogRecord("kafka", 30, "f.py", 1, line, None, None))

    assert said("connect to broker 1 failed after 5 ms")
    assert not said("connect to broker 1 failed after 71 ms")
    assert said("another line")
    now = REPEAT_SECONDS
    assert said("connect to broker 1 failed after 5 ms")
    for number in range(3 * LINES_MAX):
        assert said(f"line {'x' * number}")
    assert len(repeated._said) <= LINES_MAX
