"""One admitted request: write the intent, send it to OpenAI, and write the row once its answer is read
(runtime/answering.py), also after the client has disconnected."""

import functools
import logging
import time
from collections.abc import Mapping, Sequence

import msgspec

from chatgpt_agent import __version__
from chatgpt_agent.adapters.config_values import UpstreamSettings
from chatgpt_agent.adapters.curl.exchange import Exchange
from chatgpt_agent.adapters.curl.head import Head, head_error
from chatgpt_agent.adapters.curl.upstream_client import UpstreamClient
from chatgpt_agent.core.access.identity import User
from chatgpt_agent.core.errors import (
    AgentError,
    ClientClosed,
    KeyUnusable,
    LedgerUnavailable,
    UpstreamError,
    UpstreamKeyRejected,
)
from chatgpt_agent.core.http.headers import request_headers
from chatgpt_agent.core.http.request import ApiRequest
from chatgpt_agent.core.ledger import Outcome, Row, State, answered_state, failed_state
from chatgpt_agent.core.metrics import OWN_SECONDS
from chatgpt_agent.core.names import is_printable
from chatgpt_agent.core.secrets import shows_secret
from chatgpt_agent.core.usage import Answer
from chatgpt_agent.runtime.abandoned import AbandonedAnswer, AbandonedAnswers
from chatgpt_agent.runtime.admission import Admission
from chatgpt_agent.runtime.answering import Answering
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.histogram import Histogram
from chatgpt_agent.runtime.ledger import Ledger, OpenRequest
from chatgpt_agent.runtime.memory import Share

log = logging.getLogger(__name__)

USER_AGENT = f"chatgpt-agent/{__version__}"


class Relay:
    """Sends requests to OpenAI. `urls`: where the upstream has each endpoint, by the endpoint's name;
    `own_seconds`: the time that the agent adds to each request."""

    def __init__(
        self,
        *,
        directory: Directory,
        ledger: Ledger,
        upstream: UpstreamClient,
        urls: dict[str, str],
        abandoned: AbandonedAnswers,
        own_seconds: Histogram | None = None,
    ) -> None:
        self.directory = directory
        self.ledger = ledger
        self.upstream = upstream
        self.urls = urls
        self.abandoned = abandoned
        self.own_seconds = own_seconds or Histogram(OWN_SECONDS.buckets)

    def dispatch(
        self, user: User, request: ApiRequest, admission: Admission, share: Share, *, received_at: float | None = None
    ) -> "Dispatch":
        """Returns the dispatch of an admitted request, whose body is counted in `share`. Nothing is sent yet.
        `received_at`: when all of it had come, by time.monotonic(); None: now."""
        received_at = time.monotonic() if received_at is None else received_at
        return Dispatch(self, user, request, admission, share, received_at=received_at)


