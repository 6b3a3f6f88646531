"""The open connections of a listener, by address: one address cannot take all of them, and idle ones make room."""

import functools
from collections.abc import Callable, Iterable
from typing import Protocol

from chatgpt_agent.core.access.networks import Proxies, client_address, rate_limit_key
from chatgpt_agent.core.errors import TooManyConnections

GRACE_SECONDS = 1.0  # for which a connection may be idle: its request may be on its way
LEAST_SHARE = 8  # connections of an address, however few there may be in all


class IdleConnection(Protocol):
    """A connection as the table sees it. The table sets the attributes."""

    peer: str
    is_proxy: bool
    address: "Address | None"

    def close_idle(self) -> bool:
        """Closes the connection, unless a request has arrived. Returns whether it is closed."""


class Address:
    """An address with open connections."""

    __slots__ = ("connections", "idle", "key")

    def __init__(self, key: int) -> None:
        self.key = key
        self.connections = 0
        self.idle: dict[IdleConnection, float] = {}  # with the time since when they are; the oldest first


class ConnectionTable:
    """Counts connections by address: of a trusted proxy's connections, those with a request count for the address that
    the request was forwarded for. `clock` is monotonic seconds."""

    def __init__(
        self, *, connections: int, per_address: int, trusted_proxies: Iterable[str], clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._addresses: dict[int, Address] = {}
        self._idle: dict[IdleConnection, float] = {}  # the oldest first
        self.set_limits(connections=connections, per_address=per_address, trusted_proxies=trusted_proxies)

    def set_limits(self, *, connections: int, per_address: int, trusted_proxies: Iterable[str]) -> None:
        """Takes other limits. Whether a connection that is open comes from a proxy does not change."""
        # An address gets at most half, so that there is always room for others.
        self._per_address = min(per_address, max(connections // 2, LEAST_SHARE))
        self._trusted = Proxies(trusted_proxies)
        self._key_of = functools.lru_cache(maxsize=1024)(self._forwarded_key)

    def add(self, connection: IdleConnection) -> None:
        """Adds a connection that was accepted. If its address has too many, the oldest idle one of them is closed."""
        peer = client_address(connection.peer, (), self._trusted)
        connection.is_proxy = peer in self._trusted
        if not connection.is_proxy:
            address = self._assign(connection, rate_limit_key(peer))
            if address.connections > self._per_address:
                self._close_oldest(address.idle)

    def remove(self, connection: IdleConnection) -> None:
        """Removes a connection that is closed."""
        self._idle.pop(connection, None)
        self._release(connection)

    def begin_idle(self, connection: IdleConnection) -> None:
        """Notes that a connection waits for a request."""
        if connection.is_proxy:
            self._release(connection)
        self._idle[connection] = now = self._clock()
        if connection.address is not None:
            connection.address.idle[connection] = now

    def begin_request(self, connection: IdleConnection, forwarded: list[str]) -> None:
        """Notes that a request has arrived. `forwarded`: the values of X-Forwarded-For. Raises TooManyConnections."""
        self._idle.pop(connection, None)
        if connection.is_proxy:
            address = self._assign(connection, self._key_of(connection.peer, ",".join(forwarded)))
        else:
            assert connection.address is not None
            address = connection.address
            address.idle.pop(connection, None)
        if address.connections - len(address.idle) > self._per_address:
            raise TooManyConnections

    def close_oldest_idle(self) -> bool:
        """Closes the connection that has been idle for longest; if none is for long, one of the address with the most
        connections, if it has more than its share. Returns whether there was one."""
        if self._close_oldest(self._idle):
            return True
        largest = max(self._addresses.values(), key=lambda address: address.connections, default=None)
        if largest is None or largest.connections <= self._per_address:
            return False
        return self._close_oldest(largest.idle, grace=0.0)

    def _close_oldest(self, idle: dict[IdleConnection, float], grace: float = GRACE_SECONDS) -> bool:
        latest = self._clock() - grace
        for connection, since in idle.items():
            if since > latest:
                return False
            if connection.close_idle():  # which removes it
                return True
        return False

    def _assign(self, connection: IdleConnection, key: int) -> Address:
        address = self._addresses.get(key)
        if address is None:
            address = self._addresses[key] = Address(key)
        address.connections += 1
        connection.address = address
        return address

    def _release(self, connection: IdleConnection) -> None:
        address, connection.address = connection.address, None
        if address is not None:
            address.idle.pop(connection, None)
            address.connections -= 1
            if not address.connections:
                del self._addresses[address.key]

    def _forwarded_key(self, peer: str, forwarded: str) -> int:
        return rate_limit_key(client_address(peer, (forwarded,), self._trusted))
