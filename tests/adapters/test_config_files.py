"""Files that a configuration names are checked before the agent starts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_files import check_ca_file, check_files
from chatgpt_agent.core.errors import ConfigError


@pytest.fixture(scope="module")
def pem() -> bytes:
    """A CA certificate."""
    return trustme.CA().cert_pem.bytes()


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "DER": der,
    "empty": lambda _: b"",
    "text": lambda _: b"certificates",
    "a part": lambda pem: pem[: len(pem) // 2],
    "a key": lambda _: b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
}


def test_pem_file_is_accepted(tmp_path: Path, pem: bytes) -> None:
    """Certificates in PEM format are accepted, with any text around them."""
    path = tmp_path / "ca"
    path.write_bytes(b"# Our CA\n" + pem + b"\n" + pem)
    check_files(Config(openai_ca_file=path, data_dir=tmp_path))


@pytest.mark.parametrize("content", CONTENTS)
def test_file_without_pem_certificates_is_an_error(tmp_path: Path, pem: bytes, content: str) -> None:
    """The error names key and file, and says how to convert it."""
    path = tmp_path / "ca"
    path.write_bytes(CONTENTS[content](pem))
    with pytest.raises(ConfigError) as caught:
        check_ca_file(path)
    [line] = caught.value.errors
    assert line.startswith(f"openai_ca_file: {path} has no certificate in PEM format")


@pytest.mark.parametrize("key", ["openai_ca_file", "master_key_file", "webhook_secret_file"])
@pytest.mark.parametrize(("name", "reason"), [("missing", "No such file or directory"), (".", "Is a directory")])
def test_file_that_cannot_be_read_is_an_error(tmp_path: Path, key: str, name: str, reason: str) -> None:
    """The error names key, file and the system's reason."""
    path = tmp_path / name
    with pytest.raises(ConfigError) as caught:
        check_files(Config(**{key: path}))  # type: ignore[arg-type]
    assert caught.value.errors == [f"{key}: {path} cannot be read: {reason}"]
