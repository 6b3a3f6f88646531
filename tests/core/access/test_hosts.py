"""Host names under which the console may be reached."""

import pytest

from chatgpt_agent.core.access.hosts import LOCAL_HOSTS, is_allowed_host, literal_hosts, plain_host

ALLOWED = frozenset(map(plain_host, (*LOCAL_HOSTS, "Console.Example.com.", "[2001:DB8::0:1]")))


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8081", "LOCALHOST:1", "localhost.", "localhost.:8081", "127.0.0.1:8081", "[::1]",
        "[::1]:8081", "[0:0:0:0:0:0:0:1]:8081", "console.example.com", "CONSOLE.example.com.:443", "[2001:db8::1]",
    ],
)  # fmt: skip
def test_own_name_is_allowed(host: str) -> None:
    """Case, port and final dot do not count, nor how an IPv6 address is written."""
    assert is_allowed_host(host, ALLOWED)


@pytest.mark.parametrize(
    "host",
    [
        "", ".", ":8081", "evil.example", "localhost.evil.example", "evil-localhost", "127.0.0.1.evil.example",
        "localhost:8081@evil.example", "localhost:evil", "localhost:80:81", "::1", "[::1", "[::1]evil", "[evil]",
        "[::1].evil.example", "127.1", "0", "console.example.com..", " localhost", "localhost/", "[::2]", "192.0.2.1",
    ],
)  # fmt: skip
def test_other_name_is_refused(host: str) -> None:
    """A page of another site cannot reach the console under a name of its own."""
    assert not is_allowed_host(host, ALLOWED)


def test_address_of_all_is_no_host() -> None:
    """Addresses and names on which the console listens are hosts, but not those that stand for all addresses."""
    assert literal_hosts(["0.0.0.0", "::", "192.0.2.7", "2001:DB8::7", "Console"]) == (
        "192.0.2.7",
        "[2001:db8::7]",
        "console",
    )
