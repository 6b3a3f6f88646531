"""How requests go to OpenAI: proxy, TLS, HTTP version, timeouts."""

from collections.abc import Callable
from typing import Any

import pycurl

from chatgpt_agent.adapters.config_values import Proxy, UpstreamSettings
from chatgpt_agent.adapters.curl.client import RequestSettings, UpstreamHTTPClient
from chatgpt_agent.core.errors import SetupError

MIN_LIBCURL = (8, 23, 0)
SEND_BYTES = 16 * 1024  # of a body that libcurl takes at a time: it holds as much for as long as an answer takes
SUPPRESS_CONNECT_HEADERS = 265  # CURLOPT_SUPPRESS_CONNECT_HEADERS, which pycurl does not name


def http_client(settings: UpstreamSettings) -> UpstreamHTTPClient:
    """The client of one agent, on the running loop. Raises SetupError where libcurl is too old."""
    check_libcurl()
    return UpstreamHTTPClient(
        force_instance=True,
        configure_handle=handle_options(settings),
        max_connections=settings.max_connections,
        max_idle=settings.keep_alive,
        may_multiplex=settings.http_version == "2",
    )


def request_options(settings: UpstreamSettings) -> dict[str, Any]:
    """Arguments of Tornado's HTTPRequest for each request to OpenAI (tornado.httpclient.HTTPRequest)."""
    return {
        **proxy_options(settings.proxy),
        "ca_certs": str(settings.ca_file) if settings.ca_file else None,
        "connect_timeout": settings.connect_timeout,
        "request_timeout": 0,  # none for the whole: a stream may take an hour
        "follow_redirects": False,
        "decompress_response": False,
    }


def request_settings(settings: UpstreamSettings) -> dict[str, RequestSettings]:
    """What requests to OpenAI have in common, by their method."""
    options = request_options(settings)
    return {method: RequestSettings(method, options) for method in ("GET", "POST", "DELETE")}


def proxy_options(proxy: Proxy | None) -> dict[str, Any]:
    """Returns the arguments of Tornado's HTTPRequest for a proxy."""
    if proxy is None:
        return {}
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    options: dict[str, Any] = {"proxy_host": host, "proxy_port": proxy.port, "proxy_auth_mode": "basic"}
    if proxy.username is not None:
        # As bytes: Tornado would change the Unicode form of a text (NFC), and the proxy compares bytes.
        user, password = (text.encode("utf-8", "surrogateescape") for text in (proxy.username, proxy.password or ""))
        options |= {"proxy_username": user, "proxy_password": password}
    return options


def handle_options(settings: UpstreamSettings) -> Callable[[pycurl.Curl], None]:
    """A function that sets on a handle what Tornado's HTTPRequest has no argument for."""
    http2 = settings.http_version == "2"
    version = pycurl.CURL_HTTP_VERSION_2TLS if http2 else pycurl.CURL_HTTP_VERSION_1_1

    def configure(curl: pycurl.Curl) -> None:
        # The proxy is the configured one, whatever http_proxy or no_proxy are in the environment.
        curl.setopt(pycurl.NOPROXY, "")
        if settings.proxy is None:
            curl.setopt(pycurl.PROXY, "")
        else:
            curl.setopt(pycurl.PROXYTYPE, pycurl.PROXYTYPE_HTTP)
            if settings.proxy.username == "":  # Tornado takes that for no credentials
                curl.setopt(pycurl.PROXYUSERPWD, f":{settings.proxy.password}".encode("utf-8", "surrogateescape"))
        curl.setopt(SUPPRESS_CONNECT_HEADERS, 1)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.TCP_NODELAY, 1)
        curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        curl.setopt(pycurl.HTTP_VERSION, version)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, SEND_BYTES)
        curl.setopt(pycurl.MAXAGE_CONN, settings.keep_alive)

    return configure


def libcurl_versions() -> dict[str, str]:
    """Returns the versions of pycurl, libcurl and the library of its TLS by name; libcurl's has those of the other
    libraries that it uses, such as nghttp2."""
    tls = str(pycurl.version_info()[5])  # such as OpenSSL/3.6.5
    own, libcurl, *others = pycurl.version.split()
    name, _, version = tls.partition("/")
    return {
        "pycurl": own.partition("/")[2],
        "libcurl": " ".join([libcurl.partition("/")[2], *(other for other in others if other != tls)]),
        f"{name} (libcurl)": version,
    }


def check_libcurl(version: str = pycurl.version_info()[1]) -> None:
    """Raises SetupError where libcurl is older than 8.23, which leaks credentials around proxies
    (CVE-2026-86413, CVE-2026-94266)."""
    parts = tuple(int(part) for part in version.split("-")[0].split(".")[:3] if part.isdigit())
    if parts < MIN_LIBCURL:
        raise SetupError(f"libcurl {version} is too old: pycurl must come with libcurl 8.23 or newer")
