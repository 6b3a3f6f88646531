"""libcurl's errors (https://curl.se/libcurl/c/libcurl-errors.html) as ours."""

import pycurl
from tornado.curl_httpclient import CurlError

from chatgpt_agent.core.errors import (
    AgentError,
    ProxyError,
    UpstreamInvalid,
    UpstreamLost,
    UpstreamTimeout,
    UpstreamTls,
    UpstreamTruncated,
    UpstreamUnreachable,
)

MAX_TEXT = 300  # characters

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
_PROXY = {pycurl.E_COULDNT_RESOLVE_PROXY, 97}  # 97: CURLE_PROXY, which pycurl does not name


def upstream_error(error: CurlError, *, sent: bool, answering: bool, has_proxy: bool) -> AgentError:
    """The error of a request. `sent`: libcurl took bytes of the body, or has a connection where there is none;
    `answering`: the head of an answer has come."""
    cause = describe(error)
    if answering:
        return UpstreamTruncated(sent=True, cause=cause)
    if _is_of_proxy(error.errno, error.message or "", sent=sent, has_proxy=has_proxy):
        return ProxyError(sent=sent, cause=cause)
    if error.errno in _TLS:
        return UpstreamTls(sent=sent, cause=cause)
    return UpstreamLost(sent=True, cause=cause) if sent else UpstreamUnreachable(sent=False, cause=cause)


def describe(error: CurlError) -> str:
    """What libcurl says about an error, with its number, on one line."""
    text = "".join(character if character.isprintable() else "?" for character in error.message or "no message")
    return f"{text[:MAX_TEXT]} (libcurl error {error.errno})"


def get_error(error: CurlError, *, has_proxy: bool) -> AgentError:
    """The error of a GET, which has a limit of time and one of size."""
    if error.errno == pycurl.E_FILESIZE_EXCEEDED:
        return UpstreamInvalid("The answer is over the limit of size.", sent=False)
    if error.errno == pycurl.E_OPERATION_TIMEDOUT:
        return UpstreamTimeout(sent=False, cause=describe(error))
    return upstream_error(error, sent=False, answering=False, has_proxy=has_proxy)


def _is_of_proxy(code: int, message: str, *, sent: bool, has_proxy: bool) -> bool:
    """Whether an error is the proxy's: without a tunnel every connection is one to the proxy."""
    if not has_proxy:
        return code in _PROXY
    connecting = code == pycurl.E_COULDNT_CONNECT or "CONNECT" in message or "proxy" in message.lower()
    return code in _PROXY or (not sent and connecting)
