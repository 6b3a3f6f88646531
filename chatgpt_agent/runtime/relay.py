"""A request on its way to OpenAI and back: admit, write the intent, send, pass the answer on, write the row, and
only then give out the end of the answer.

Whoever reads a call's body decides where it goes; the call sees to the books, also when nobody is left to read.
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from chatgpt_agent import __version__
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.cooperative import run_cooperatively
from chatgpt_agent.adapters.curl.exchange import Exchange, Head, UpstreamClient, unusable
from chatgpt_agent.core.access.admission import Identity, admit
from chatgpt_agent.core.budget.max_cost import Assumptions, estimate_tokens, most
from chatgpt_agent.core.cooperative import SLICE
from chatgpt_agent.core.errors import (
    AgentError,
    ClientClosed,
    KeyUnusable,
    LedgerUnavailable,
    Overloaded,
    UpstreamKeyRejected,
)
from chatgpt_agent.core.http.decompression import Decompressor
from chatgpt_agent.core.http.endpoints import upstream_urls
from chatgpt_agent.core.http.headers import request_headers
from chatgpt_agent.core.http.meter import CompressedMeter, StreamMeter, read_answer
from chatgpt_agent.core.http.request import ApiRequest
from chatgpt_agent.core.ledger import UNCERTAIN, Intent, Outcome, Row, State, answered_state, failed_state
from chatgpt_agent.core.names import is_printable
from chatgpt_agent.core.usage import Answer
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.ledger import Entry, Ledger
from chatgpt_agent.runtime.rate_limiter import Limits

log = logging.getLogger(__name__)

USER_AGENT = f"chatgpt-agent/{__version__}"


class Relay:
    """Begins calls, and knows how many are under way."""

    def __init__(
        self,
        config: Config,
        directory: Directory,
        ledger: Ledger,
        upstream: UpstreamClient,
        budgets: Budgets,
        limits: Limits,
    ) -> None:
        self.config = config
        self.directory = directory
        self.ledger = ledger
        self.upstream = upstream
        self.budgets = budgets
        self.limits = limits
        self.assumed = Assumptions(config.budget_linked_tokens, config.budget_output_tokens)
        self.urls = upstream_urls(config.openai_url)  # where each endpoint is; one that is not here is not served
        self.calls = 0  # that hold a place
        self.abandoned_calls = 0  # of these, whose client has left

    @property
    def full(self) -> bool:
        """Whether every place is taken."""
        return self.calls >= self.config.max_concurrent_requests

    def call(self, identity: Identity, request: ApiRequest, *, request_id: UUID) -> "Call":
        """A call that is admitted and not begun. Raises ModelNotFound, RateLimited, InsufficientQuota, Overloaded,
        DirectoryStale."""
        if self.full:
            raise Overloaded
        return Call(self, identity, request, request_id=request_id)


class Reader(Protocol):
    """Where a stream goes. One that has left takes everything, and drops it."""

    def put(self, piece: bytes) -> bool:
        """Takes a piece. Returns whether it has room for more."""

    async def drained(self) -> None:
        """Waits until there is room."""


class _Passing:
    """Chunks on their way from a meter to a reader."""

    __slots__ = ("_meter", "_reader")

    def __init__(self, meter: StreamMeter | CompressedMeter, reader: Reader) -> None:
        self._meter = meter
        self._reader = reader

    def take(self, chunk: bytes) -> bool:
        """Passes a chunk on. Returns whether the next may come at once."""
        # For each chunk of each stream, and so nothing is here that could be once a stream.
        ready = self._meter.feed(chunk)
        return (not ready or self._reader.put(ready)) and not self._meter.complete


class Call:
    """One request: `begin`, then `stream` or `whole` to its end, client or not. `row` is its line in the ledger, once
    it is written."""

    def __init__(self, relay: Relay, identity: Identity, request: ApiRequest, *, request_id: UUID) -> None:
        self._relay = relay
        self._identity = identity
        self._request = request
        self._loop = asyncio.get_running_loop()
        # Pinned at dispatch: whatever changes later, this call is charged by this book.
        now = datetime.now(UTC)
        self._book = relay.directory.book
        self._price = admit(request.model, self._book, now, identity)
        self._intent = Intent(
            request_id=request_id,
            user_id=identity.user.id,
            token_id=identity.token.id,
            endpoint=request.endpoint.path,
            model=request.model,
            price_id=self._price.id,
            streamed=request.stream,
            started_at=now,
            max_cost=most(self._price, request.size, relay.assumed),
        )
        # All of it in one step: nobody else is asked in between.
        self._taken = relay.limits.take(identity, estimate_tokens(request.size))
        try:
            self._reservation = relay.budgets.reserve(identity, request_id, self._intent.max_cost, now)
        except AgentError:
            self._taken.used(0)
            self._taken.done()
            raise
        relay.calls += 1
        # Under way.
        self._entry: Entry | None = None
        self._exchange: Exchange | None = None
        self._head: Head | None = None
        self._began = self._loop.time()
        self._first_byte_ms: int | None = None
        self._settling = False
        self.row: Row | None = None
        # The client.
        self._client_left = False
        self._drain_timer: asyncio.TimerHandle | None = None

    async def begin(self, accept: str | None) -> Head:
        """Sends the request and returns the head of the answer. Raises AgentError, with the row written where the
        request may have been sent."""
        headers = self._headers(accept)
        self._entry = await self._relay.ledger.open(self._intent, self._price, self._book)
        self._began = self._loop.time()
        if self._client_left:
            await self._settle(State.NOT_SENT, error=ClientClosed.code)
            raise ClientClosed
        return await self._send(headers)

    @property
    def streaming(self) -> bool:
        """Whether the answer is a stream, to be passed on as it comes, and not one whole text."""
        assert self._head is not None
        kind = (self._head.first("content-type") or "").partition(";")[0].strip().lower()
        # Some servers leave the type out; what the client asked for then tells.
        return kind == "text/event-stream" or (self._request.stream and not kind)

    async def close(self) -> None:
        """Gives the place back. A call that was not read to its end, which only a fault in the agent can cause, is
        aborted and gets its row all the same."""
        self._relay.calls -= 1
        self._taken.done()
        if self._entry is None:  # it was never begun
            self._taken.used(0)
            if self._reservation is not None:
                self._reservation.release()
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._relay.abandoned_calls -= 1
        if self._entry is not None and not self._settling:
            sent = self._exchange is not None and self._exchange.sent
            if self._exchange is not None:
                self._exchange.abort()
            await self._settle(failed_state(sent=sent, answering=self._head is not None), error=AgentError.code)

    def _count(self) -> None:
        """Puts what the call cost in the place of what was set aside for it. One whose row waits for the disk may have
        cost all of that."""
        row = self.row
        if self._reservation is not None:
            self._reservation.settle(row)
        if row is not None and row.usage is not None:
            self._taken.used(row.usage.input + row.usage.output)
        elif row is not None and row.state not in UNCERTAIN:
            self._taken.used(0)

    def client_left(self) -> None:
        """Says that nobody reads any more. OpenAI's answer is still read to its usage, within limits of time and
        number, so that the row is true."""
        if self._client_left:
            return
        self._client_left = True
        if self._exchange is None or self._settling:
            return
        relay, config = self._relay, self._relay.config
        if relay.abandoned_calls >= config.drain_after_disconnect_max:
            self._exchange.abort(ClientClosed())
            return
        relay.abandoned_calls += 1
        abort = self._exchange.abort
        self._drain_timer = self._loop.call_later(config.drain_after_disconnect, abort, ClientClosed())

    def _headers(self, accept: str | None) -> list[tuple[str, str]]:
        user = self._identity.user
        try:
            key = self._relay.directory.upstream_key(user)
        except KeyUnusable as error:
            log.error("user %s: %s", user.name, error)
            raise UpstreamKeyRejected(sent=False) from None
        return request_headers(
            accept=accept,
            upstream_key=key,
            request_id=str(self._intent.request_id),
            agent=USER_AGENT,
            content_type=self._request.content_type,
        )

    async def _send(self, headers: list[tuple[str, str]]) -> Head:
        url = self._relay.urls[self._request.endpoint.path]
        self._exchange = self._relay.upstream.send(url, self._request.upstream_body, headers)
        try:
            head = await self._exchange.head()
        except AgentError as error:
            await self._settle(failed_state(sent=self._exchange.sent, answering=False), error=error.code)
            raise
        self._head = head
        self._first_byte_ms = self._milliseconds()
        refusal = unusable(head, has_proxy=self._relay.config.openai_proxy is not None)
        if head.status in (401, 403):
            log.error("OpenAI refused the key of user %s with status %d", self._identity.user.name, head.status)
            refusal = UpstreamKeyRejected(sent=True)
        if refusal is not None:
            self._exchange.abort(refusal)
            await self._settle(State.UPSTREAM_ERROR, error=refusal.code)
            raise refusal
        return head

    async def whole(self) -> list[bytes]:
        """The body of an answer that is no stream, as it came, once its row is written. Raises AgentError where it
        breaks off."""
        assert self._exchange is not None
        assert self._head is not None
        chunks, size = [], 0
        try:
            while chunk := await self._exchange.read():
                chunks.append(chunk)
                size += len(chunk)
                if size > SLICE:  # where the upstream is fast, nothing of this waits
                    await asyncio.sleep(0)
        except AgentError as error:
            await self._settle(State.INCOMPLETE, error=error.code)
            raise
        answer = Answer()
        if 200 <= self._head.status < 300:
            inflater, endpoint = self._inflater(), self._request.endpoint
            pieces = map(inflater.feed, chunks) if inflater else chunks
            answer = await run_cooperatively(read_answer(pieces, endpoint))
        await self._settle_answered(answer)
        return chunks

    async def stream(self, reader: Reader) -> None:
        """Passes a stream on as it comes, and at its end what was kept back until the row was written. Raises
        AgentError where it breaks off: what was passed on by then must not look complete."""
        assert self._exchange is not None
        meter = self._meter()
        take = _Passing(meter, reader).take
        over = False
        while not over:
            try:
                over = await self._exchange.pour(take)
            except AgentError as error:
                meter.end(clean=False)
                await self._settle(State.INCOMPLETE, meter.answer(), error=error.code)
                reader.put(meter.take_held())
                raise
            if over:
                meter.end(clean=True)
            if over or meter.complete:
                await self._settle_answered(meter.answer())
                reader.put(meter.take_held())
            await reader.drained()

    def _meter(self) -> StreamMeter | CompressedMeter:
        endpoint = self._request.endpoint
        if inflater := self._inflater():
            return CompressedMeter(endpoint, inflater)
        return StreamMeter(endpoint, hide_usage=self._request.hides_usage)

    def _inflater(self) -> Decompressor | None:
        """What reads an answer that came compressed though nobody asked for it."""
        assert self._head is not None
        encoding = (self._head.first("content-encoding") or "identity").strip().lower()
        return None if encoding == "identity" else Decompressor(encoding)

    async def _settle_answered(self, answer: Answer) -> None:
        assert self._head is not None
        await self._settle(answered_state(self._head.status, answer), answer)

    async def _settle(self, state: State, answer: Answer = Answer(), *, error: str | None = None) -> None:
        """Writes the row; only the first outcome counts. Raises LedgerUnavailable: nothing more may go out."""
        if self._settling:
            return
        self._settling = True
        assert self._entry is not None
        outcome = Outcome(
            state=state,
            status=self._head.status if self._head else None,
            answer=answer,
            upstream_request_id=self._upstream_request_id(),
            client_closed=self._client_left,
            error=error,
            duration_ms=self._milliseconds(),
            first_byte_ms=self._first_byte_ms,
        )
        try:
            self.row = await self._relay.ledger.settle(self._entry, outcome)
        except LedgerUnavailable as refusal:
            refusal.retry = state is State.NOT_SENT
            raise
        finally:
            self._count()

    def _upstream_request_id(self) -> str | None:
        found = self._head.first("x-request-id") if self._head else None
        return found if found and is_printable(found) else None

    def _milliseconds(self) -> int:
        return round((self._loop.time() - self._began) * 1000)
