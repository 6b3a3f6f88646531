"""The gate: floods of wrong tokens are answered cheaply, and good ones come in all the same."""

import asyncio
import statistics
import time
import tracemalloc
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.core.errors import InvalidApiKey, RateLimited
from chatgpt_agent.runtime import authentication as gates
from chatgpt_agent.runtime.authentication import ADDRESSES, BURST, EVERY_SECONDS, Authenticator, FailedAttempts
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.last_used import LastUsed
from tests.runtime.test_directory import Clock
from tests.support.administration import administration_on
from tests.support.observers import ignore

KEYRING = Keyring(b"m" * 32)
HOME = "192.0.2.7"


@pytest.fixture
def clock() -> Clock:
    """The gate's clock."""
    return Clock()


@pytest.fixture
def wrong(clock: Clock) -> FailedAttempts:
    """The count of wrong tokens."""
    return FailedAttempts(clock)


def counts(wrong: FailedAttempts, address: str, times: int) -> int:
    """How many of so many wrong tokens from an address are only wrong, and not too many."""
    taken = 0
    for _ in range(times):
        try:
            wrong.count(ip_address(address))
        except RateLimited:
            continue
        taken += 1
    return taken


def test_ten_at_once_and_then_ten_a_minute(wrong: FailedAttempts, clock: Clock) -> None:
    """However hard it knocks in between."""
    assert counts(wrong, HOME, 1000) == BURST == 10
    for _ in range(600):
        clock.now += 0.1
        counts(wrong, HOME, 1)
    assert counts(wrong, HOME, 1000) == 0
    clock.now += 60
    assert counts(wrong, HOME, 1000) == 10


def test_it_says_how_long_to_wait(wrong: FailedAttempts, clock: Clock) -> None:
    """After that, one more is taken; before, none."""
    counts(wrong, HOME, BURST)
    with pytest.raises(RateLimited) as caught:
        wrong.count(ip_address(HOME))
    assert caught.value.retry_after == EVERY_SECONDS
    clock.now += EVERY_SECONDS - 0.001
    assert counts(wrong, HOME, 1) == 0
    clock.now += 0.001
    assert counts(wrong, HOME, 2) == 1


def test_addresses_do_not_count_for_each_other(wrong: FailedAttempts) -> None:
    """But those of one IPv6 line do."""
    counts(wrong, HOME, 100)
    assert counts(wrong, "192.0.2.8", 100) == BURST
    assert counts(wrong, "2001:db8::1", 6) + counts(wrong, "2001:db8::2", 6) == BURST


def test_addresses_not_heard_of_for_longest_are_forgotten(wrong: FailedAttempts) -> None:
    """Those that go on are not."""
    counts(wrong, HOME, BURST)
    for number in range(3 * ADDRESSES):
        wrong.count(ip_address(number))
        if number % 1000 == 0:
            assert counts(wrong, HOME, 1) == 0
    assert len(wrong) == ADDRESSES


@pytest.fixture
def administration(io_loop: IOLoop, dsn: str) -> Iterator[Administration]:
    """What an administrator does."""
    administration = administration_on(dsn, KEYRING)
    yield administration
    io_loop.run_sync(administration.stores.close)


@pytest.fixture
def token(io_loop: IOLoop, administration: Administration) -> str:
    """A good token."""
    return str(io_loop.run_sync(lambda: administration.users.add("alice", "sk-alice")).token)


@pytest.fixture
def directory(io_loop: IOLoop, dsn: str, token: str, clock: Clock) -> Iterator[Directory]:
    """A directory in which alice is."""
    directory = Directory(Store(dsn), on_budgets=ignore, stale_after=300, clock=clock)
    io_loop.run_sync(lambda: directory.start(KEYRING))
    yield directory
    io_loop.run_sync(directory.close)


@pytest.fixture
def gate(directory: Directory, dsn: str, clock: Clock) -> Authenticator:
    """A gate behind a proxy in 10.0.0.0/8."""
    return Authenticator(directory, LastUsed(Store(dsn), clock=clock), trusted_proxies=["10.0.0.0/8"], clock=clock)


