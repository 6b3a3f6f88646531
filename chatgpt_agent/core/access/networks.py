"""Networks and addresses: where a token may be used, and which client is behind a reverse proxy.

IPv4-mapped IPv6 addresses (`::ffff:192.0.2.1`, RFC 4291 §2.5.5.2) are treated as IPv4.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from chatgpt_agent.core.errors import InvalidValue

MAX_NETWORKS = 100
NO_PEER = "0.0.0.0"  # noqa: S104 - the address of a connection that has none: a Unix socket's

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Networks:
    """A set of networks, parsed once for many look-ups."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Raises ValueError if a text is not a network in CIDR notation."""
        self._networks = tuple(map(parse_network, texts))

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Networks) and self._networks == other._networks

    def __hash__(self) -> int:
        return hash(self._networks)


class Proxies(Networks):
    """The trusted proxies. The other side of a Unix socket is one, too: the rights of the socket's file say who can
    connect to it."""

    def __contains__(self, address: Address) -> bool:
        return address == _NO_ADDRESS or super().__contains__(address)


_NO_ADDRESS = IPv4Address(NO_PEER)


def parse_network(text: str) -> Network:
    """Returns the network of a text in CIDR notation, or of a single address. Raises ValueError."""
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ip_network((mapped, network.prefixlen - 96))
    return network


def is_network(text: str) -> bool:
    """Whether a text is a network in CIDR notation."""
    try:
        parse_network(text)
    except ValueError:
        return False
    return True


def parse_address(text: str) -> Address:
    """Returns the address in a text as sockets give it. Raises ValueError."""
    address = ip_address(text.partition("%")[0])  # without the interface of a link-local address
    return getattr(address, "ipv4_mapped", None) or address


def client_address(peer: str, forwarded: Sequence[str], trusted: Networks) -> Address:
    """Returns the address of the client: the peer, or the client that a trusted proxy names.

    Each proxy appends the address of its own peer to X-Forwarded-For (`forwarded`: the values of all its fields); what
    a client writes there itself stands further left. So the client is the rightmost address that is not a trusted
    proxy. If an address before it cannot be parsed, only the peer is known.
    """
    peer_address = parse_address(peer)
    if peer_address not in trusted:
        return peer_address
    client = peer_address
    for entry in reversed(",".join(forwarded).split(",") if forwarded else ()):
        try:
            client = parse_address(_without_port(entry.strip(" \t")))
        except ValueError:
            return peer_address
        if client not in trusted:
            break
    return client


def _without_port(entry: str) -> str:
    """Removes the port that some proxies add: `192.0.2.1:4711`, `[2001:db8::1]:4711`."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def rate_limit_key(address: Address) -> int:
    """Returns the key by which clients are limited: the IPv4 address, or the /64 of an IPv6 address, since one customer
    gets at least that (RFC 6177)."""
    return int(address) if isinstance(address, IPv4Address) else -1 - (int(address) >> 64)


def check_networks(texts: tuple[str, ...]) -> None:
    """Raises InvalidValue if a list of networks is empty, too long, or holds a text that is not a network."""
    if not 0 < len(texts) <= MAX_NETWORKS:
        raise InvalidValue(f"allowed_networks: give 1 to {MAX_NETWORKS} networks, or no list for every network")
    for text in texts:
        if not is_network(text):
            raise InvalidValue(
                f"allowed_networks: {text[:50]!r} is not a network, such as 192.0.2.0/24 or 2001:db8::/32"
            )
