"""What was stored lately, by command id: a repeated command is answered without the store."""

from eventspine.storage.records import CommandRow


class RecentCommands:
    """Remembers the last commands, at least `maximum` of them and less than twice as many.

    Two generations: when the young one is full it becomes the old one, and what was old is
    forgotten at once. That costs less than keeping an order.
    """

    def __init__(self, maximum: int) -> None:
        """Remembers at least `maximum` commands."""
        self._maximum = maximum
        self._young: dict[tuple[str, str], CommandRow] = {}
        self._old: dict[tuple[str, str], CommandRow] = {}

    def get(self, stream: str, command_id: str) -> CommandRow | None:
        """Returns what is remembered; None says nothing about what the store knows."""
        key = (stream, command_id)
        return self._young.get(key) or self._old.get(key)

    def put(self, stream: str, row: CommandRow) -> None:
        """Remembers a command that is stored."""
        self._young[stream, row.command_id] = row
        if len(self._young) >= self._maximum:
            self._old, self._young = self._young, {}
