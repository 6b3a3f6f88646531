"""libcurl's transfers on the event loop, through pycurl's public calls alone.

Tornado's CurlAsyncHTTPClient tells a handle some 30 things for each request, resets it afterwards, makes four objects
for the answer that it does not hold, and cannot end a transfer (tornado#157): a sixth of what a request cost. Here a
handle keeps what never changes, and is told the rest.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import pycurl

_RESYNC_MS = 1  # at least, until libcurl's clock is looked at again


class Transfer(Protocol):
    """Who is told what becomes of a handle. libcurl is not at work then: anything may be done."""

    def on_data(self, now: float) -> None:
        """Something has come, and `ready` was called for it. `now`: seconds on the loop's clock."""

    def on_end(self, code: int, message: str) -> None:
        """It is over: 0, or libcurl's error (https://curl.se/libcurl/c/libcurl-errors.html)."""


class CurlDriver:
    """A `CurlMulti` driven by the event loop (https://curl.se/libcurl/c/libcurl-multi.html, "multi_socket")."""

    def __init__(self, prepare: Callable[[pycurl.Curl], None], *, connections: int) -> None:
        """`prepare` tells a new handle what it keeps. So many `connections` are kept open between requests."""
        self._loop = asyncio.get_running_loop()
        self._prepare = prepare
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        # By itself libcurl keeps four for each transfer that runs now, and closes all others when a burst is over.
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self._free: list[pycurl.Curl] = []
        self._running: dict[pycurl.Curl, Transfer] = {}
        self._ready: list[Transfer] = []  # for which something has come
        # What libcurl waits for.
        self._watched: dict[int, int] = {}  # of each socket, POLL_IN and POLL_OUT
        self._on_ready = self._act  # one object for all sockets
        self._timer: asyncio.Handle | None = None
        self._closed = False

    def handle(self) -> pycurl.Curl:
        """A handle, to be told what is of this request alone, and then to be started."""
        if self._free:
            return self._free.pop()
        curl = pycurl.Curl()
        self._prepare(curl)
        return curl

    def start(self, curl: pycurl.Curl, transfer: Transfer) -> None:
        """Lets a handle run; it is the transfer's until its `on_end`, or until it is stopped."""
        self._running[curl] = transfer
        self._multi.add_handle(curl)

    def stop(self, curl: pycurl.Curl) -> None:
        """Ends a transfer now, whatever it is at, without its `on_end`. Not to be called by libcurl's callbacks."""
        if self._running.pop(curl, None) is not None:
            self._give_back(curl)

    def ready(self, transfer: Transfer) -> None:
        """Has the transfer told that something has come, when all that this turn of the loop brings has come."""
        if not self._ready:
            self._loop.call_soon(self._tell)
        self._ready.append(transfer)

    def close(self) -> None:
        """Stops everything and lets go of the connections."""
        self._closed = True
        for curl in list(self._running):
            self.stop(curl)
        if self._timer is not None:
            self._timer.cancel()
        for curl in self._free:
            curl.close()
        self._free.clear()
        self._multi.close()
        for fd in list(self._watched):
            self._watch(fd, 0)

    # What libcurl asks for: it is at work, so nothing here calls it.

    def _on_socket(self, wanted: int, fd: int, _multi: pycurl.CurlMulti, _data: object) -> None:
        self._watch(fd, 0 if wanted == pycurl.POLL_REMOVE else wanted)

    def _watch(self, fd: int, wanted: int) -> None:
        changed = self._watched.get(fd, 0) ^ wanted
        # Added before anything is removed: the loop lets go of a socket that nobody watches.
        if changed & wanted & pycurl.POLL_IN:
            self._loop.add_reader(fd, self._on_ready, fd, pycurl.CSELECT_IN)
        if changed & wanted & pycurl.POLL_OUT:
            self._loop.add_writer(fd, self._on_ready, fd, pycurl.CSELECT_OUT)
        if changed & ~wanted & pycurl.POLL_IN:
            self._loop.remove_reader(fd)
        if changed & ~wanted & pycurl.POLL_OUT:
            self._loop.remove_writer(fd)
        if wanted:
            self._watched[fd] = wanted
        else:
            self._watched.pop(fd, None)

    def _on_timer(self, milliseconds: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if milliseconds == 0:  # in the next turn, when others may have started, too
            self._timer = self._loop.call_soon(self._on_time)
        elif milliseconds > 0:
            self._timer = self._loop.call_later(milliseconds / 1000, self._on_time)

    # What the loop says.

    def _on_time(self) -> None:
        self._timer = None
        self._act(pycurl.SOCKET_TIMEOUT, 0)
        # libcurl says a time once. The loop's clock may be a millisecond before its own: then it was asked too early.
        if self._timer is None and not self._closed and (left := self._multi.timeout()) >= 0:
            self._on_timer(max(left, _RESYNC_MS))

    def _act(self, fd: int, event: int) -> None:
        _, running = self._multi.socket_action(fd, event)
        if running < len(self._running):
            self._take_ended()

    def _tell(self) -> None:
        # One after the other without a read between them: a client that is awake need not be woken for the next piece,
        # which costs as much as sending it.
        ready, self._ready = self._ready, []
        now = self._loop.time()
        for transfer in ready:
            transfer.on_data(now)

    def _take_ended(self) -> None:
        waiting = 1
        while waiting:
            waiting, good, failed = self._multi.info_read()
            for curl in good:
                self._end(curl, 0, "")
            for curl, code, message in failed:
                self._end(curl, code, message)

    def _end(self, curl: pycurl.Curl, code: int, message: str) -> None:
        transfer = self._running.pop(curl, None)
        if transfer is not None:  # else it was stopped by what came of the one before it
            self._give_back(curl)
            transfer.on_end(code, message)

    def _give_back(self, curl: pycurl.Curl) -> None:
        self._multi.remove_handle(curl)
        # Nothing of the request stays: neither its key nor, through the callbacks, its body.
        curl.unsetopt(pycurl.HTTPHEADER)
        curl.setopt(pycurl.READFUNCTION, _nothing)
        curl.setopt(pycurl.HEADERFUNCTION, _nothing)
        curl.setopt(pycurl.WRITEFUNCTION, _nothing)
        self._free.append(curl)


def _nothing(_: object) -> None:
    """In the place of a callback of a request that is over."""
