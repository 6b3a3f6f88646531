"""Closes the connections of a client without waiting for name servers."""

import threading

import pycurl
from tornado.curl_httpclient import CurlAsyncHTTPClient

CLOSE_SECONDS = 0.5


def close_multi(multi: pycurl.CurlMulti) -> None:
    """Closes a handle of which the event loop watches no socket any more. libcurl would wait for threads that look up a
    name, however long that takes: one that is not done soon is left behind and ends with the process. pycurl does not
    know CURLMOPT_QUICK_EXIT."""
    multi.setopt(pycurl.M_SOCKETFUNCTION, _ignore)
    thread = threading.Thread(target=multi.close, name="curl close", daemon=True)
    thread.start()
    thread.join(CLOSE_SECONDS)


class QuicklyClosedClient(CurlAsyncHTTPClient):
    """Tornado's client, but closing it does not wait until names are looked up."""

    def close(self) -> None:
        """Ends all transfers and closes the connections."""
        for fd in self._fds:
            self.io_loop.remove_handler(fd)
        self._fds.clear()
        multi, self._multi = self._multi, pycurl.CurlMulti()
        super().close()
        close_multi(multi)


def _ignore(_event: int, _fd: int, _multi: pycurl.CurlMulti, _data: object) -> None:
    """In place of the callback of a client that is closed."""
