"""Clients' connections: how many there may be, and for how long one may send nothing or read nothing.

Tornado's accept handler neither counts connections nor pauses. When the process has no file descriptor left for one
more, the listening socket stays readable: 14,000 tracebacks a second and a whole core, measured.
"""

import errno
import logging
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerConnectionDelegate
from tornado.ioloop import IOLoop

from chatgpt_agent.core.access.networks import NO_PEER
from chatgpt_agent.runtime.background import Throttle
from chatgpt_agent.web.client_connection import ClientConnection, OnError
from chatgpt_agent.web.client_stream import ClientStream, ConnectionLimits
from chatgpt_agent.web.connection_table import ConnectionTable
from chatgpt_agent.web.cors import Cors
from chatgpt_agent.web.lingering import LingeringSockets
from chatgpt_agent.web.tls_stream import TlsStream
from chatgpt_agent.web.unix_stream import UnixStream

log = logging.getLogger(__name__)

BATCH = 128  # connections that are accepted in one iteration of the loop
PAUSE_SECONDS = 0.25  # while the system has no room for one more connection
LOG_SECONDS = 10.0  # between two warnings
SEND_BUFFER = 256 * 1024  # bytes, which Linux doubles; its own default grows to 4 MB for a client that reads slowly
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}  # accept(2)
MAX_BODY = 1 << 62  # bytes, more than any Content-Length that is passed on: the handlers have limits of their own


class Peer(msgspec.Struct, frozen=True):
    """What Tornado's request knows of its connection."""

    remote_ip: str
    protocol: str


class Listener(HTTPServer):
    """Tornado's server, with a limit of connections. Those over the limit wait in the kernel's queue."""

    def __init__(
        self,
        app: HTTPServerConnectionDelegate,
        limits: ConnectionLimits,
        trusted_proxies: Iterable[str] = (),
        cors: Cors | None = None,
        on_error: OnError | None = None,
    ) -> None:
        """Does nothing: Tornado's servers are set up by `initialize`."""

    def initialize(  # type: ignore[override]  # our arguments: Tornado makes none of these itself
        self,
        app: HTTPServerConnectionDelegate,
        limits: ConnectionLimits,
        trusted_proxies: Iterable[str] = (),
        cors: Cors | None = None,
        on_error: OnError | None = None,
    ) -> None:
        super().initialize(
            app,
            max_header_size=limits.head_bytes,
            max_body_size=MAX_BODY,
        )
        # Tornado's timeouts cost 7 % of a request: ClientStream has its own, with one timer for many requests.
        self.conn_params.header_timeout = None
        self._limits = limits
        self._cors = cors
        self._on_error = on_error
        self.connections = 0  # sockets, including those that only linger
        self._lingering = LingeringSockets(self._on_socket_closed)
        self._table = ConnectionTable(
            connections=limits.connections,
            per_address=limits.connections_per_address,
            trusted_proxies=trusted_proxies,
            clock=time.monotonic,
        )
        self.tls: ssl.SSLContext | None = None  # of connections over TCP that are accepted from now on
        self.begin_idle = self._table.begin_idle
        self.begin_request = self._table.begin_request
        # Accepting.
        self._listening: list[socket.socket] = []
        self._accepting = False
        self._pause_timer: object | None = None  # while the system has no room
        self._room_timer: object | None = None  # while there are too many connections
        self._warning = Throttle(log, seconds=LOG_SECONDS)

    def listen_on(self, sockets: list[socket.socket]) -> None:
        """Starts to accept. The listener closes the sockets when it stops."""
        self._listening = sockets
        for listening in sockets:  # inherited by connections
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._start_accepting()

    def set_limits(self, limits: ConnectionLimits, trusted_proxies: Iterable[str]) -> None:
        """Takes other limits. The times are those of connections that are accepted from now on."""
        self._limits = limits
        self._table.set_limits(
            connections=limits.connections,
            per_address=limits.connections_per_address,
            trusted_proxies=trusted_proxies,
        )

    def stop(self) -> None:
        """Accepts no more; connections that are open stay so."""
        self._stop_accepting()
        for timer in (self._pause_timer, self._room_timer):
            if timer is not None:
                IOLoop.current().remove_timeout(timer)
        for listening in self._listening:
            listening.close()
        self._listening.clear()

    async def close_all_connections(self) -> None:
        """Closes all connections, in the middle of what they do."""
        await super().close_all_connections()
        self._lingering.close_all()

    def handle_stream(self, stream: Any, address: Any) -> None:
        """Serves a connection. Tornado's method is the same with its own reader of requests."""
        peer = Peer(stream.peer, "https" if isinstance(stream, TlsStream) else "http")
        connection = ClientConnection(stream, self.conn_params, peer, self._cors, self._on_error)
        self._connections.add(connection)
        connection.start_serving(self)

    def on_closed(self, stream: ClientStream) -> None:
        """A connection has ended."""
        self._table.remove(stream)
        if stream.lingering is None:
            self._on_socket_closed()
        else:
            self._lingering.add(stream.lingering, stream.linger_bytes)

    def _on_socket_closed(self) -> None:
        self.connections -= 1
        if self._pause_timer is None:
            self._start_accepting()

    def _start_accepting(self) -> None:
        if not self._accepting:
            self._accepting = True
            for listening in self._listening:
                IOLoop.current().add_handler(listening, self._accept, IOLoop.READ)

    def _stop_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            for listening in self._listening:
                IOLoop.current().remove_handler(listening)

    def _accept(self, listening: socket.socket, _events: int) -> None:
        for _ in range(BATCH):
            if self.connections >= self._limits.connections and not self._make_room():
                return
            try:
                connection, address = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._pause(error)
                    return
                continue  # it was closed before it was accepted: Linux reports that here
            try:
                stream = self._stream(connection, address)
            except OSError:  # the client has reset it
                connection.close()
                continue
            self.connections += 1
            self._table.add(stream)
            self.handle_stream(stream, address)

    def _stream(self, connection: socket.socket, address: Any) -> ClientStream:
        """Raises OSError."""
        if connection.family == socket.AF_UNIX:
            return UnixStream(connection, NO_PEER, self._limits, self)
        if self.tls is None:
            return ClientStream(connection, address[0], self._limits, self)
        wrapped = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return TlsStream(wrapped, address[0], self._limits, self)

    def _make_room(self) -> bool:
        """Closes a connection that no request needs. Returns whether there is room for another one."""
        if self._lingering.close_oldest() or self._table.close_oldest_idle():
            return True
        self._stop_accepting()  # until one of them ends, or is idle for long enough
        if self._room_timer is None:
            self._room_timer = IOLoop.current().call_later(PAUSE_SECONDS, self._look_for_room)
        self._warning.warning("%d connections are open: no more are accepted until one ends", self.connections)
        return False

    def _look_for_room(self) -> None:
        self._room_timer = None
        if self._pause_timer is None:
            self._start_accepting()

    def _pause(self, error: OSError) -> None:
        self._stop_accepting()
        self._warning.warning("no connection can be accepted: %s", error.strerror)
        self._pause_timer = IOLoop.current().call_later(PAUSE_SECONDS, self._end_pause)

    def _end_pause(self) -> None:
        self._pause_timer = None
        self._start_accepting()
