"""The certificate and key of the agent's own listeners are checked before they are used."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chatgpt_agent.adapters.config_files import check_files
from chatgpt_agent.adapters.config_loading import load_config
from chatgpt_agent.adapters.tls import certificate_warning, listener_context
from chatgpt_agent.core.errors import ConfigError
from tests.support.tls import Files, issue

NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return issue(tmp_path)


def fault(certificate: Path, key: Path) -> str:
    """The one line that refuses a pair."""
    with pytest.raises(ConfigError) as caught:
        listener_context(certificate, key)
    [line] = caught.value.errors
    return line


def test_missing_file(files: Files, tmp_path: Path) -> None:
    """The line has the key and the path."""
    missing = tmp_path / "missing"
    assert fault(missing, files.key) == f"tls_certificate: {missing} cannot be read: No such file or directory"
    assert fault(files.certificate, missing) == f"tls_key: {missing} cannot be read: No such file or directory"


def test_files_that_are_swapped(files: Files) -> None:
    """A key is no certificate."""
    assert fault(files.key, files.certificate).startswith(f"tls_certificate: {files.key} has no certificate in PEM")


def test_certificate_as_key(files: Files) -> None:
    """A certificate is no key."""
    line = fault(files.certificate, files.certificate)
    assert line.startswith(f"tls_key: {files.certificate} has no private key in PEM format")


def test_key_of_another_certificate(files: Files, tmp_path: Path) -> None:
    """Both files are named."""
    other = issue(tmp_path, "other")
    expected = f"tls_key: {other.key} does not belong to the first certificate in {files.certificate}"
    assert fault(files.certificate, other.key) == expected


def test_key_with_a_passphrase(files: Files, tmp_path: Path) -> None:
    """A service has no one to ask; the line says how to remove it."""
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", str(files.key), "-aes256", "-passout", "pass:made-up", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    assert fault(files.certificate, locked).startswith(f"tls_key: {locked} has a passphrase, which")


def test_both_in_one_file(files: Files, tmp_path: Path) -> None:
    """Some tools write them so."""
    both = tmp_path / "both.pem"
    both.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    listener_context(both, both)


@pytest.mark.parametrize(
    ("from_day", "to_day", "warning"),
    [
        (-9, -2, "has expired on 2026-11-26: clients refuse it"),
        (3, 9, "is not valid before 2026-12-01 00:00 UTC"),
        (-9, 9, None),
    ],
)
def test_dates_are_a_warning(tmp_path: Path, from_day: int, to_day: int, warning: str | None) -> None:
    """The agent serves all the same: clients may not look at the dates."""
    begin, end = NOW + timedelta(days=from_day), NOW + timedelta(days=to_day)
    files = issue(tmp_path, not_before=begin, not_after=end)
    line = certificate_warning(files.certificate, NOW)
    assert line == (warning and f"tls_certificate: {files.certificate} {warning}")


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"TLS_CERTIFICATE": "/c"}, "environment TLS_CERTIFICATE: tls_certificate: also set tls_key, the file of its"),
        ({"TLS_KEY": "/k"}, "environment TLS_KEY: tls_key: also set tls_certificate, the file of its certificate"),
        ({"ADMIN_TLS": "true"}, "environment ADMIN_TLS: admin_tls: also set tls_certificate and tls_key"),
    ],
)
def test_half_of_a_pair_is_refused(environ: dict[str, str], line: str) -> None:
    """The line names what is missing."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, environ)
    assert caught.value.errors[0].startswith(line)


def test_files_are_checked_at_the_start(files: Files, tmp_path: Path) -> None:
    """With all other files of the configuration."""
    config = load_config(None, {"TLS_CERTIFICATE": str(files.certificate), "TLS_KEY": str(tmp_path / "missing")})
    with pytest.raises(ConfigError, match=r"^tls_key: .* cannot be read: No such file or directory$"):
        check_files(config)
