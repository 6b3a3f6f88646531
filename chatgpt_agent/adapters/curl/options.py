"""How requests go to OpenAI: proxy, TLS, HTTP version, timeouts."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import pycurl

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.curl.client import GatewayHTTPClient
from chatgpt_agent.core.errors import SetupError

MIN_LIBCURL = (8, 23, 0)
SEND_BYTES = 16 * 1024  # of a body that libcurl takes at a time: it holds as much for as long as an answer takes
SUPPRESS_CONNECT_HEADERS = 265  # CURLOPT_SUPPRESS_CONNECT_HEADERS, which pycurl does not name


def http_client(config: Config) -> GatewayHTTPClient:
    """The client of one agent, on the running loop. Raises SetupError where libcurl is too old."""
    check_libcurl()
    return GatewayHTTPClient(
        force_instance=True,
        configure_handle=handle_options(config),
        max_connections=config.max_concurrent_requests,
    )


def request_options(config: Config) -> dict[str, Any]:
    """Arguments of Tornado's HTTPRequest for each request to OpenAI (tornado.httpclient.HTTPRequest)."""
    return {
        **proxy_options(config.openai_proxy),
        "ca_certs": str(config.openai_ca_file) if config.openai_ca_file else None,
        "connect_timeout": config.connect_timeout,
        "request_timeout": 0,  # none for the whole: a stream may take an hour
        "follow_redirects": False,
        "decompress_response": False,
    }


def proxy_options(url: str | None) -> dict[str, Any]:
    """`http://[user:password@]host:port` as arguments of Tornado's HTTPRequest."""
    if url is None:
        return {}
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    options: dict[str, Any] = {"proxy_host": host, "proxy_port": parts.port, "proxy_auth_mode": "basic"}
    if parts.username is not None:
        options |= {"proxy_username": unquote(parts.username), "proxy_password": unquote(parts.password or "")}
    return options


def handle_options(config: Config) -> Callable[[pycurl.Curl], None]:
    """A function that sets on a handle what Tornado's HTTPRequest has no argument for."""
    http2 = config.openai_http_version == "2"
    version = pycurl.CURL_HTTP_VERSION_2TLS if http2 else pycurl.CURL_HTTP_VERSION_1_1

    def configure(curl: pycurl.Curl) -> None:
        # The proxy is the configured one, whatever http_proxy or no_proxy are in the environment.
        curl.setopt(pycurl.NOPROXY, "")
        if config.openai_proxy is None:
            curl.setopt(pycurl.PROXY, "")
        else:
            curl.setopt(pycurl.PROXYTYPE, pycurl.PROXYTYPE_HTTP)
        curl.setopt(SUPPRESS_CONNECT_HEADERS, 1)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.TCP_NODELAY, 1)
        curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        curl.setopt(pycurl.HTTP_VERSION, version)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, SEND_BYTES)

    return configure


def check_libcurl(version: str = pycurl.version_info()[1]) -> None:
    """Raises SetupError where libcurl is older than 8.23, which leaks credentials around proxies
    (CVE-2026-86413, CVE-2026-94266)."""
    parts = tuple(int(part) for part in version.split("-")[0].split(".")[:3] if part.isdigit())
    if parts < MIN_LIBCURL:
        raise SetupError(f"libcurl {version} is too old: pycurl must come with libcurl 8.23 or newer")
