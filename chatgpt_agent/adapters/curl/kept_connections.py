"""Looks at a kept connection before a request is sent on it.

libcurl itself looks only where a connection was idle for more than a second. Until then bytes that came after the end
of an answer would be taken for the answer to the next request, which may be another user's, and a connection that the
upstream has closed would lose it. Frames of HTTP/2 name their stream, and may come at any time: this is for HTTP/1.

What remains: bytes that arrive between the look and the answer.
"""

import contextlib
import os
import select

import pycurl

Address = tuple[str, int]  # the connection's own IP and port


class KeptConnections:
    """Remembers the sockets of connections that ended a transfer, by their local address and port."""

    def __init__(self) -> None:
        self._sockets: dict[Address, tuple[int, int]] = {}  # descriptor and inode
        self._addresses: dict[int, Address] = {}  # of each descriptor, so that addresses no longer in use are dropped
        self._poll = select.poll()

    def keep(self, curl: pycurl.Curl) -> None:
        """Remembers the connection of a transfer that has ended well."""
        descriptor = curl.getinfo(pycurl.ACTIVESOCKET)
        if descriptor >= 0 and curl.getinfo(pycurl.INFO_HTTP_VERSION) <= pycurl.CURL_HTTP_VERSION_1_1:
            address = curl.getinfo(pycurl.LOCAL_IP), curl.getinfo(pycurl.LOCAL_PORT)
            before = self._addresses.get(descriptor, address)
            if before != address:
                self._sockets.pop(before, None)
            self._addresses[descriptor] = address
            self._sockets[address] = descriptor, os.fstat(descriptor).st_ino

    def has_stray_bytes(self, address: Address) -> bool:
        """Whether something has come on the kept connection from this address and port: bytes, or its end. False for a
        connection that is new."""
        descriptor, inode = self._sockets.get(address, (-1, 0))
        if descriptor < 0:
            return False
        with contextlib.suppress(OSError):  # it was closed since, and this is another one from the same port
            if os.fstat(descriptor).st_ino == inode:
                self._poll.register(descriptor, select.POLLIN)
                readable = bool(self._poll.poll(0))
                self._poll.unregister(descriptor)
                return readable
        del self._sockets[address]
        return False
