"""TLS on every hop: clients see a certificate, and nobody behind the edge answers strangers."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from grpc import aio

from devstack.edge.contract import Kind
from devstack.edge.settings import Certificates, Tier
from devstack.edge.tiers import Edge
from tests.edge.backend import Backend, backend, echo
from tests.edge.certificates import Authority
from tests.edge.fronted import CONTRACT, DEPOSIT, needs_envoy

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl for certificates"),
]


class Secured(NamedTuple):
    """An edge with TLS on every hop, and what a caller needs."""

    edge: Edge
    service: Backend
    inside: Certificates
    stranger: Certificates
    outside: bytes


def server_credentials(files: Certificates) -> grpc.ServerCredentials:
    """Returns what a service shows, and whom it answers: those whom its authority has signed."""
    assert files.authority is not None
    return grpc.ssl_server_credentials(
        [(files.key.read_bytes(), files.certificate.read_bytes())],
        root_certificates=files.authority.read_bytes(),
        require_client_auth=True,
    )


def channel_credentials(files: Certificates, trusted: bytes) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        trusted, files.key.read_bytes(), files.certificate.read_bytes()
    )


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    needs_envoy()
    inner = Authority(tmp_path / "inner", "inner")
    inside = inner.sign("eventspine.internal")
    outer = Authority(tmp_path / "outer", "outer")
    public = replace(outer.sign("localhost"), authority=None)
    stranger = outer.sign("stranger")
    async with backend(echo, credentials=server_credentials(inside)) as service:
        where = dict.fromkeys(Kind, (service.address,))
        async with Edge(
            CONTRACT, where, tmp_path / "edge",
            front=Tier(listener=public, upstream=inside),
            gateway=Tier(listener=inside, upstream=inside),
        ) as edge:  # fmt: skip
            yield Secured(edge, service, inside, stranger, outer.certificate.read_bytes())


async def call(address: str, credentials: grpc.ChannelCredentials, name: str) -> bytes:
    options = [("grpc.ssl_target_name_override", name)]
    async with aio.secure_channel(address, credentials, options=options) as channel:
        return bytes(await channel.unary_unary(DEPOSIT)(b"", timeout=10))


async def test_a_caller_needs_no_certificate_and_every_hop_has_one(secured: Secured) -> None:
    credentials = grpc.ssl_channel_credentials(secured.outside)
    assert await call(secured.edge.address, credentials, "localhost") == b""
    assert len(secured.service.calls) == 1


async def test_a_caller_without_tls_gets_nothing(secured: Secured) -> None:
    async with aio.insecure_channel(secured.edge.address) as channel:
        with pytest.raises(aio.AioRpcError):
            await channel.unary_unary(DEPOSIT)(b"", timeout=10)
    assert secured.service.calls == []


@pytest.mark.parametrize("hop", ["gateway", "service"])
@pytest.mark.parametrize("shown", ["nothing", "another authority's"])
async def test_who_is_behind_the_edge_answers_no_strangers(
    secured: Secured, hop: str, shown: str
) -> None:
    address = secured.edge.gateways[0].address if hop == "gateway" else secured.service.address
    assert secured.inside.authority is not None
    trusted = secured.inside.authority.read_bytes()
    credentials = (
        grpc.ssl_channel_credentials(trusted)
        if shown == "nothing"
        else channel_credentials(secured.stranger, trusted)
    )
    with pytest.raises(aio.AioRpcError) as raised:
        await call(address, credentials, "eventspine.internal")
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert secured.service.calls == []
    # With the right certificate the same call is answered, so it was the certificate.
    known = channel_credentials(secured.inside, trusted)
    assert await call(address, known, "eventspine.internal") == b""


async def test_a_service_with_another_name_gets_no_call(secured: Secured, tmp_path: Path) -> None:
    expected = replace(secured.inside, server_name="elsewhere.internal")
    where = dict.fromkeys(Kind, (secured.service.address,))
    async with (
        Edge(CONTRACT, where, tmp_path / "other", gateway=Tier(upstream=expected)) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        with pytest.raises(aio.AioRpcError) as raised:
            await channel.unary_unary(DEPOSIT)(b"", timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert secured.service.calls == []
