"""A bus in this process that loses what it is told to lose; the rest is the bus as it is."""

from collections.abc import Sequence

from eventspine.storage.bus import LocalBus
from eventspine.storage.ports import BusMessage
from eventspine.storage.records import LogEntry


class LossyBus(LocalBus):
    """Loses raw records while `losing` is set, and remembers the others.

    Attributes:
        losing: Whether what comes on the channel `events` is lost.
        lost: What was.
        passed: What came on the channel `events` and was not.
    """

    def __init__(self, partitions: int = 1) -> None:
        super().__init__(partitions=partitions)
        self.losing = False
        self.lost: list[LogEntry] = []
        self.passed: list[LogEntry] = []

    def publish_now(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> bool:
        return False

    async def publish(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> None:
        if channel == "events":
            entries = [message for message in messages if isinstance(message, LogEntry)]
            (self.lost if self.losing else self.passed).extend(entries)
            if self.losing:
                return
        await super().publish(channel, partition, messages)
