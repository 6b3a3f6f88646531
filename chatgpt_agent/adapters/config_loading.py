"""Reads the configuration: a flat YAML file, overridden by the environment. All errors are reported at once.

Relative paths in the file are relative to the file, relative paths in the environment to the current folder.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from chatgpt_agent.adapters import config_checks as checks
from chatgpt_agent.adapters.config import FIELDS, Config, with_sources
from chatgpt_agent.adapters.config_values import meta_of, rule_of
from chatgpt_agent.adapters.redaction import HIDDEN, display, hidden, is_secret
from chatgpt_agent.core.errors import ConfigError


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Returns the configuration of a file, if there is one, and of the environment. Raises ConfigError with a line for
    each error: its place, the key, the value, and what is allowed."""
    errors: list[str] = []
    entries = _from_file(path, errors) if path else {}
    entries |= _from_environment(environ)
    values: dict[str, Any] = {}
    for key, field in FIELDS.items():
        if key in entries:
            source, value = entries[key]
            try:
                values[key] = _convert(field, value)
            except ValueError:
                errors.append(_error_line(source, field, value))
    config = with_sources(Config(**values), {key: source for key, (source, _) in entries.items()})
    errors += _check_together(config, config.sources)
    if errors:
        raise ConfigError(errors)
    return config


def config_from(file: str | None, environ: Mapping[str, str] = os.environ) -> Config:
    """Returns the configuration of a command. Raises ConfigError."""
    return load_config(config_path(file, environ), environ)


def config_path(file: str | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Returns the configuration file of a command: the one in `--config`, else in `CHATGPT_AGENT_CONFIG`, else none."""
    name = file or environ.get("CHATGPT_AGENT_CONFIG")
    return Path(name) if name else None


def _from_file(path: Path, errors: list[str]) -> dict[str, tuple[str, Any]]:
    """Returns the values of known keys, each with its source. Adds an error for each unknown key."""
    from chatgpt_agent.adapters.config_file import read_config_file  # only here: PyYAML takes a while to import

    content = read_config_file(path)
    errors += [_unknown_key(path, str(key)) for key in content if key not in FIELDS]
    base = path.absolute().parent
    for key, value in content.items():
        if key in FIELDS and rule_of(FIELDS[key]).path and isinstance(value, str) and value:
            content[key] = str(base / value)
    return {key: (str(path), value) for key, value in content.items() if key in FIELDS and value is not None}


def _unknown_key(path: Path, key: str) -> str:
    similar = difflib.get_close_matches(key, FIELDS, n=1)
    name = HIDDEN if ":" in key or display(key) == HIDDEN else key[:80]
    return f"{path}: {name}: unknown key; " + (
        f"did you mean {similar[0]}?" if similar else "config.example.yml has all keys"
    )


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Returns the values of the environment, each with its source. An empty variable counts as not set: unit files have
    lines such as `OPENAI_PROXY=`."""
    return {key: (f"environment {key.upper()}", environ[key.upper()]) for key in FIELDS if environ.get(key.upper())}


def _convert(field: msgspec.structs.FieldInfo, value: Any) -> Any:
    """Returns the value of a key in its type. Raises ValueError."""
    rule = rule_of(field)
    if rule.number_as_text and isinstance(value, int | float):
        value = str(value)
    if rule.strip and isinstance(value, str):
        value = value.strip()
    if rule.commas and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if rule.join and isinstance(value, list):
        value = ", ".join(msgspec.convert(value, list[str]))
    if rule.path:
        if not isinstance(value, str) or not value or "://" in value or is_secret(value):
            raise ValueError
        return Path(value).absolute()
    from_text = isinstance(value, str) and isinstance(field.default, int | float)  # `"8080"` for a port
    converted = msgspec.convert(value, field.type, strict=not from_text)  # ValidationError is a ValueError
    if rule.check is not None and not rule.check(converted):
        raise ValueError
    return converted


def _error_line(source: str, field: msgspec.structs.FieldInfo, value: object) -> str:
    rule, text = rule_of(field), str(value)
    if rule.path and is_secret(text):
        quoted, advice = hidden(text), "; rename the path if it holds no secret"
    else:
        quoted, advice = HIDDEN if rule.secret else display(value), ""
    return f"{source}: {field.name}: found {quoted}; allowed: {meta_of(field).description}{advice}"


def _check_together(config: Config, sources: Mapping[str, str]) -> list[str]:
    checks_together = (_check_url, _check_sizes, _check_user_header, _check_tracing, _check_tls)
    return [line for check in checks_together for line in check(config, sources)]


def _check_url(config: Config, sources: Mapping[str, str]) -> list[str]:
    url = urlsplit(config.openai_url)
    if url.scheme == "http" and not (config.openai_allow_http or checks.is_loopback(url.hostname or "")):
        return [
            f"{sources.get('openai_url', 'default')}: openai_url: found {display(config.openai_url)}; allowed: "
            "https://, or http:// on a loopback address, or openai_allow_http: true (keys and messages are then sent "
            "unencrypted)"
        ]
    return []


def _check_sizes(config: Config, sources: Mapping[str, str]) -> list[str]:
    if "max_buffered_size" in sources and config.max_buffered_size < config.buffered_size:
        return [
            f"{sources['max_buffered_size']}: max_buffered_size: found {config.max_buffered_size}; allowed: at least "
            f"twice max_body_size, {config.buffered_size}"
        ]
    return []


def _check_user_header(config: Config, sources: Mapping[str, str]) -> list[str]:
    header, networks = "admin_user_header", "admin_user_header_from"
    if config.admin_user_header and not config.admin_user_header_from:
        return [f"{sources[header]}: {header}: also set {networks}, the networks of the proxies that set this header"]
    if config.admin_user_header_from and header not in sources:
        return [f"{sources[networks]}: {networks}: also set {header}, the header that these proxies set"]
    if any(checks.is_every_address(network) for network in config.admin_user_header_from):
        return [
            f"{sources[networks]}: {networks}: every client could then sign in as any admin; name the proxies alone"
        ]
    return []


def _check_tracing(config: Config, sources: Mapping[str, str]) -> list[str]:
    key = "otel_pass_traceparent"
    if config.otel_pass_traceparent and config.otel_endpoint is None:
        return [f"{sources[key]}: {key}: also set otel_endpoint: what is passed on names a span of the agent's own"]
    return []


def _check_tls(config: Config, sources: Mapping[str, str]) -> list[str]:
    if config.tls_certificate and not config.tls_key:
        return [f"{sources['tls_certificate']}: tls_certificate: also set tls_key, the file of its private key"]
    if config.tls_key and not config.tls_certificate:
        return [f"{sources['tls_key']}: tls_key: also set tls_certificate, the file of its certificate"]
    if config.admin_tls and not config.tls_certificate:
        return [f"{sources['admin_tls']}: admin_tls: also set tls_certificate and tls_key"]
    return []
