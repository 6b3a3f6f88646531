"""Host names under which the console may be reached. A web page can give our address to a name of its own (DNS
rebinding), but its requests then carry that name."""

from collections.abc import Collection
from ipaddress import ip_address

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")


def is_allowed_host(host_header: str, allowed: Collection[str]) -> bool:
    """Whether a Host header field (RFC 9110 §7.2) names one of these hosts, which are as `plain_host` returns them."""
    host = plain_host(host_header)
    return bool(host) and host in allowed


def plain_host(text: str) -> str:
    """Returns a host in one form: in lower case, without port and final dot, IPv6 addresses shortened and in brackets.
    The result is empty if a text is no host with or without a port."""
    host, port = _split(text)
    if port and not (port.isascii() and port.isdigit()):
        return ""
    if host.startswith("["):
        try:
            return f"[{ip_address(host[1:-1])}]"
        except ValueError:
            return ""
    return host.lower().removesuffix(".")


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        address, bracket, rest = text.partition("]")
        is_whole = bracket and (not rest or rest.startswith(":"))
        return (address + bracket, rest[1:]) if is_whole else ("", "")
    host, _, port = text.partition(":")
    return host, port


def literal_hosts(addresses: Collection[str]) -> tuple[str, ...]:
    """Returns the hosts of addresses on which the console listens, without those that stand for all addresses of the
    machine."""
    hosts = []
    for address in addresses:
        try:
            parsed = ip_address(address)
        except ValueError:
            hosts.append(address)
            continue
        if not parsed.is_unspecified:
            hosts.append(f"[{parsed}]" if parsed.version == 6 else str(parsed))
    return tuple(map(plain_host, hosts))
