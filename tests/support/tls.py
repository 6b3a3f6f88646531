"""A certificate authority, and the files of certificates for an agent's own listeners."""

import functools
import ssl
from datetime import datetime
from pathlib import Path

import msgspec
import trustme


class Files(msgspec.Struct, frozen=True):
    """The files of a certificate and its key."""

    certificate: Path
    key: Path

    @property
    def settings(self) -> dict[str, Path]:
        """The keys of the configuration."""
        return {"tls_certificate": self.certificate, "tls_key": self.key}


@functools.cache
def authority() -> trustme.CA:
    """The authority that clients of this run trust."""
    return trustme.CA()


def issue(folder: Path, name: str = "tls", **dates: datetime) -> Files:
    """Writes a new certificate for 127.0.0.1; `dates`: `not_before` and `not_after`."""
    issued = authority().issue_cert("127.0.0.1", **dates)  # type: ignore[arg-type]  # other options are texts
    files = Files(folder / f"{name}.pem", folder / f"{name}.key")
    files.certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    files.key.write_bytes(issued.private_key_pem.bytes())
    return files


@functools.cache
def client_context() -> ssl.SSLContext:
    """What clients of https:// URLs use. They would speak HTTP/2, too."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
