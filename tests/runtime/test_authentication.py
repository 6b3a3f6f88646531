"""Authentication: floods of wrong tokens are refused cheaply, and valid tokens work at the same time."""

import tracemalloc
from ipaddress import ip_address

import pytest
from tornado.httputil import HTTPHeaders

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import InvalidApiKey, RateLimited
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.failed_attempts import BURST, INTERVAL, MAX_ADDRESSES, FailedAttempts
from chatgpt_agent.runtime.last_used import LastUsed
from tests.support.clock import Clock
from tests.support.directories import KEYRING

HOME = "192.0.2.7"
PROXY = "10.0.0.1"


@pytest.fixture
def attempts(clock: Clock) -> FailedAttempts:
    """An empty count of failed attempts."""
    return FailedAttempts(clock)


def record(attempts: FailedAttempts, address: str, times: int) -> int:
    """Records wrong tokens from an address; returns how many of them were not over the limit."""
    accepted = 0
    for _ in range(times):
        try:
            attempts.record(ip_address(address))
        except RateLimited:
            continue
        accepted += 1
    return accepted


def test_ten_attempts_at_once_and_then_ten_a_minute(attempts: FailedAttempts, clock: Clock) -> None:
    """Refused attempts in between neither add to the count nor prolong the wait."""
    assert record(attempts, HOME, 1000) == BURST == 10
    accepted = 0
    for _ in range(120):
        clock.now += 0.5
        accepted += record(attempts, HOME, 1)
    assert accepted == 10
    assert record(attempts, HOME, 1000) == 0
    clock.now += 60
    assert record(attempts, HOME, 1000) == 10


def test_refusal_states_when_the_next_attempt_is_accepted(attempts: FailedAttempts, clock: Clock) -> None:
    """`retry_after` is exact: one attempt is accepted after it, and none before."""
    record(attempts, HOME, BURST)
    with pytest.raises(RateLimited) as caught:
        attempts.record(ip_address(HOME))
    assert caught.value.retry_after == INTERVAL
    clock.now += INTERVAL - 0.001
    assert record(attempts, HOME, 1) == 0
    clock.now += 0.001
    assert record(attempts, HOME, 2) == 1


def test_addresses_are_counted_apart(attempts: FailedAttempts) -> None:
    """Each IPv4 address has its own count; all addresses of an IPv6 /64 share one."""
    record(attempts, HOME, 100)
    assert record(attempts, "192.0.2.8", 100) == BURST
    assert record(attempts, "2001:db8::1", 6) + record(attempts, "2001:db8::2", 6) == BURST


def test_quietest_address_is_forgotten_first(attempts: FailedAttempts) -> None:
    """An address that goes on sending wrong tokens stays refused, however many others there are."""
    record(attempts, HOME, BURST)
    for number in range(3 * MAX_ADDRESSES):
        attempts.record(ip_address(number))
        if number % 1000 == 0:
            assert record(attempts, HOME, 1) == 0
    assert len(attempts) == MAX_ADDRESSES


@pytest.fixture
def authenticator(directory: Directory, dsn: str, clock: Clock) -> Authenticator:
    """An authenticator behind a proxy in 10.0.0.0/8."""
    return Authenticator(directory, LastUsed(Store(dsn), clock=clock), trusted_proxies=["10.0.0.0/8"], clock=clock)


def authenticate(authenticator: Authenticator, token: str, peer: str = HOME, forwarded: str = "") -> str:
    """The user's name, or the code of the error."""
    headers = HTTPHeaders({"Authorization": f"Bearer {token}"})
    if forwarded:
        headers.add("X-Forwarded-For", forwarded)
    try:
        return authenticator.identify(headers, peer).user.name
    except (InvalidApiKey, RateLimited) as error:
        return error.code


def test_valid_token_works_in_the_middle_of_a_flood(authenticator: Authenticator, token: str) -> None:
    """Clients behind the NAT address of an office keep their access while another one sends wrong tokens."""
    outcomes = [authenticate(authenticator, "wrong") for _ in range(12)]
    assert outcomes == ["invalid_api_key"] * 10 + ["rate_limit_exceeded"] * 2
    assert authenticate(authenticator, token) == "alice"
    assert authenticate(authenticator, "wrong") == "rate_limit_exceeded"


def test_missing_token_does_not_count_as_a_wrong_one(authenticator: Authenticator) -> None:
    """A request without credentials is not a guess: it is refused, and leaves all attempts to its address."""
    for _ in range(2 * BURST):
        with pytest.raises(InvalidApiKey):
            authenticator.identify(HTTPHeaders(), HOME)
    assert authenticate(authenticator, "wrong") == "invalid_api_key"


def test_client_behind_a_trusted_proxy_is_counted(authenticator: Authenticator) -> None:
    """The count is of the client's address, and not of the proxy's, which all clients share."""
    for _ in range(20):
        authenticate(authenticator, "wrong", PROXY, "203.0.113.1")
    assert authenticate(authenticator, "wrong", PROXY, "203.0.113.1") == "rate_limit_exceeded"
    assert authenticate(authenticator, "wrong", PROXY, "203.0.113.2") == "invalid_api_key"


def test_forged_client_address_is_ignored(authenticator: Authenticator) -> None:
    """X-Forwarded-For counts only when it comes from a trusted proxy."""
    outcomes = [authenticate(authenticator, "wrong", HOME, f"203.0.113.{number}") for number in range(20)]
    assert outcomes[10:] == ["rate_limit_exceeded"] * 10


def test_connection_without_a_peer_address_is_served(authenticator: Authenticator, token: str) -> None:
    """Tornado reports no address for a connection over a Unix socket."""
    assert authenticator.identify(HTTPHeaders({"Authorization": f"Bearer {token}"}), None).user.name == "alice"


@pytest.mark.slow
def test_memory_stays_bounded_in_a_flood_from_many_addresses(authenticator: Authenticator) -> None:
    """100,000 wrong tokens from as many addresses add no memory once MAX_ADDRESSES are counted."""
    wrong = [KEYRING.new_token()[0] for _ in range(100)]
    flood(authenticator, wrong, MAX_ADDRESSES)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    flood(authenticator, wrong, 100_000)
    growth = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert growth < 4 * 1024 * 1024  # tracemalloc sees new entries, and not the older ones that they replaced


def flood(authenticator: Authenticator, tokens: list[str], times: int) -> None:
    """Sends wrong tokens, each from another address."""
    for number in range(times):
        authenticate(authenticator, tokens[number % len(tokens)], str(ip_address(0x0B000000 + number)))
