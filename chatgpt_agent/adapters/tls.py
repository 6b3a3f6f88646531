"""TLS of the agent's own listeners: their certificate and key, checked before they are used."""

import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

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


def own_client_context(certificate: Path) -> ssl.SSLContext:
    """Returns what a client on this machine needs to reach such a listener: it trusts this certificate alone, under any
    name, because it connects to an address of this machine. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it need not be of an authority that is in the file
    context.load_verify_locations(certificate)
    return context


def certificate_warning(certificate: Path, now: datetime | None = None) -> str | None:
    """Returns a line if clients will refuse a certificate because of its dates. Raises ConfigError."""
    now, first = now or datetime.now(UTC), _certificates(certificate)[0]
    if first.not_valid_after_utc <= now:
        return f"tls_certificate: {certificate} has expired on {first.not_valid_after_utc:%Y-%m-%d}: clients refuse it"
    if first.not_valid_before_utc > now:
        return f"tls_certificate: {certificate} is not valid before {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    return None


def certificate_end(certificate: Path) -> datetime:
    """Returns until when a certificate is valid. Raises ConfigError."""
    return _certificates(certificate)[0].not_valid_after_utc


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