class Dispatch:
    """One admitted request: `send` it, read the answer that this returns to its end, and `close` it in any case.

    `row` is its row in the ledger, once that is written.
    """

    def __init__(
        self,
        relay: Relay,
        user: User,
        request: ApiRequest,
        admission: Admission,
        share: Share,
        *,
        received_at: float,
    ) -> None:
        # Of the request only what is still needed once its body is sent.
        self.endpoint = request.endpoint
        self.stream = request.stream
        self.hides_usage = request.hides_usage
        self._url = request.url(relay.urls[request.endpoint.name])
        self._content_type = request.content_type
        self._body = request.upstream_body
        self._body_share = share  # until the body is sent
        self.share = share.another()  # of the answer
        self.row: Row | None = None
        self.trace_headers: Sequence[tuple[str, str]] = ()  # to be sent, too
        self._relay = relay
        self._user = user
        self._admission = admission
        self._key = ""  # the OpenAI key that was sent
        self._loop = relay.upstream.loop
        # What has happened.
        self._open: OpenRequest | None = None  # the intent is written: from then on there will be a row
        self._exchange: Exchange | None = None  # it was sent
        self._head: Head | None = None  # it is being answered
        self._settling = False
        self._started_at = self._loop.time()
        self._first_byte_ms: int | None = None
        self._received_at = received_at
        self._own_seconds = 0.0  # until it was sent
        # The client.
        self._disconnected = False
        self._abandoned: AbandonedAnswer | None = None

    async def send(self, client: Mapping[str, str]) -> Answering:
        """Sends the request and returns the answer once its head is there. `client`: the client's header fields. Raises
        AgentError, with the row written where the request may have been sent."""
        headers = self._headers(client)
        admission, relay = self._admission, self._relay
        self._open = await relay.ledger.open_request(admission.intent, admission.price, admission.book)
        self._started_at = self._loop.time()
        self._own_seconds = time.monotonic() - self._received_at
        if self._disconnected:
            await self.settle(State.NOT_SENT, error=ClientClosed.code)
            raise ClientClosed
        exchange = self._exchange = relay.upstream.send(
            self._url,
            self._take_body(),
            headers,
            method=self.endpoint.method,
            on_sent=self._body_share.release,
            owner=self._user.id,
        )
        try:
            head = await exchange.head()
        except AgentError as error:
            await self.fail(error, failed_state(sent=exchange.sent, answering=False))
            raise
        self._head = head
        self._first_byte_ms = self._milliseconds()
        refusal = self._head_error(head)
        if refusal is not None:
            exchange.abort(refusal)
            await self.fail(refusal, State.UPSTREAM_ERROR)
            raise refusal
        return Answering(self, exchange, head)

    def on_disconnect(self) -> None:
        """The client has disconnected. OpenAI's answer is still read to its usage, if it has one, within limits of time
        and number, so that the row is true."""
        if self._disconnected:
            return
        self._disconnected = True
        if self._exchange is None or self._settling:
            return
        abort = functools.partial(self._exchange.abort, ClientClosed())
        self._abandoned = None if self.endpoint.is_free else self._relay.abandoned.start(self._user.id, abort)
        if self._abandoned is None:
            abort()

    async def close(self) -> None:
        """Gives back what the request holds. If its answer was not read to the end, which only a bug in the agent can
        cause, aborts it and writes its row all the same."""
        self._admission.release()
        self._body_share.release()
        self.share.release()
        if self._abandoned is not None:
            self._relay.abandoned.end(self._abandoned)
        if self._open is None:
            self._admission.cancel()
        elif not self._settling:
            sent = self._exchange is not None and self._exchange.sent
            if self._exchange is not None:
                self._exchange.abort()
            await self.settle(failed_state(sent=sent, answering=self._head is not None), error=AgentError.code)

    async def fail(self, error: AgentError, state: State, answer: Answer = Answer()) -> None:
        """Writes the row of a request that failed, and why to the log. Raises LedgerUnavailable."""
        if isinstance(error, UpstreamError) and error.cause:
            cause = "(not shown: it has the key)" if shows_secret(error.cause, self._key) else error.cause
            request_id, upstream = self._admission.intent.request_id, self._settings.destination
            log.warning("request %s of user %s to %s: %s: %s", request_id, self._user.name, upstream, error.code, cause)
        await self.settle(state, answer, error=error.code)

    async def settle_answer(self, answer: Answer, status: int, ended_at: float) -> None:
        """Writes the row of a request that was answered to the end. `ended_at`: when that came, by time.monotonic().
        Raises LedgerUnavailable."""
        if self._settling:
            return
        await self.settle(answered_state(status, answer), answer)
        self._relay.own_seconds.add(self._own_seconds + time.monotonic() - ended_at)

    async def settle(self, state: State, answer: Answer = Answer(), *, error: str | None = None) -> None:
        """Writes the row; only the first outcome counts. Raises LedgerUnavailable: nothing more may go out."""
        if self._settling or self._open is None:
            return
        self._settling = True
        outcome = Outcome(
            state=state,
            status=self._head.status if self._head else None,
            answer=self._without_key(answer),
            upstream_request_id=self._upstream_request_id(),
            client_closed=self._disconnected,
            error=error,
            duration_ms=self._milliseconds(),
            first_byte_ms=self._first_byte_ms,
        )
        try:
            self.row = await self._relay.ledger.settle(self._open, outcome)
        except LedgerUnavailable as unavailable:
            unavailable.retry = state is State.NOT_SENT
            raise
        finally:
            self._admission.settle(self.row)

    def _without_key(self, answer: Answer) -> Answer:
        """An answer without names that show the key: an upstream may echo it anywhere."""
        if not shows_secret(f"{answer.model} {answer.id} {answer.service_tier} {answer.unknown_fields}", self._key):
            return answer
        return msgspec.structs.replace(answer, model=None, id=None, service_tier=None, unknown_fields=())

    def _upstream_request_id(self) -> str | None:
        value = self._head.first("x-request-id") if self._head else None
        return value if value and is_printable(value) and not shows_secret(value, self._key) else None

    @property
    def _settings(self) -> UpstreamSettings:
        """Those with which it was sent."""
        return self._relay.upstream.settings if self._exchange is None else self._exchange.settings

    def _take_body(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def _headers(self, client: Mapping[str, str]) -> list[tuple[str, str]]:
        try:
            self._key = self._relay.directory.upstream_key(self._user)
        except KeyUnusable as error:
            log.error("user %s: %s", self._user.name, error)
            raise UpstreamKeyRejected(sent=False) from None
        return request_headers(
            client=client,
            upstream_key=self._key,
            request_id=str(self._admission.intent.request_id),
            agent=USER_AGENT,
            content_type=self._content_type,
            trace=self.trace_headers,
        )

    def _head_error(self, head: Head) -> AgentError | None:
        if head.status in (401, 403):
            log.error("OpenAI refused the key of user %s with status %d", self._user.name, head.status)
            return UpstreamKeyRejected(sent=True)
        return head_error(head, has_proxy=self._settings.proxy is not None)

    def _milliseconds(self) -> int:
        return round((self._loop.time() - self._started_at) * 1000)
