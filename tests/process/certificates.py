"""Certificates for a test, made by openssl on the spot: an authority, and what it has signed."""

import shutil
import subprocess
from pathlib import Path

import pytest


class Authority:
    """Signs certificates for 127.0.0.1.

    Attributes:
        certificate: The file of its own certificate.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._openssl = shutil.which("openssl")
        if self._openssl is None:
            pytest.skip("openssl is not here; install it to test certificates")
        self._folder = folder
        self._key = folder / f"{name}.key"
        self.certificate = folder / f"{name}.pem"
        self._run("req", "-x509", *_NEW, "-keyout", self._key, "-out", self.certificate, *_of(name))

    def signed(self, name: str) -> tuple[Path, Path]:
        """Returns the files of a new certificate and its key."""
        key, request = self._folder / f"{name}.key", self._folder / f"{name}.csr"
        certificate, extensions = self._folder / f"{name}.pem", self._folder / f"{name}.ext"
        extensions.write_text("subjectAltName=IP:127.0.0.1\n")
        self._run("req", *_NEW[:-2], "-keyout", key, "-out", request, *_of(name))
        signing = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "2")
        self._run(
            *("x509", "-req", "-in", request, *signing, "-extfile", extensions),
            *("-out", certificate),
        )
        return certificate, key

    def _run(self, *arguments: object) -> None:
        subprocess.run(
            [self._openssl, *map(str, arguments)], check=True, capture_output=True, timeout=60
        )


_NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


def _of(name: str) -> tuple[str, str]:
    return ("-subj", f"/CN={name}")
