"""All exchanges with OpenAI of one agent: how they are started, ended, and delivered together."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient

from chatgpt_agent.adapters.config_values import UpstreamSettings
from chatgpt_agent.adapters.curl.exchange import Exchange
from chatgpt_agent.adapters.curl.options import request_options
from chatgpt_agent.core.errors import UpstreamUnreachable


class UpstreamClient:
    """Sends requests to OpenAI. Lives as long as the process."""

    def __init__(self, http_client: AsyncHTTPClient, settings: UpstreamSettings) -> None:
        self.http_client = http_client
        self.settings = settings
        self.has_proxy = settings.proxy is not None
        self.destination = urlsplit(settings.url).netloc  # for the log
        if settings.proxy is not None:
            self.destination += f" through the proxy {settings.proxy.host}:{settings.proxy.port}"
        self.options = request_options(settings)
        self.exchanges: set[Exchange] = set()  # that have not ended
        self.loop = asyncio.get_running_loop()  # for each request: asyncio would ask the system each time
        self._with_data: dict[Exchange, None] = {}  # each once, in the order of their first data

    @property
    def running(self) -> int:
        """How many exchanges have not ended."""
        return len(self.exchanges)

    def send(
        self,
        url: str,
        body: bytes,
        headers: list[tuple[str, str]],
        *,
        on_sent: Callable[[], None],
        owner: int = 0,
        method: str = "POST",
    ) -> Exchange:
        """Starts a request. `on_sent` is called when libcurl has taken all of the body, and it is not held here any
        more. `owner`: the user, whose requests alone share connections."""
        exchange = Exchange(self, on_sent)
        exchange.start(url, body, headers, method=method, owner=owner)
        return exchange

    def abort_all(self) -> None:
        """Ends every exchange now."""
        for exchange in list(self.exchanges):
            exchange.abort()

    def abort_unsent(self) -> None:
        """Ends every exchange of which nothing was sent yet: it still connects, or waits for its address."""
        for exchange in list(self.exchanges):
            if not exchange.sent:
                exchange.abort(UpstreamUnreachable(sent=False))

    def schedule_delivery(self, exchange: Exchange) -> None:
        """Calls `deliver` of an exchange when all sockets that are readable in this iteration of the loop were read.

        Chunks for many clients are then written one after the other, with no read between two of them: a client that is
        awake already need not be woken for the next chunk, which costs as much as sending it.
        """
        if not self._with_data:
            self.loop.call_soon(self._deliver)
        self._with_data[exchange] = None

    def _deliver(self) -> None:
        exchanges, self._with_data = self._with_data, {}
        now = self.loop.time()
        for exchange in exchanges:
            exchange.deliver(now)