def ask(gate: Authenticator, token: str, peer: str = HOME, forwarded: str = "") -> str:
    """What a token is answered with: a name, or an error's code."""
    try:
        return gate.identify([f"Bearer {token}"], peer, [forwarded] if forwarded else []).user.name
    except (InvalidApiKey, RateLimited) as error:
        return error.code


def test_a_good_token_works_in_the_middle_of_a_flood(gate: Authenticator, token: str) -> None:
    """From the same address: it may be that of a whole office."""
    answers = [ask(gate, "wrong") for _ in range(12)]
    assert answers == ["invalid_api_key"] * 10 + ["rate_limit_exceeded"] * 2
    assert ask(gate, token) == "alice"
    assert ask(gate, "wrong") == "rate_limit_exceeded"


def test_a_look_costs_microseconds(gate: Authenticator, token: str) -> None:
    """Through a proxy, too; 16 of them where nothing else runs."""
    took = []
    for _ in range(1000):
        began = time.perf_counter()
        gate.identify([f"Bearer {token}"], "10.0.0.1", ["192.0.2.1, 10.0.0.2"])
        took.append(time.perf_counter() - began)
    assert statistics.median(took) < 200e-6


def test_no_token_at_all_counts_as_a_wrong_one(gate: Authenticator) -> None:
    """It costs as much to answer."""
    for _ in range(10):
        with pytest.raises(InvalidApiKey):
            gate.identify([], HOME, [])
    with pytest.raises(RateLimited):
        gate.identify([], HOME, [])


def test_behind_a_trusted_proxy_the_client_is_counted(gate: Authenticator) -> None:
    """And not the proxy, which everybody comes through."""
    for _ in range(20):
        ask(gate, "wrong", "10.0.0.1", "203.0.113.1")
    assert ask(gate, "wrong", "10.0.0.1", "203.0.113.1") == "rate_limit_exceeded"
    assert ask(gate, "wrong", "10.0.0.1", "203.0.113.2") == "invalid_api_key"


def test_an_address_that_a_client_makes_up_does_not_help_it(gate: Authenticator) -> None:
    """A new one for each request: it is no trusted proxy."""
    answers = [ask(gate, "wrong", HOME, f"203.0.113.{number}") for number in range(20)]
    assert answers[10:] == ["rate_limit_exceeded"] * 10


def test_a_hundred_thousand_wrong_tokens_leave_nothing_behind(gate: Authenticator) -> None:
    """From as many addresses: what is kept is bounded."""
    wrong = [KEYRING.new_token()[0] for _ in range(100)]
    flood(gate, wrong, ADDRESSES)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    flood(gate, wrong, 100_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(gate._wrong) == ADDRESSES
    assert grown < 4 * 1024 * 1024  # entries of before are not counted, those that took their places are


def flood(gate: Authenticator, tokens: list[str], times: int) -> None:
    """Wrong tokens, each from another address."""
    for number in range(times):
        ask(gate, tokens[number % len(tokens)], str(ip_address(0x0B000000 + number)))


async def test_the_time_does_not_tell_whether_a_token_exists(
    gate: Authenticator, administration: Administration, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is revoked and one that never was take as long, within a fraction of what a network adds."""
    monkeypatch.setattr(gates, "BURST", 10**9)
    issued = await administration.tokens.issue("alice")
    await administration.tokens.revoke(issued.id)
    while directory._version < (await administration.tokens.get(issued.id)).version:
        await asyncio.sleep(0.01)
    known, unknown = [], []
    never = KEYRING.new_token()[0]
    for _ in range(2000):
        known.append(took(gate, issued.token))
        unknown.append(took(gate, never))
    difference = abs(statistics.median(known) - statistics.median(unknown))
    assert difference < 20e-6, difference


def took(gate: Authenticator, token: str) -> float:
    """Seconds of one look-up."""
    began = time.perf_counter()
    ask(gate, token)
    return time.perf_counter() - began
