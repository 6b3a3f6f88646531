"""The check of the reverse proxy in front: what it does with a stream, and with the client's address, as the agent sees
that. The agent sends a short stream of its own, which takes no user and nothing of OpenAI."""

import asyncio
import time
from collections.abc import Awaitable
from typing import cast
from urllib.parse import urlsplit

import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_checks import addresses_in, is_loopback
from chatgpt_agent.adapters.curl.get import WholeAnswer, get_stream
from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.adapters.unix_sockets import path_of
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Result, failure, ok, skipped, warning
from chatgpt_agent.core.access.networks import parse_address
from chatgpt_agent.core.errors import Overloaded, UnknownUrl, UpstreamError
from chatgpt_agent.core.proxy_probe import EVENTS, HEADER, PATH, Sighting, read_event, signed_value
from chatgpt_agent.runtime.master_key import keyring_if_present

SECONDS = 3.0  # for a stream, which takes one
LATE = 0.15  # seconds: HAProxy holds data back for 0.2 s
MAX_BODY = 64 * 1024  # bytes of an answer that are kept
FORGED = "192.0.2.1"  # an address of documentation (RFC 5737), as a client may write it into X-Forwarded-For
PAGE = "docs/reverse-proxies.md"
_ALL_ONE = "all clients seem to come from there, and share its limits"


class _Probe:
    """One request of the probe, and when the pieces of its answer came."""

    def __init__(self) -> None:
        self.own = ("", 0)  # address and port of this end of the connection
        self.body = b""
        self.sightings: list[Sighting] = []
        self._times: list[float] = []  # of the sightings, in monotonic seconds
        self._rest = b""  # of an event that is not whole

    async def send(self, config: Config, signature: str, forged: str = "") -> WholeAnswer:
        """Returns the answer. Raises UpstreamError."""
        settings = msgspec.structs.replace(config.upstream, proxy=None, ca_file=None, http_version="1.1")
        headers = {HEADER: signature, "Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate"}
        if forged:
            headers["X-Forwarded-For"] = forged
        return await get_stream(
            settings,
            probe_url(config),
            headers,
            timeout=SECONDS,
            on_chunk=self._on_chunk,
            on_connection=self._on_connection,
        )

    def _on_connection(self, address: str, port: int) -> None:
        self.own = (address, port)

    def _on_chunk(self, chunk: bytes) -> None:
        if len(self.body) > MAX_BODY:
            return
        self.body += chunk
        *events, self._rest = (self._rest + chunk).split(b"\n\n")
        sightings = [sighting for event in events if (sighting := read_event(event)) is not None]
        self.sightings += sightings
        self._times += [time.monotonic()] * len(sightings)

    @property
    def span(self) -> float:
        """Seconds between the first and the last event, as they were sent."""
        return (self.sightings[-1].ms - self.sightings[0].ms) / 1000

    @property
    def delay(self) -> float:
        """Seconds for which the first event was held back. The last one is not: the end of the answer comes with it."""
        return self.span - (self._times[-1] - self._times[0])

    @property
    def is_whole(self) -> bool:
        """Whether all events have come."""
        return len(self.sightings) == EVENTS

    @property
    def is_direct(self) -> bool:
        """Whether the connection that the agent has is this one."""
        first, (address, port) = self.sightings[0], self.own
        return first.port == port and bool(first.peer) and parse_address(first.peer) == parse_address(address)


def probe_url(config: Config) -> str:
    """Returns the URL of the probe below public_url."""
    return (config.public_url or "").rstrip("/") + PATH


async def check_proxy(examination: Examination) -> list[Result]:
    """The proxy in front passes streams as they come, and names the client's address."""
    config = examination.config
    if config.public_url is None:
        return [skipped("public_url is not set")]
    if not examination.public_url_answers:
        return [_without_probe(config, "needs an answer of the agent at public_url")]
    keyring = await in_own_thread(lambda: keyring_if_present(config))
    if keyring is None:
        return [_without_probe(config, "needs the master key: see `files`")]

    def signature() -> str:
        seconds = int(time.time())
        return signed_value(seconds, keyring.probe_signatures(seconds)[-1])

    plain, forging = _Probe(), _Probe()
    try:
        answer, _ = await _both(plain.send(config, signature()), forging.send(config, signature(), FORGED))
        problem = _of_answer(probe_url(config), answer, plain)
        if problem is not None:
            return [problem]
        delay = min(probe.delay for probe in (plain, forging) if probe.is_whole)
        if delay > LATE:  # once more, and alone: perhaps it was this program that was slow
            await (third := _Probe()).send(config, signature())
            delay = min(delay, third.delay) if third.is_whole else delay
    except UpstreamError as error:
        text = f"{probe_url(config)} breaks off: {error.cause or error.message}"
        return [warning(text, "see the proxy's log")]
    return _of_delay(delay, plain.span) + _of_address(plain, forging) or [_all_well(plain)]


