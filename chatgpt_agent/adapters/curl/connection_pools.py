"""A pool of connections for each user and key: no byte on a connection can be another user's
(docs/decisions/0028-a-connection-for-one-user.md).

libcurl has one pool for each multi handle. A handle that shares connections uses the pool of its share instead
(CURL_LOCK_DATA_CONNECT of curl_share_setopt(3)), which costs 1.2 µs a request and 1 KB an owner.
"""

import asyncio

import pycurl

Owner = tuple[int, str]  # a user's id, and the OpenAI key


class _Pool:
    """The connections of one owner. `running`: transfers now; `peak`: at once since it exists, and so its connections
    at most; `idle_since`: seconds on the loop's clock."""

    __slots__ = ("idle_since", "peak", "running", "share")

    def __init__(self) -> None:
        self.share = pycurl.CurlShare()
        self.share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_CONNECT)
        self.running = 0
        self.peak = 0
        self.idle_since = 0.0


class ConnectionPools:
    """Lends each transfer the pool of its owner. A pool without transfers is closed after `max_idle` seconds, or at
    once where there may be more than `max_connections` in all."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, max_idle: float, max_connections: int) -> None:
        self._loop = loop
        self._max_idle = max_idle
        self._max_connections = max_connections
        self._pools: dict[Owner, _Pool] = {}
        self._owners: dict[pycurl.Curl, Owner] = {}  # of transfers
        self._peaks = 0  # of all pools
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._pools)

    def enter(self, curl: pycurl.Curl, owner: Owner) -> None:
        """Gives a handle the pool of an owner, before the transfer starts."""
        pool = self._pools.get(owner)
        if pool is None:
            pool = self._pools[owner] = _Pool()
            if self._timer is None:
                self._timer = self._loop.call_later(self._max_idle, self._close_idle)
        pool.running += 1
        if pool.running > pool.peak:
            pool.peak += 1
            self._peaks += 1
        self._owners[curl] = owner
        curl.setopt(pycurl.SHARE, pool.share)

    def leave(self, curl: pycurl.Curl) -> None:
        """Takes the pool from a handle, after the transfer was removed from its multi handle."""
        curl.unsetopt(pycurl.SHARE)
        owner = self._owners.pop(curl)
        pool = self._pools[owner]
        pool.running -= 1
        if not pool.running:
            pool.idle_since = self._loop.time()
            if self._peaks > self._max_connections:
                self._close(owner)

    def close(self) -> None:
        """Closes all connections. There must be no transfers."""
        if self._timer is not None:
            self._timer.cancel()
        self._pools.clear()

    def _close_idle(self) -> None:
        limit = self._loop.time() - self._max_idle
        for owner in [owner for owner, pool in self._pools.items() if not pool.running and pool.idle_since <= limit]:
            self._close(owner)
        self._timer = self._loop.call_later(self._max_idle, self._close_idle) if self._pools else None

    def _close(self, owner: Owner) -> None:
        pool = self._pools.pop(owner)  # with its share libcurl closes its connections
        self._peaks -= pool.peak
