"""A client for requests that are not to OpenAI and go through the same proxy, such as alerts."""

from typing import Any

import pycurl
from tornado.httpclient import AsyncHTTPClient

from chatgpt_agent.adapters.config_values import Proxy
from chatgpt_agent.adapters.curl.closing import QuicklyClosedClient
from chatgpt_agent.adapters.curl.options import check_libcurl, proxy_options


def proxied_client(proxy: Proxy, *, max_response: int) -> tuple[AsyncHTTPClient, dict[str, Any]]:
    """A client, and the arguments of its HTTPRequests. `max_response`: bytes of an answer. It has connections of its
    own, and keeps none. Raises SetupError where libcurl is too old."""
    check_libcurl()

    def prepare(curl: pycurl.Curl) -> None:
        curl.setopt(pycurl.NOPROXY, "")
        curl.setopt(pycurl.PROXYTYPE, pycurl.PROXYTYPE_HTTP)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.FORBID_REUSE, 1)
        curl.setopt(pycurl.MAXFILESIZE, max_response)

    options = {**proxy_options(proxy), "prepare_curl_callback": prepare}
    return QuicklyClosedClient(force_instance=True), options
