"""The versions of what this process runs on."""

import platform
import ssl

import tornado

from chatgpt_agent import __version__
from chatgpt_agent.adapters.curl.options import libcurl_version
from chatgpt_agent.adapters.outbox import SQLITE_VERSION


def versions() -> dict[str, str]:
    """Returns the versions by name. libcurl's has those of its libraries, such as TLS."""
    return {
        "chatgpt-agent": __version__,
        "Python": platform.python_version(),
        "Tornado": tornado.version,
        "libcurl": libcurl_version(),
        "OpenSSL": ssl.OPENSSL_VERSION,
        "SQLite": SQLITE_VERSION,
    }
