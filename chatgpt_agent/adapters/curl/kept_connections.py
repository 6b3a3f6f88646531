"""Looks at a kept connection before it is used again: a byte that came after an answer is no part of the next one.

libcurl itself looks only at a socket, and only where the connection was idle for more than a second. Until then a
second answer, a body longer than announced or a late 408 would be taken for the answer to the next request, and a
connection that the upstream has closed would lose it. Bytes that OpenSSL has read ahead it never sees.

- At the end of an answer over TLS, what OpenSSL holds is read, without waiting: if there is anything, the connection is
  closed. (Over HTTP/2 libcurl cannot be asked.)
- At the start of the next request, the socket of an idle connection must not be readable: neither by bytes nor by its
  end. Over HTTP/2 a server may send a frame at any time; then one more connection is opened.
- A connection of HTTP/1.1 whose last answer has not been looked at yet is not used.

What remains are bytes that come between the look and the answer. They are those of the same user's earlier answers:
see docs/decisions/0028-a-connection-for-one-user.md.
"""

import select

import pycurl

Address = tuple[str, int, str, int]  # IP and port of the upstream or the proxy, and the connection's own


class KeptConnections:
    """Knows connections by their addresses, which are all that libcurl tells before it sends a request."""

    def __init__(self) -> None:
        # Of transfers that run.
        self._address: dict[pycurl.Curl, Address] = {}
        self._running: dict[Address, int] = {}  # transfers on each connection
        self._closing: set[pycurl.Curl] = set()
        # Of connections that ended a transfer well.
        self._polls: dict[Address, select.poll] = {}
        self._multiplexed: set[Address] = set()
        self._addresses: dict[int, Address] = {}  # of each descriptor, so that addresses no longer in use are dropped

    def begin(self, curl: pycurl.Curl, address: Address, *, may_multiplex: bool) -> bool:
        """Returns whether a transfer may use the connection that libcurl has chosen for it. `may_multiplex`: the
        connection may use HTTP/2."""
        running, poll = self._running.get(address, 0), self._polls.get(address)
        if running:
            # libcurl is done with the answer before, and we are not; but HTTP/2 has many at once.
            usable = may_multiplex and (poll is None or address in self._multiplexed)
        else:
            # After its connection was closed, a descriptor may be another socket's until the address is used again. At
            # worst a new connection then seems to be stale, and one more is opened.
            usable = poll is None or not poll.poll(0)
        if not usable:
            self._forget(address)
            return False
        self._address[curl] = address
        self._running[address] = running + 1
        return True

    def end(self, curl: pycurl.Curl, *, tls: bool) -> None:
        """Remembers the connection of a transfer that has ended well, which still belongs to its multi handle."""
        address = self._address.get(curl)
        descriptor = curl.getinfo(pycurl.ACTIVESOCKET)
        if address is None or descriptor < 0:
            return
        if curl.getinfo(pycurl.INFO_HTTP_VERSION) > pycurl.CURL_HTTP_VERSION_1_1:
            self._multiplexed.add(address)
        elif self._running[address] > 1:  # another transfer has begun on it
            return
        elif tls and _holds_bytes(curl):
            self._closing.add(curl)  # libcurl closes the connection with the handle's removal
            return
        before = self._addresses.get(descriptor)
        if before == address and address in self._polls:
            return
        if before is not None:
            self._forget(before)
        self._addresses[descriptor] = address
        self._polls[address] = poll = select.poll()
        poll.register(descriptor, select.POLLIN)

    def leave(self, curl: pycurl.Curl) -> None:
        """A transfer was removed from its multi handle, however it ended."""
        if curl in self._closing:
            self._closing.discard(curl)
            curl.setopt(pycurl.CONNECT_ONLY, 0)
        address = self._address.pop(curl, None)
        if address is not None:
            running = self._running.pop(address) - 1
            if running:
                self._running[address] = running

    def _forget(self, address: Address) -> None:
        self._polls.pop(address, None)
        self._multiplexed.discard(address)


def _holds_bytes(curl: pycurl.Curl) -> bool:
    """Whether there is anything to read on the connection of a transfer that has ended, in libcurl's buffers too. If so
    the handle stays one of CURLOPT_CONNECT_ONLY."""
    curl.setopt(pycurl.CONNECT_ONLY, 1)  # without it, curl_easy_recv(3) refuses
    try:
        curl.recv(1)
    except BlockingIOError:
        curl.setopt(pycurl.CONNECT_ONLY, 0)
        return False
    except pycurl.error:  # it has ended, or is not readable as TLS
        pass
    return True
