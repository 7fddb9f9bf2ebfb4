"""A service that wants to see its callers' certificates; promise: strangers get no answer."""

from pathlib import Path

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from eventspine.rpc.tls import CertificateError, read_tls
from tests.process.certificates import Authority
from tests.process.conftest import Starting


async def asked(address: str, credentials: grpc.ChannelCredentials | None) -> int:
    """Asks for the health of a service; returns it."""
    channel = (
        aio.insecure_channel(address)
        if credentials is None
        else aio.secure_channel(address, credentials)
    )
    async with channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return (await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)).status


def credentials(authority: Authority, pair: tuple[Path, Path] | None) -> grpc.ChannelCredentials:
    certificate, key = (None, None) if pair is None else (path.read_bytes() for path in pair)
    return grpc.ssl_channel_credentials(authority.certificate.read_bytes(), key, certificate)


async def test_only_callers_with_a_certificate_of_the_gateways_authority_are_answered(
    start: Starting, tmp_path: Path
) -> None:
    servers, gateways = Authority(tmp_path, "servers"), Authority(tmp_path, "gateways")
    certificate, key = servers.signed("query")
    child = start(
        "query",
        tls_certificate_file=str(certificate),
        tls_key_file=str(key),
        tls_callers_file=str(gateways.certificate),
    )
    address = await child.serving()
    gateway = credentials(servers, gateways.signed("gateway"))
    assert await asked(address, gateway) == health_pb2.HealthCheckResponse.SERVING
    strangers = (
        None,
        credentials(servers, None),
        credentials(servers, servers.signed("somebody")),
        credentials(gateways, gateways.signed("another-gateway")),
    )
    for stranger in strangers:
        with pytest.raises(aio.AioRpcError) as refused:
            await asked(address, stranger)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    child.ask_to_stop()
    assert await child.ended() == 0, child.errors


async def test_without_an_authority_for_callers_everybody_is_answered_encrypted(
    start: Starting, tmp_path: Path
) -> None:
    servers = Authority(tmp_path, "servers")
    certificate, key = servers.signed("query")
    child = start("query", tls_certificate_file=str(certificate), tls_key_file=str(key))
    address = await child.serving()
    serving = health_pb2.HealthCheckResponse.SERVING
    assert await asked(address, credentials(servers, None)) == serving
    with pytest.raises(aio.AioRpcError):
        await asked(address, None)


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    none, wrong = tmp_path / "none.pem", tmp_path / "wrong.pem"
    wrong.write_text("-----BEGIN PUBLIC KEY-----\n")
    with pytest.raises(CertificateError, match=r"none\.pem: cannot be read"):
        read_tls(none, none, None)
    with pytest.raises(CertificateError, match=r"wrong\.pem: holds no `CERTIFICATE`"):
        read_tls(wrong, wrong, None)
    authority = Authority(tmp_path, "authority")
    certificate, _ = authority.signed("one")
    _, key = authority.signed("two")
    with pytest.raises(CertificateError, match="do not fit together"):
        read_tls(certificate, key, None)
