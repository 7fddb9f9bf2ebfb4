"""Certificates for tests: an authority, and what it signs."""

import subprocess
from pathlib import Path

from devstack.edge.settings import Certificates


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, text=True)


class Authority:
    """Signs certificates in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        self._folder = folder
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", f"/CN={name}", "-days", "2", "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip

    def sign(self, name: str) -> Certificates:
        """Returns a certificate for a DNS name and 127.0.0.1, which trusts this authority."""
        key, request, signed, extra = (
            self._folder / f"{name}.{end}" for end in ("key", "csr", "pem", "ext")
        )
        extra.write_text(f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1")
        openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", f"/CN={name}", "-keyout", key, "-out", request,
        )  # fmt: skip
        openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key,
            "-CAcreateserial", "-days", "2", "-extfile", extra, "-out", signed,
        )  # fmt: skip
        return Certificates(
            certificate=signed, key=key, authority=self.certificate, server_name=name
        )
