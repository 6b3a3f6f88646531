"""Checks of the files that a configuration names or needs, before anything else starts: an agent that could never reach
OpenAI, or never sign an alert, does not run."""

import ssl
from importlib.util import find_spec
from pathlib import Path

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.tls import listener_context
from chatgpt_agent.core.errors import ConfigError


def check_files(config: Config) -> None:
    """Raises ConfigError, with a line for each file that is missing, not a file, not readable, or of CA certificates
    without one in PEM format, and for each package that is missing."""
    errors = [
        *_ca_file_errors(config.openai_ca_file),
        *_read_errors("master_key_file", config.master_key_file),
        *_read_errors("webhook_secret_file", config.webhook_secret_file),
        *_otel_errors(config.otel_endpoint),
        *_tls_errors(config),
    ]
    if errors:
        raise ConfigError(errors)


def check_ca_file(path: Path | None) -> None:
    """Raises ConfigError where libcurl could not read CA certificates from this file."""
    if errors := _ca_file_errors(path):
        raise ConfigError(errors)


def _tls_errors(config: Config) -> list[str]:
    if config.tls_certificate is None or config.tls_key is None:
        return []
    try:
        listener_context(config.tls_certificate, config.tls_key)
    except ConfigError as error:
        return error.errors
    return []


def _ca_file_errors(path: Path | None) -> list[str]:
    errors = _read_errors("openai_ca_file", path)
    if path is None or errors:
        return errors
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError:  # ssl.SSLError is one
        return [
            f"openai_ca_file: {path} has no certificate in PEM format (-----BEGIN CERTIFICATE-----); convert DER with "
            "`openssl x509 -inform der -in FILE -out FILE.pem`"
        ]
    return []


def _read_errors(key: str, path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return [f"{key}: {path} cannot be read: {error.strerror}"]
    return []


def _otel_errors(endpoint: str | None) -> list[str]:
    if endpoint is None or _is_installed("opentelemetry.exporter.otlp.proto.http"):
        return []
    return ["otel_endpoint: OpenTelemetry is not installed: pip install 'chatgpt-agent[otel]', or remove this key"]


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False
