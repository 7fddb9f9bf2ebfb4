"""The progress bar for terminals."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class RateColumn(ProgressColumn):
    """How many are done in a second."""

    def render(self, task: Task) -> Text:
        """Returns the rate, or nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "")


def terminal_progress() -> Progress:
    """Returns a bar with count, rate and remaining time on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class RichBar:
    """One task of a terminal's bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        """Takes a task of a bar that is being shown."""
        self._progress, self._task = progress, task

    def advance(self, count: int) -> None:
        """Says that `count` more are done."""
        self._progress.advance(self._task, count)

    def at(self, done: int) -> None:
        """Says that `done` are done in all."""
        self._progress.update(self._task, completed=done)
