"""Where a subscription starts; promise: nothing that was asked for lies before it."""

import asyncio
from typing import NamedTuple

from eventspine.rpc.checks import refuse
from eventspine.rpc.errors import CursorInvalidError
from eventspine.storage.connect import Backend
from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.places import Places
from eventspine.storage.records import LogPlace, StreamPlace
from eventspine.storage.tail import LogTail
from eventspine.v1.subscription_pb2 import SubscribeRequest
from query_svc.cursor import decode_log, resumed
from query_svc.feed import Place
from query_svc.filter import CompiledFilter
from query_svc.moments import append_time_us, moment_us
from query_svc.pulse import Pulse

SLACK_US = 60_000_000
"""How far apart the clocks of two writers may be, as the contract says."""

_SCAN_ENTRIES_MAX = 10_000
_SCAN_PAGE = 500
_WAIT_SECONDS = 10.0


class Start(NamedTuple):
    """The place where a subscription starts.

    Attributes:
        place: Everything after it is looked at.
        ends: The ends of the log when it was found.
        version: With a filter for one stream, the last version at or before the place; else 0.
    """

    place: Place
    ends: Place
    version: int


class Starts:
    """Finds where subscriptions start."""

    def __init__(self, backend: Backend, tail: LogTail, pulse: Pulse) -> None:
        """Looks into the log and the event store."""
        self._places = Places(backend.log, tail)
        self._events = backend.events
        self._log = backend.log
        self._identity = backend.identity
        self._pulse = pulse

    async def find(self, request: SubscribeRequest, wanted: CompiledFilter, now_us: int) -> Start:
        """Returns where the request starts.

        Raises:
            InvalidRequestError: The start is missing, malformed, or does not go with the filter.
            CursorInvalidError: The cursor is no cursor, or of another filter.
            CursorExpiredError: The cursor is of another store, or beyond the end.
            StoreUnavailableError: The log cannot be read, or is too far behind the store.
        """
        kind = request.WhichOneof("start")
        if kind is None:
            refuse(
                "start", "is missing; send `beginning`, `end`, `cursor`, `after_version` or `time`"
            )
        if kind == "after_version":
            return await self._after_version(wanted.stream, request.after_version)
        if kind == "beginning" and wanted.stream:
            return await self._after_version(wanted.stream, 0)
        ends = await self._log.ends()
        if kind == "beginning":
            return Start((0,) * len(ends), ends, 0)
        if kind == "end":
            return Start(ends, ends, 0)
        if kind == "cursor":
            place = self._resumed(request.cursor, wanted, ends)
        else:
            place = await self._since(moment_us("time", request.time), ends, now_us)
        return Start(place, ends, await self._version_at(wanted.stream, place))

    def _resumed(self, text: str, wanted: CompiledFilter, ends: Place) -> Place:
        cursor = decode_log(text)
        if cursor.fingerprint != wanted.fingerprint:
            raise CursorInvalidError(
                "the cursor was made with another filter; send the same filter, or start again "
                "without the cursor"
            )
        store_id, ancestors = self._identity.store_id, self._identity.ancestors
        return resumed(cursor, store_id=store_id, ancestors=ancestors, ends=ends)

    async def _after_version(self, stream: str, version: int) -> Start:
        if not stream:
            refuse("after_version", "goes only with `filter.stream`; name the stream")
        # The ends come first: what is not in the log then lies behind them.
        ends = await self._log.ends()
        before = await self._before(stream, version)
        if before is None:
            return Start(ends, ends, version)
        partition, sequence = before
        # What had to be waited for may lie beyond the ends that were found before.
        known = (*ends[:partition], max(ends[partition], sequence), *ends[partition + 1 :])
        return Start((*ends[:partition], sequence, *ends[partition + 1 :]), known, version)

    async def _before(self, stream: str, version: int) -> LogPlace | None:
        """Returns the place just before the version's successor; None for the end of the log."""
        if not version:
            first = (await self._places.find([StreamPlace(stream, 1)]))[0]
            if first is None and (await self._events.head(stream)).version:
                # Stored before this look, it may be in the log before the ends that were found.
                first = await self._sequenced(StreamPlace(stream, 1))
            return first and LogPlace(first.partition, first.sequence - 1)
        head = await self._events.head(stream)
        if version > head.version:
            refuse("after_version", f"is {version}; the stream is at version {head.version}")
        return await self._sequenced(StreamPlace(stream, version))

    async def _sequenced(self, place: StreamPlace) -> LogPlace:
        """Waits until a stored version is in the log, which is a matter of milliseconds."""
        deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
        found = await self._places.wait([place], deadline, self._pulse.next)
        if found is None:
            raise StoreUnavailableError(
                "the log does not show a stored event yet; try again later",
                cause="the log is behind the store",
            )
        return found[0]

    async def _version_at(self, stream: str, place: Place) -> int:
        """Returns the last version of a stream that is known to be in the log up to a place.

        0 for none. Of a log that another process extends, a later one may be there already.
        """
        if not stream:
            return 0
        low, high = 0, (await self._events.head(stream)).version
        while low < high:
            middle = (low + high + 1) // 2
            found = (await self._places.find([StreamPlace(stream, middle)]))[0]
            if found is not None and found.sequence <= place[found.partition]:
                low = middle
            else:
                high = middle - 1
        return low

    async def _since(self, moment: int, ends: Place, now_us: int) -> Place:
        if moment > now_us + SLACK_US:
            refuse("time", "is in the future; send a time that has passed, or start at the `end`")
        return tuple(
            [await self._older(partition, end, moment) for partition, end in enumerate(ends)]
        )

    async def _older(self, partition: int, end: int, moment: int) -> int:
        """Returns a sequence up to which everything is older than the moment.

        Append times rise with the sequences but for the slack. So a search for an event that is
        older by the slack has only older ones before it; from there it is a short walk.
        """
        low, high = 0, end
        while low < high:
            middle = (low + high + 1) // 2
            entries = await self._log.read(partition, after=middle - 1, limit=1)
            if append_time_us(entries[0].encoded) < moment - SLACK_US:
                low = middle
            else:
                high = middle - 1
        return await self._walked(partition, low, end, moment)

    async def _walked(self, partition: int, after: int, end: int, moment: int) -> int:
        for _ in range(_SCAN_ENTRIES_MAX // _SCAN_PAGE):
            entries = await self._log.read(partition, after=after, limit=_SCAN_PAGE)
            for entry in entries:
                if entry.sequence > end or append_time_us(entry.encoded) >= moment:
                    return after
                after = entry.sequence
            if not entries:
                break
        return after
