"""Networks and addresses: from where a token may be used, and who is behind a reverse proxy.

An IPv4 address that came in IPv6's clothes (`::ffff:192.0.2.1`, RFC 4291 §2.5.5.2) is the IPv4 address.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from chatgpt_agent.core.errors import InvalidValue

MAX_NETWORKS = 100

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Networks:
    """Some networks, read once and asked often."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Raises ValueError where a text is no network in CIDR notation."""
        self._networks = tuple(map(parse_network, texts))

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Networks) and self._networks == other._networks

    def __hash__(self) -> int:
        return hash(self._networks)


def parse_network(text: str) -> Network:
    """A network in CIDR notation, or a single address. Raises ValueError."""
    found = ip_network(text, strict=False)
    if isinstance(found, IPv6Network) and found.prefixlen >= 96 and found.network_address.ipv4_mapped is not None:
        return ip_network((found.network_address.ipv4_mapped, found.prefixlen - 96))
    return found


def is_network(text: str) -> bool:
    """Whether a text is a network in CIDR notation."""
    try:
        parse_network(text)
    except ValueError:
        return False
    return True


def parse_address(text: str) -> Address:
    """An address as a socket names it. Raises ValueError."""
    found = ip_address(text.partition("%")[0])  # the interface that a link-local address is on
    return getattr(found, "ipv4_mapped", None) or found


def client_address(peer: str, forwarded: Sequence[str], trusted: Networks) -> Address:
    """Who is asking: the peer, or where that is a trusted proxy, whoever it says that it asks for.

    Each proxy adds to the end of X-Forwarded-For (`forwarded`: the values of all its fields) who asked it; what a
    client writes there itself stands further left. So the client is the rightmost address that is no trusted proxy.
    Where one on the way there cannot be read, nothing is known but the peer.
    """
    known = parse_address(peer)
    if known not in trusted:
        return known
    found = known
    for entry in reversed(",".join(forwarded).split(",") if forwarded else ()):
        try:
            found = parse_address(_without_port(entry.strip(" \t")))
        except ValueError:
            return known
        if found not in trusted:
            break
    return found


def _without_port(entry: str) -> str:
    """Some proxies add the port: `192.0.2.1:4711`, `[2001:db8::1]:4711`."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def rate_limit_key(address: Address) -> int:
    """Whom a client can be that has this address: itself, or in IPv6 anybody of its /64, which is what one line gets
    (RFC 6177). A number to count them by."""
    return int(address) if isinstance(address, IPv4Address) else -1 - (int(address) >> 64)


def check_networks(texts: tuple[str, ...]) -> None:
    """Raises InvalidValue where a list of networks cannot be one."""
    if not 0 < len(texts) <= MAX_NETWORKS:
        raise InvalidValue(f"networks: give 1 to {MAX_NETWORKS} networks, or none at all for everywhere")
    for text in texts:
        if not is_network(text):
            raise InvalidValue(f"networks: {text[:50]!r} is no network, such as 192.0.2.0/24 or 2001:db8::/32")
