"""Says on standard error how far a start is: lines with seconds, and a moving sign on terminals."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def steps(doing: str) -> Iterator[Callable[[str], None]]:
    """Yields what is to be told each step, in a sentence.

    Args:
        doing: What goes on meanwhile, such as `starting`.
    """
    began = time.monotonic()

    def line(text: str) -> str:
        return f"{time.monotonic() - began:6.1f} s  {text}"

    if not sys.stderr.isatty():

        def write(text: str) -> None:
            sys.stderr.write(f"{line(text)}\n")
            sys.stderr.flush()

        yield write
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False)
    with console.status(f"{escape(doing)} (Ctrl-C stops what was started)"):
        yield lambda text: console.print(escape(line(text)))