async def _both(*requests: Awaitable[WholeAnswer]) -> list[WholeAnswer]:
    """Returns the answers once all requests have ended. Raises what the first that failed has raised."""
    answers = await asyncio.gather(*requests, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return cast(list[WholeAnswer], answers)


def _without_probe(config: Config, reason: str) -> Result:
    """What the configuration alone tells."""
    if _has_unknown_proxy(config):
        text = "trusted_proxies is empty: all clients seem to come from the proxy, and share its limits"
        return warning(text, "set trusted_proxies to the address of the proxy")
    return skipped(reason)


def _has_unknown_proxy(config: Config) -> bool:
    """Whether a proxy seems to be in front whose X-Forwarded-For is ignored: not where the agent has the certificate
    itself, and not where proxies come through Unix sockets, which are trusted."""
    if (
        config.trusted_proxies
        or config.tls_certificate
        or is_loopback(urlsplit(config.public_url or "").hostname or "")
    ):
        return False
    return any(path_of(address) is None for address in addresses_in(config.bind_address))


def _of_answer(url: str, answer: WholeAnswer, probe: _Probe) -> Result | None:
    """What is wrong with the answer as a whole; None: it is the agent's stream."""
    if answer.status == 200 and probe.is_whole:
        return None
    if answer.status == 200 and probe.sightings:
        text = f"{url} ends after {len(probe.sightings)} of {EVENTS} events"
        return warning(text, "see the proxy's log, and its timeouts for answers")
    code = _error_code(probe.body)
    if code == Overloaded.code:
        return skipped("other runs of doctor make this check at this moment")
    if code == UnknownUrl.code:
        text = f"the agent at {url} does not know this check: it is older than this program, has another master key"
        return warning(f"{text} or clock, or waits for its database", "see `ready`, `agents`, `master-key` and `clock`")
    if answer.status == 200:
        return failure(f"{url} is answered, but not by the agent", "let the proxy forward every path to the agent")
    text = f"{url} is answered with status {answer.status}, but not by the agent"
    return failure(text, "let the proxy forward every path to the agent, and answer none itself")


def _error_code(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body, type=dict[str, dict[str, object]])["error"]["code"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return ""


def _of_delay(delay: float, span: float) -> list[Result]:
    if delay > span / 2:
        text = "streams arrive in one piece: the proxy in front buffers them"
        how = f"nginx: proxy_buffering off, without proxy_ignore_headers X-Accel-Buffering ({PAGE})"
        return [warning(text, how)]
    if delay > LATE:
        text = f"the proxy in front holds pieces of streams back, for up to {delay:.1f} s"
        return [warning(text, f"HAProxy: option http-no-delay ({PAGE})")]
    return []


def _all_well(probe: _Probe) -> Result:
    first = probe.sightings[0]
    if probe.is_direct:
        return ok("no proxy is in front, as this machine reaches the agent")
    place = first.peer or "a Unix socket"
    return ok(f"the proxy at {place} passes streams as they come, and names the client's address, {first.client}")


def _of_address(plain: _Probe, forging: _Probe) -> list[Result]:
    """What is wrong with the client's address as the agent sees it."""
    first, place = plain.sightings[0], plain.sightings[0].peer or "the Unix socket"
    forged = bool(forging.sightings) and forging.sightings[0].client == FORGED
    if plain.is_direct:
        text = f"no proxy is in front, and {place} is in trusted_proxies: clients there can claim any address"
        return [warning(text, "leave only the addresses of proxies in trusted_proxies")] if forged else []
    # A proxy that appends its own client's address has it there, too: on this machine that is perhaps a trusted one.
    if forged and (not first.forwarded or forging.sightings[0].forwarded == first.forwarded):
        text = f"the proxy at {place} passes on what clients write into X-Forwarded-For: they can claim any address"
        return [warning(text, f"nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for ({PAGE})")]
    if not first.forwarded:
        add = "" if first.trusted else f", and add {place} to trusted_proxies"
        how = f"let the proxy at {place} set X-Forwarded-For ({PAGE})"
        return [warning(f"requests come from {place} without X-Forwarded-For: {_ALL_ONE}", how + add)]
    if not first.trusted:
        text = f"the proxy at {place} sets X-Forwarded-For and is not in trusted_proxies: {_ALL_ONE}"
        return [warning(text, f"add {place} to trusted_proxies")]
    return []
