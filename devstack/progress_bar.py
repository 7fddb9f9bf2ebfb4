"""A bar that says how far a long piece of work is: count, rate, and time that remains."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

PLAIN_SECONDS = 5.0
"""How often a line is printed where the output is no terminal."""


class Bar(Protocol):
    """How far a piece of work is."""

    def advance(self, count: int) -> None:
        """Says that `count` more are done."""
        ...

    def at(self, done: int) -> None:
        """Says that `done` are done in all."""
        ...


class _PlainBar:
    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total, self._done = label, total, 0
        self._began = self._printed = time.monotonic()

    def advance(self, count: int) -> None:
        self.at(self._done + count)

    def at(self, done: int) -> None:
        self._done = done
        now = time.monotonic()
        if now - self._printed >= PLAIN_SECONDS:
            self._printed = now
            rate = done / (now - self._began)
            state = f"{done:,}, {rate:,.0f}/s"
            if rate and self._total is not None and self._total >= done:
                remaining = (self._total - done) / rate
                state = f"{done:,} of {self._total:,}, {rate:,.0f}/s, {remaining:.0f} s left"
            sys.stderr.write(f"{self._label}: {state}\n")


@contextmanager
def progress_bar(label: str, total: int | None) -> Iterator[Bar]:
    """Shows a bar on standard error while the work inside goes on.

    Args:
        label: What is done.
        total: How many there are to do, 0 or more; None where nobody knows that beforehand.
    """
    if not sys.stderr.isatty():
        yield _PlainBar(label, total)
        return
    from devstack.rich_bar import RichBar, terminal_progress

    with terminal_progress() as progress:
        yield RichBar(progress, progress.add_task(label, total=total))
