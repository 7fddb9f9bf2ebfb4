"""Ctrl-C for commands that go on until it comes: it is noted, so that it cannot get lost.

The transport's `Channel.__del__` drops every exception, a KeyboardInterrupt too, and a loop that
makes a channel each time would go on.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import NoReturn, Self


class Interrupts:
    """Notes each Ctrl-C, which is raised as always; a context manager for the main thread."""

    def __init__(self) -> None:
        """Has seen none."""
        self._seen = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Does nothing unless a Ctrl-C was lost.

        Raises:
            KeyboardInterrupt: There was one.
        """
        if self._seen:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> NoReturn:
        self._seen = True
        raise KeyboardInterrupt
