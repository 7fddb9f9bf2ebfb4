"""Certificates of a host; promise: with an authority for callers, strangers get no answer."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc


class CertificateError(Exception):
    """A certificate or key cannot be read or does not fit; the text names the file and the cure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What a host shows to its callers, and what it wants to see of them.

    Attributes:
        certificate: The host's certificate chain, PEM.
        key: The private key of it, PEM.
        callers_authority: The certificates that a caller's has to be signed by, PEM; None lets
            everybody in.
    """

    certificate: bytes
    key: bytes
    callers_authority: bytes | None

    def credentials(self) -> grpc.ServerCredentials:
        """Returns what the transport is told."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.callers_authority,
            require_client_auth=self.callers_authority is not None,
        )


def read_tls(certificate: Path, key: Path, callers_authority: Path | None) -> Tls:
    """Reads the files of a host.

    Raises:
        CertificateError: A file cannot be read, is no PEM, or the key is of another certificate.
            Nothing is hosted.
    """
    tls = Tls(
        certificate=_pem(certificate, b"CERTIFICATE"),
        key=_pem(key, b"PRIVATE KEY"),
        callers_authority=(
            None if callers_authority is None else _pem(callers_authority, b"CERTIFICATE")
        ),
    )
    # The transport would say no more than that it cannot listen.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
        if callers_authority is not None:
            context.load_verify_locations(callers_authority)
    except ssl.SSLError as error:
        files = ", ".join(str(path) for path in (certificate, key, callers_authority) if path)
        raise CertificateError(f"{files}: do not fit together or are damaged: {error}") from error
    return tls


def _pem(path: Path, kind: bytes) -> bytes:
    """Reads a file that has to hold one kind of PEM block."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read ({error.strerror}); name a file") from error
    if b"-----BEGIN" not in content or kind not in content:
        raise CertificateError(
            f"{path}: holds no `{kind.decode()}` in PEM form; name a file that does"
        )
    return content
