"""Bad operations over real gRPC: each is refused with its field, and changes nothing."""

import pytest

from eventspine.storage.progress import build_id
from eventspine.v1 import admin_pb2
from eventspine.v1.record_pb2 import PartitionSequence
from tests.contract.calling import Caller
from tests.contract.queried import (
    EXPIRED,
    MALFORMED,
    NO_STREAM,
    NO_VIEW,
    UINT32_MAX,
    UINT64_MAX,
    VIEW,
    Case,
    Known,
    check,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN: dict[str, Case] = {
    **{
        f"{kind.DESCRIPTOR.name} without a view": (lambda _, kind=kind: kind(), MALFORMED, "view")
        for kind in (
            admin_pb2.BuildViewRequest,
            admin_pb2.CompareViewRequest,
            admin_pb2.SwitchViewRequest,
            admin_pb2.RollBackViewRequest,
            admin_pb2.RetireViewRequest,
            admin_pb2.PauseViewRequest,
            admin_pb2.ResumeViewRequest,
            admin_pb2.ListParkedRequest,
            admin_pb2.RetryParkedRequest,
        )
    },
    **{
        f"{kind.DESCRIPTOR.name} of an unknown view": (
            lambda _, kind=kind, build=build: kind(view="no.v1.Such", **build),
            NO_VIEW,
            "no.v1.Such",
        )
        for kind, build in (
            (admin_pb2.ListViewsRequest, {}),
            (admin_pb2.BuildViewRequest, {}),
            (admin_pb2.CompareViewRequest, {"build": 1}),
            (admin_pb2.SwitchViewRequest, {"build": 1}),
            (admin_pb2.RollBackViewRequest, {}),
            (admin_pb2.RetireViewRequest, {"build": 1}),
            (admin_pb2.PauseViewRequest, {"build": 1}),
            (admin_pb2.ResumeViewRequest, {"build": 1}),
            (admin_pb2.ListParkedRequest, {"build": 1}),
            (admin_pb2.RetryParkedRequest, {"build": 1}),
        )
    },
    **{
        f"{kind.DESCRIPTOR.name} of an unknown build": (
            lambda _, kind=kind: kind(view=VIEW, build=UINT32_MAX),
            NO_VIEW,
            str(UINT32_MAX),
        )
        for kind in (
            admin_pb2.CompareViewRequest,
            admin_pb2.SwitchViewRequest,
            admin_pb2.RetireViewRequest,
            admin_pb2.PauseViewRequest,
            admin_pb2.ResumeViewRequest,
            admin_pb2.ListParkedRequest,
            admin_pb2.RetryParkedRequest,
        )
    },
    "comparing behind a key that is none": (
        lambda _: admin_pb2.CompareViewRequest(view=VIEW, build=1, after_key_json="[1]"),
        MALFORMED,
        "after_key_json",
    ),
    "trying behind a key that is none": (
        lambda _: admin_pb2.RetryParkedRequest(view=VIEW, after_key_json="[1]"),
        MALFORMED,
        "after_key_json",
    ),
    "an unknown code version": (
        lambda _: admin_pb2.BuildViewRequest(view=VIEW, code_version=9),
        NO_VIEW,
        "no code version 9",
    ),
    "switching to build 0": (lambda _: admin_pb2.SwitchViewRequest(view=VIEW), MALFORMED, "build"),
    "retiring what serves": (
        lambda _: admin_pb2.RetireViewRequest(view=VIEW, build=1),
        "FAILED_PRECONDITION VIEW_STATE",
        "serves",
    ),
    "rolling back to nothing": (
        lambda _: admin_pb2.RollBackViewRequest(view=VIEW),
        "FAILED_PRECONDITION VIEW_STATE",
        "keeps no build",
    ),
    "a key that is not parked": (
        lambda _: admin_pb2.RetryParkedRequest(view=VIEW, key_json='["a"]'),
        "NOT_FOUND ROW_NOT_FOUND",
        "not parked",
    ),
    "verifying a malformed stream": (
        lambda _: admin_pb2.VerifyRequest(stream="a"),
        MALFORMED,
        "stream",
    ),
    "verifying no such stream": (
        lambda _: admin_pb2.VerifyRequest(stream="account/z"),
        NO_STREAM,
        "account/z",
    ),
    "an export from no partition": (
        lambda _: admin_pb2.ExportRequest(after=[PartitionSequence(partition=UINT32_MAX)]),
        MALFORMED,
        "after[0].partition",
    ),
    "an export from a partition twice": (
        lambda _: admin_pb2.ExportRequest(after=[PartitionSequence()] * 2),
        MALFORMED,
        "after[1].partition",
    ),
    "an export from beyond the end": (
        lambda _: admin_pb2.ExportRequest(after=[PartitionSequence(sequence=UINT64_MAX)]),
        EXPIRED,
        "after[0]",
    ),
    "an export after a command beyond all": (
        lambda _: admin_pb2.ExportRequest(after_command_number=2**63),
        MALFORMED,
        "after_command_number",
    ),
}


@pytest.mark.parametrize("how", ADMIN)
async def test_a_bad_operation_is_refused_and_changes_nothing(
    asked: tuple[Caller, Known], how: str
) -> None:
    caller, known = asked
    make, refused, told = ADMIN[how]
    check(await caller.refusal(make(known)), refused, told)
    views = caller.platform.parts.backend.registry
    (build,) = (await views.builds(VIEW)).builds
    assert (build_id(VIEW, build.number), build.state, build.paused) == (
        f"{VIEW}@1",
        "serving",
        False,
    )
