"""`GET /proxyz`: a short stream for `doctor`, which sees by it what a reverse proxy in front does. It answers a signed
request alone; any other is answered as one of an unknown URL."""

import asyncio
import contextlib
import time
from collections.abc import Collection

from tornado.iostream import StreamClosedError

from chatgpt_agent.core.errors import Overloaded
from chatgpt_agent.core.http.headers import STREAM_DEFAULTS
from chatgpt_agent.core.proxy_probe import EVENTS, HEADER, write_event
from chatgpt_agent.runtime.proxy_probe import ProxyProbe
from chatgpt_agent.web.unknown_url import UnknownUrlHandler


class ProxyProbeHandler(UnknownUrlHandler):
    """Answers the probe with a few bytes at a time, as an answer of OpenAI is streamed."""

    def initialize(self, paths: Collection[str], probe: ProxyProbe) -> None:  # type: ignore[override]  # of its route
        super().initialize(paths)
        self._probe = probe
        self._left = asyncio.Event()  # set when the client has

    def prepare(self) -> None:
        if self.request.method != "GET" or not self._probe.accepts(self.request.headers.get_list(HEADER)):
            super().prepare()
            return
        self.quiet = True
        if self._probe.full:
            self.refuse(Overloaded("Too many probes run at once."))

    async def get(self) -> None:
        if self.request.version == "HTTP/1.0":
            self.announce_close()  # the end of the connection is then the end of the body (RFC 9112 §6.3)
        for name, value in (("Content-Type", "text/event-stream"), *STREAM_DEFAULTS):
            self.set_header(name, value)
        self._probe.running += 1
        try:
            await self._stream()
        except StreamClosedError:
            pass
        finally:
            self._probe.running -= 1
        self.finish()

    async def _stream(self) -> None:
        """Raises StreamClosedError."""
        port, started = self._peer_port(), time.monotonic()
        for number in range(EVENTS):
            if number:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._left.wait(), self._probe.pause)
            if self._left.is_set():
                return
            ms = int((time.monotonic() - started) * 1000)
            self.write(write_event(self._probe.sighting(self.request.headers, self.stream.peer, port, ms)))
            await self.flush()

    def _peer_port(self) -> int:
        """Raises StreamClosedError."""
        if self.stream.closed():
            raise StreamClosedError
        name = self.stream.socket.getpeername()
        return name[1] if isinstance(name, tuple) else 0  # a Unix socket's has none

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._left.set()
