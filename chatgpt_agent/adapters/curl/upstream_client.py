"""All exchanges with OpenAI of one agent: how they are started, ended, and delivered together."""

import asyncio
from collections.abc import Callable

from chatgpt_agent.adapters.config_values import UpstreamSettings
from chatgpt_agent.adapters.curl.client import UpstreamHTTPClient
from chatgpt_agent.adapters.curl.exchange import Exchange
from chatgpt_agent.adapters.curl.options import http_client, request_settings
from chatgpt_agent.core.errors import UpstreamUnreachable


class UpstreamClient:
    """Sends requests to OpenAI. Lives as long as the process."""

    def __init__(self, settings: UpstreamSettings) -> None:
        """Raises SetupError where libcurl is too old."""
        self.settings = settings  # of requests from now on
        self.requests_by = request_settings(settings)  # by method
        self.http_client = http_client(settings)
        self._former: list[UpstreamHTTPClient] = []  # with requests that began before the settings changed
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

    def set_settings(self, settings: UpstreamSettings) -> None:
        """Takes settings for requests from now on; those in progress end as they began. Connections that are kept are
        not used again where a setting has changed, or where there is a file with CA certificates: libcurl may have
        those that were in it a day ago."""
        if settings == self.settings and settings.ca_file is None:
            return
        self.settings = settings
        self.requests_by = request_settings(settings)
        self._former.append(self.http_client)
        self.http_client = http_client(settings)
        for client in self._former:
            client.close_when_idle()
        self._former = [client for client in self._former if not client.is_closed]

    def close(self) -> None:
        """Ends every exchange now, and closes all connections."""
        self.abort_all()
        for client in (self.http_client, *self._former):
            client.close()

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
