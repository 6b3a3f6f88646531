"""TLS of the agent's own listeners: their certificate and key, checked before they are used."""

import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from chatgpt_agent.core.errors import ConfigError

PROTOCOLS = ["http/1.1"]  # offered to clients that ask for HTTP/2 (ALPN, RFC 7301)


def listener_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Returns what a listener needs: the certificate, behind it those of its authorities, and its key. TLS 1.2 and 1.3
    with Python's choice of ciphers. Raises ConfigError with one line, which names the file that is at fault."""
    _check_pair(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could keep a core busy with it (CVE-2011-1473)
    context.set_alpn_protocols(PROTOCOLS)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is one
        raise _fault("tls_certificate", certificate, f"is refused by OpenSSL: {_reason(error)}") from None
    return context


def certificate_text(certificate: Path) -> str:
    """Returns the certificates in a file, in PEM format. Raises ConfigError."""
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in _certificates(certificate))


def own_client_context(certificate: str | None) -> ssl.SSLContext:
    """Returns what a client on this machine needs to reach such a listener at an address of this machine, for which it
    has no name: it trusts this certificate alone, in PEM format. None: it trusts any, and may send no secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if certificate is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # its authority need not be there
        context.load_verify_locations(cadata=certificate)
    return context


class Certificate(msgspec.Struct, frozen=True):
    """The certificate that a listener shows, in DER format, and when it is valid."""

    der: bytes
    begins_at: datetime
    ends_at: datetime

    def fault_at(self, now: datetime) -> str | None:
        """Returns why clients refuse it then, as the end of a sentence about it."""
        if self.ends_at <= now:
            return f"has expired on {self.ends_at:%Y-%m-%d}: clients refuse it"
        return f"is not valid before {self.begins_at:%Y-%m-%d %H:%M} UTC" if self.begins_at > now else None


def read_certificate(path: Path) -> Certificate:
    """Returns the first certificate in a file. Raises ConfigError."""
    first = _certificates(path)[0]
    return Certificate(first.public_bytes(Encoding.DER), first.not_valid_before_utc, first.not_valid_after_utc)


def certificate_warning(path: Path, now: datetime | None = None) -> str | None:
    """Returns a line if clients will refuse a certificate because of its dates. Raises ConfigError."""
    fault = read_certificate(path).fault_at(now or datetime.now(UTC))
    return None if fault is None else f"tls_certificate: {path} {fault}"


def _check_pair(certificate: Path, key: Path) -> None:
    first = _certificates(certificate)[0]
    if _public_bytes(first) != _public_bytes(_private_key(key)):
        raise _fault("tls_key", key, f"does not belong to the first certificate in {certificate}")


def _certificates(path: Path) -> list[x509.Certificate]:
    content = _read("tls_certificate", path)
    with contextlib.suppress(ValueError):
        return x509.load_pem_x509_certificates(content)
    raise _fault("tls_certificate", path, "has no certificate in PEM format (-----BEGIN CERTIFICATE-----)")


def _private_key(path: Path) -> PrivateKeyTypes:
    content = _read("tls_key", path)
    try:
        return load_pem_private_key(content, password=None)
    except TypeError:  # it has a passphrase
        advice = f"remove it with `openssl pkey -in {path} -out FILE`"
        raise _fault("tls_key", path, f"has a passphrase, which no one can type in: {advice}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _fault("tls_key", path, "has no private key in PEM format (-----BEGIN PRIVATE KEY-----)") from None


def _public_bytes(holder: x509.Certificate | PrivateKeyTypes) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _fault(name, path, f"cannot be read: {error.strerror}") from None


def _fault(name: str, path: Path, text: str) -> ConfigError:
    return ConfigError([f"{name}: {path} {text}"])


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)


def _no_password() -> str:
    return ""  # without this, OpenSSL would ask on the terminal
