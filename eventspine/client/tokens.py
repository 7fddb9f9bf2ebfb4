"""Tokens of several commands for one query; promise: no stream's latest command is left out."""

from eventspine.v1.command_pb2 import CommandResult


class Tokens:
    """Collects what commands handed out; of each stream the latest counts."""

    def __init__(self) -> None:
        """Starts with none."""
        self._latest: dict[str, tuple[int, str]] = {}

    def add(self, result: CommandResult) -> None:
        """Takes the result of a command. One without a token, as of a dry run, changes nothing."""
        version, _ = self._latest.get(result.stream, (0, ""))
        if result.token and result.last_version >= version:
            self._latest[result.stream] = (result.last_version, result.token)

    def text(self) -> str:
        """Returns the token to put into a query's header; empty without any."""
        return "~".join(token for _, token in self._latest.values())

    def clear(self) -> None:
        """Forgets all."""
        self._latest.clear()
