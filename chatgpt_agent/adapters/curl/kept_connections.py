"""Looks at a kept connection before a request is sent on it.

libcurl itself looks only where a connection was idle for more than a second. Until then bytes that came after the end
of an answer would be taken for the answer to the next request, which may be another user's, and a connection that the
upstream has closed would lose it. Frames of HTTP/2 name their stream, and may come at any time: this is for HTTP/1.

What remains: bytes that arrive between the look and the answer.
"""

import select

import pycurl

Address = tuple[str, int]  # the connection's own IP and port


class KeptConnections:
    """Remembers the sockets of connections that ended a transfer, by their local address and port."""

    def __init__(self) -> None:
        self._polls: dict[Address, select.poll] = {}
        self._addresses: dict[int, Address] = {}  # of each descriptor, so that addresses no longer in use are dropped

    def keep(self, curl: pycurl.Curl) -> None:
        """Remembers the connection of a transfer that has ended well."""
        descriptor = curl.getinfo(pycurl.ACTIVESOCKET)
        if descriptor < 0 or curl.getinfo(pycurl.INFO_HTTP_VERSION) > pycurl.CURL_HTTP_VERSION_1_1:
            return
        address = curl.getinfo(pycurl.LOCAL_IP), curl.getinfo(pycurl.LOCAL_PORT)
        before = self._addresses.get(descriptor)
        if before == address and address in self._polls:
            return
        if before is not None:
            self._polls.pop(before, None)
        self._addresses[descriptor] = address
        self._polls[address] = poll = select.poll()
        poll.register(descriptor, select.POLLIN)

    def has_stray_bytes(self, address: Address) -> bool:
        """Whether something has come on the kept connection from this address and port: bytes, or its end. False for a
        connection that is new."""
        # After its connection was closed, a descriptor may be another socket's until the address is used again. At
        # worst a new connection then seems to have stray bytes, and one more is opened.
        poll = self._polls.get(address)
        if poll is None or not poll.poll(0):
            return False
        del self._polls[address]
        return True
