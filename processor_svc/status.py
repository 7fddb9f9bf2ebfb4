"""What operators are shown of views: builds, how far behind they are, and parked keys."""

from collections.abc import Sequence

from eventspine.storage.connect import Backend
from eventspine.storage.keys import decode_key, key_json
from eventspine.storage.progress import build_id
from eventspine.storage.records import Build, Builds, Parked
from eventspine.storage.tail import LogTail
from eventspine.v1 import admin_pb2 as pb
from eventspine.v1.record_pb2 import PartitionSequence
from processor_svc.project import Processor
from processor_svc.rows import WAITING_MAX

PARKED_MAX = 1_000
"""How many parked keys are listed."""

_STATES = {
    "building": pb.BUILD_STATE_BUILDING,
    "ready": pb.BUILD_STATE_READY,
    "serving": pb.BUILD_STATE_SERVING,
    "standby": pb.BUILD_STATE_STANDBY,
}


class Status:
    """Looks up what there is to show."""

    def __init__(self, backend: Backend, processor: Processor, tail: LogTail) -> None:
        """Shows the builds of the backend, with the processor's code and the tail's ends."""
        self._backend = backend
        self._processor = processor
        self._tail = tail

    async def view(self, view: str, builds: Builds) -> pb.ViewStatus:
        """Returns a view with its builds, oldest first."""
        return pb.ViewStatus(
            view=view, builds=[await self.build(view, build) for build in builds.builds]
        )

    async def build(self, view: str, build: Build) -> pb.ViewBuild:
        """Returns one build of a view."""
        name = build_id(view, build.number)
        progress = await self._backend.views.progress(name)
        parked = await self._backend.registry.parked(name)
        return pb.ViewBuild(
            build=build.number,
            code_version=build.code_version,
            state=_STATES[build.state],
            paused=build.paused,
            progress=places(progress),
            lag_events=self._lag(progress),
            parked_keys=len({one.key for one in parked}),
            code_present=self._processor.code_present(view, build),
        )

    async def lag_events(self, view: str, build: Build) -> int:
        """Returns how many events a build has still to look at."""
        return self._lag(await self._backend.views.progress(build_id(view, build.number)))

    async def parked(self, view: str, build: Build) -> list[pb.ParkedKey]:
        """Returns the first parked keys of a build."""
        parked = await self._backend.registry.parked(build_id(view, build.number))
        return [_parked_key(one) for one in parked[:PARKED_MAX]]

    def _lag(self, progress: Sequence[int]) -> int:
        padded = [*progress, *[0] * self._tail.partitions]
        return sum(
            max(0, self._tail.end(partition) - padded[partition])
            for partition in range(self._tail.partitions)
        )


def places(sequences: Sequence[int]) -> list[PartitionSequence]:
    """Returns one place for each partition of the log."""
    return [
        PartitionSequence(partition=partition, sequence=sequence)
        for partition, sequence in enumerate(sequences)
    ]


def _parked_key(parked: Parked) -> pb.ParkedKey:
    answer = pb.ParkedKey(
        key_json=key_json(decode_key(parked.key)),
        partition=parked.partition,
        sequence=parked.sequence,
        stream=parked.stream,
        stream_version=parked.stream_version,
        error=parked.error,
        waiting_events=len(parked.waiting),
        more_waiting=len(parked.waiting) >= WAITING_MAX,
    )
    answer.parked_time.FromMicroseconds(parked.parked_time_us)
    return answer
