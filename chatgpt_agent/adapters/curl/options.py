"""The way to OpenAI: proxy, TLS, versions, and what libcurl's errors mean on it."""

from urllib.parse import unquote, urlsplit

import msgspec
import pycurl

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.core.errors import (
    AgentError,
    ProxyError,
    SetupError,
    UpstreamInvalid,
    UpstreamLost,
    UpstreamTimeout,
    UpstreamTls,
    UpstreamTruncated,
    UpstreamUnreachable,
)

MIN_LIBCURL = (8, 23, 0)
SUPPRESS_CONNECT_HEADERS = 265  # CURLOPT_SUPPRESS_CONNECT_HEADERS, which pycurl does not name

_TLS = {
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CERTPROBLEM,
    pycurl.E_SSL_CIPHER,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_SSL_ISSUER_ERROR,
    pycurl.E_SSL_ENGINE_INITFAILED,
    pycurl.E_USE_SSL_FAILED,
}
_PROXY = {pycurl.E_COULDNT_RESOLVE_PROXY, 97}  # 97: CURLE_PROXY


class Proxy(msgspec.Struct, frozen=True):
    """`http://[user:password@]host:port`, taken apart."""

    url: str
    credentials: str | None

    @classmethod
    def parse(cls, text: str | None) -> "Proxy | None":
        """The proxy that a setting names."""
        if text is None:
            return None
        url = urlsplit(text)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        credentials = None
        if url.username is not None:
            credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
        return cls(f"http://{host}:{url.port}", credentials)

    def apply(self, curl: pycurl.Curl) -> None:
        """Sends a handle through it."""
        curl.setopt(pycurl.PROXY, self.url)
        curl.setopt(pycurl.PROXYTYPE, pycurl.PROXYTYPE_HTTP)
        if self.credentials is not None:
            user, _, password = self.credentials.partition(":")
            curl.setopt(pycurl.PROXYUSERNAME, user)
            curl.setopt(pycurl.PROXYPASSWORD, password)
            curl.setopt(pycurl.PROXYAUTH, pycurl.HTTPAUTH_BASIC)


class CurlOptions:
    """How requests go to OpenAI. Raises SetupError where libcurl is too old."""

    def __init__(self, config: Config) -> None:
        check_libcurl()
        self._config = config
        self._proxy = Proxy.parse(config.openai_proxy)

    def apply(self, curl: pycurl.Curl) -> None:
        """Tells a handle what every transfer to OpenAI has in common. The proxy is what the configuration says,
        whatever http_proxy or no_proxy are in the environment."""
        config = self._config
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(SUPPRESS_CONNECT_HEADERS, 1)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.TCP_NODELAY, 1)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, round(1000 * config.connect_timeout))
        curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        curl.setopt(pycurl.SSL_VERIFYPEER, 1)
        curl.setopt(pycurl.SSL_VERIFYHOST, 2)
        if config.openai_ca_file is not None:
            curl.setopt(pycurl.CAINFO, str(config.openai_ca_file))
        version = pycurl.CURL_HTTP_VERSION_2TLS if config.openai_http_version == "2" else pycurl.CURL_HTTP_VERSION_1_1
        curl.setopt(pycurl.HTTP_VERSION, version)
        curl.setopt(pycurl.NOPROXY, "")
        if self._proxy is None:
            curl.setopt(pycurl.PROXY, "")
        else:
            self._proxy.apply(curl)

    def error(self, code: int, message: str, *, sent: bool, answering: bool) -> AgentError:
        """One of libcurl's errors (https://curl.se/libcurl/c/libcurl-errors.html) as ours. `sent`: libcurl took bytes
        of the body; `answering`: the head of an answer has come."""
        if answering:
            return UpstreamTruncated(sent=True)
        if self._is_proxys(code, message, sent):
            return ProxyError(sent=sent)
        if code in _TLS:
            return UpstreamTls(sent=sent)
        return UpstreamLost(sent=True) if sent else UpstreamUnreachable(sent=False)

    def get_error(self, code: int | None, message: str) -> AgentError:
        """The same for a request without a body, which has a time limit and one of size."""
        if code == pycurl.E_FILESIZE_EXCEEDED:
            return UpstreamInvalid("The answer is over the limit of size.", sent=False)
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return UpstreamTimeout(sent=False)
        return self.error(code or 0, message, sent=False, answering=False)

    def _is_proxys(self, code: int, message: str, sent: bool) -> bool:
        """Whether an error is the proxy's: without a tunnel every connection is one to the proxy."""
        if self._proxy is None:
            return code in _PROXY
        at_fault = code == pycurl.E_COULDNT_CONNECT or "CONNECT" in message or "proxy" in message.lower()
        return code in _PROXY or (not sent and at_fault)


def check_libcurl(version: str = pycurl.version_info()[1]) -> None:
    """Raises SetupError where libcurl is older than 8.23, which leaks credentials around proxies
    (CVE-2026-86413, CVE-2026-94266)."""
    parts = tuple(int(part) for part in version.split("-")[0].split(".")[:3] if part.isdigit())
    if parts < MIN_LIBCURL:
        raise SetupError(f"libcurl {version} is too old: pycurl must come with libcurl 8.23 or newer")
