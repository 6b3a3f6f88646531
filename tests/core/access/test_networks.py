"""Tests of networks, and of the client's address behind reverse proxies."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.access.networks import Networks, check_networks, client_address, parse_address, rate_limit_key
from chatgpt_agent.core.errors import InvalidValue

PROXIES = Networks(["10.0.0.0/8", "2001:db8:1::/48"])
PROXY, CLIENT = "10.0.0.1", "203.0.113.9"


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("192.0.2.7/24", "192.0.2.200", "::192.0.2.7"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
        ("0.0.0.0/0", "192.0.2.9", "2001:db8::1"),
        ("::/0", "2001:db8::1", "192.0.2.9"),
    ],
)
def test_address_is_in_its_network_alone(network: str, inside: str, outside: str) -> None:
    """IPv4 and IPv6 networks do not contain each other's addresses."""
    networks = Networks([network])
    assert parse_address(inside) in networks
    assert parse_address(outside) not in networks


def test_ipv4_mapped_address_is_ipv4() -> None:
    """A socket that listens for both reports IPv4 clients in this form."""
    assert parse_address("::ffff:192.0.2.7") == ip_address("192.0.2.7")


def test_interface_of_a_link_local_address_is_ignored() -> None:
    """The address is the same on every interface."""
    assert parse_address("fe80::1%eth0") in Networks(["fe80::/10"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        (CLIENT, [], CLIENT),
        (CLIENT, ["192.0.2.1"], CLIENT),  # the peer is not a trusted proxy
        (PROXY, [], PROXY),
        (PROXY, [CLIENT], CLIENT),
        (f"::ffff:{PROXY}", [f"::ffff:{CLIENT}"], CLIENT),
        (PROXY, [f"192.0.2.1, {CLIENT}"], CLIENT),  # what the client itself wrote stands further left
        (PROXY, [f"{CLIENT}, 10.1.1.1 ,10.2.2.2"], CLIENT),
        (PROXY, ["192.0.2.1", f"{CLIENT},10.1.1.1"], CLIENT),  # several fields are one list (RFC 9110 §5.3)
        (PROXY, ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),  # all of them are ours
        (PROXY, [f"{CLIENT}:4711"], CLIENT),
        (PROXY, ["[2001:db8::9]:4711"], "2001:db8::9"),
        (PROXY, ["[2001:db8::9]"], "2001:db8::9"),
        ("2001:db8:1::1", ["2001:db8:2::2"], "2001:db8:2::2"),
        (PROXY, [f"nonsense, {CLIENT}"], CLIENT),  # further left than the client
        (PROXY, [f"{CLIENT}, nonsense"], PROXY),
        (PROXY, [f"{CLIENT}, nonsense, 10.1.1.1"], PROXY),
        (PROXY, [f"{CLIENT},"], PROXY),
        (PROXY, [""], PROXY),
        (PROXY, ["unknown"], PROXY),
        (PROXY, ["203.0.113.09"], PROXY),  # to some readers octal
    ],
)
def test_client_is_the_last_address_before_trusted_proxies(peer: str, forwarded: list[str], expected: str) -> None:
    """If the field cannot be parsed, the client is the peer."""
    assert client_address(peer, forwarded, PROXIES) == ip_address(expected)


@given(st.lists(st.text(), max_size=3))
def test_without_trusted_proxies_the_client_is_the_peer(forwarded: list[str]) -> None:
    """X-Forwarded-For of a client is ignored."""
    assert client_address(CLIENT, forwarded, Networks()) == ip_address(CLIENT)


@given(st.lists(st.text(), max_size=3), st.ip_addresses(v=4))
def test_forged_addresses_have_no_effect(forged: list[str], client: object) -> None:
    """A proxy appends the real address behind what a client writes."""
    address = parse_address(str(client))
    if address not in PROXIES:
        assert client_address(PROXY, [*forged, str(client)], PROXIES) == address


def test_ipv6_clients_are_limited_by_their_64_bit_network() -> None:
    """A customer has a /64 with all its addresses, but in IPv4 a single address."""
    one, neighbour, other = (rate_limit_key(parse_address(f"2001:db8:0:{text}")) for text in ("1::1", "1:f::f", "2::1"))
    assert one == neighbour != other
    assert len({rate_limit_key(parse_address(text)) for text in ("192.0.2.1", "192.0.2.2", "::", "0.0.0.0")}) == 4


@pytest.mark.parametrize("networks", [(), ("",), ("nowhere",), ("10.0.0.0/33",), ("10.0.0.0/8 ",), ("::/0",) * 101])
def test_invalid_list_is_rejected(networks: tuple[str, ...]) -> None:
    """The error shows what a network looks like."""
    with pytest.raises(InvalidValue, match="allowed_networks: "):
        check_networks(networks)
