"""A client for requests that are not to OpenAI and go through the same proxy, such as alerts."""

from typing import Any

import pycurl
from tornado.curl_httpclient import CurlAsyncHTTPClient
from tornado.httpclient import AsyncHTTPClient

from chatgpt_agent.adapters.config import Proxy
from chatgpt_agent.adapters.curl.closing import close_multi
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
    return _ProxiedClient(force_instance=True), options


class _ProxiedClient(CurlAsyncHTTPClient):
    """Tornado's, but closing it does not wait until the proxy's name is looked up."""

    def close(self) -> None:
        """Ends all transfers and closes the connections."""
        for fd in self._fds:
            self.io_loop.remove_handler(fd)
        self._fds.clear()
        multi, self._multi = self._multi, pycurl.CurlMulti()
        super().close()
        close_multi(multi)
