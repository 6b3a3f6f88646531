"""Checks of configuration values that a type cannot express. A check refuses a value with False or a ValueError."""

import re
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import unquote_to_bytes, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from chatgpt_agent.adapters.unix_sockets import MAX_PATH, path_of

# Extensions and programs with a browser inside have schemes of their own (RFC 6454 §7.1).
_ORIGIN = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")  # with an underscore some proxies drop it
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
# A host may be empty, a name, an address in brackets, or the percent-encoded folder of a socket.
_PLACE = re.compile(r"(?:\[[\w.:%-]+\]|[\w.%-]*)(?::[0-9]{0,5})?")
_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([\w.,-]+))(?::([0-9]{1,5}))?")


def is_loopback(host: str) -> bool:
    """Returns whether a host is this machine: localhost, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def addresses_in(text: str) -> list[str]:
    """Returns the addresses of a text such as `0.0.0.0, [::], unix:/run/api.sock`, without brackets. Raises ValueError
    if one is neither an IP address, nor a host name, nor the absolute path of a Unix socket."""
    addresses = [part.strip() for part in text.split(",")]
    return [_address(part[1:-1] if part[:1] == "[" and part[-1:] == "]" else part) for part in addresses]


def _address(text: str) -> str:
    path = path_of(text)
    if path is not None:
        if not (path.startswith("/") and path.isprintable() and len(path.encode()) <= MAX_PATH):
            raise ValueError("not the path of a socket")
        return text
    if not _HOST_NAME.fullmatch(text):
        ip_address(text)
    return text


def host_and_port(address: str) -> tuple[str, int]:
    """Returns the host and port of a PostgreSQL address; the port defaults to 5432. Raises ValueError."""
    if address.startswith(("/", "@")):  # a socket's folder, or an abstract socket
        return address, 5432
    if address.count(":") > 1 and not address.startswith("["):
        return str(IPv6Address(address)), 5432
    match = _HOST_AND_PORT.fullmatch(address)
    port = int(match[3] or 5432) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError("not a host and port")
    return match[1] or match[2], port


def is_name(text: str) -> bool:
    """Returns whether a text may be the name of an account or a database: no URL or connection string, which PostgreSQL
    would repeat in its errors."""
    return "://" not in text and not re.search(r"\bpassword\s*=", text)


def is_openai_url(text: str) -> bool:
    """Returns whether a text is the http or https URL of an endpoint: with a path, without query, fragment or user."""
    url = urlsplit(text) if _is_url(text, "https", "http") else None
    return url is not None and not (url.query or url.fragment or url.username or " " in text) and len(url.path) > 1


def is_proxy_url(text: str) -> bool:
    """Returns whether a text is `http://[user:password@]host:port`. User and password may be percent-encoded and have
    any characters but control characters; a user has no colon either (RFC 7617 §2)."""
    address, credentials = split_proxy_url(text)
    url = urlsplit(address) if _is_url(address, "http") else None
    if url is None or url.port is None or url.path not in ("", "/") or url.query or url.fragment:
        return False
    user, _, password = (unquote_to_bytes(part) for part in (credentials or "").partition(":"))
    return b":" not in user and not any(byte < 32 or byte == 127 for byte in user + password)


def split_proxy_url(text: str) -> tuple[str, str | None]:
    """Returns the URL of a proxy without its credentials, and these, `user:password`. They may hold any character that
    is not encoded, and end at the last @."""
    before, at, address = text.rpartition("@")
    scheme, slashes, credentials = before.partition("//")
    return (f"{scheme}{slashes}{address}", credentials) if at else (text, None)


def is_webhook_url(text: str) -> bool:
    """Returns whether a text is an http or https URL."""
    return _is_url(text, "https", "http")


def is_public_url(text: str) -> bool:
    """Returns whether a text is an http or https URL without query, fragment or user, to which paths can be added."""
    url = urlsplit(text) if _is_url(text, "https", "http") else None
    return url is not None and not (url.query or url.fragment or "@" in url.netloc or " " in text)


def is_database_url(text: str) -> bool:
    """Returns whether a text is `embedded`, a PostgreSQL URL or a connection string of libpq. A URL in which libpq
    would read a part of the password as host or port is refused: libpq's errors quote these."""
    if text == "embedded":
        return True
    if not text.startswith(("postgresql://", "postgres://")):
        return "=" in text
    authority, _, path = text.partition("://")[2].partition("?")[0].partition("/")
    user, _, hosts = authority.rpartition("@")
    return "@" not in user + path and all(map(_PLACE.fullmatch, hosts.split(",")))


def are_networks(networks: tuple[str, ...]) -> bool:
    """Returns whether all texts are networks or addresses. Raises ValueError for one that is not."""
    for network in networks:
        ip_network(network, strict=False)
    return True


def is_every_address(network: str) -> bool:
    """Returns whether a network has all addresses of IPv4 or IPv6."""
    return ip_network(network, strict=False).prefixlen == 0


def are_hosts(hosts: tuple[str, ...]) -> bool:
    """Returns whether all texts are host names, IPv4 addresses or IPv6 addresses in brackets. Raises ValueError for
    brackets around another text."""
    for host in hosts:
        if host.startswith("[") and host.endswith("]"):
            IPv6Address(host[1:-1])
        elif not _HOST_NAME.fullmatch(host.removesuffix(".")):
            return False
    return True


def is_header_name(text: str | None) -> bool:
    """Returns whether a text can be the name of a header field, or there is none."""
    return text is None or _HEADER_NAME.fullmatch(text) is not None


def are_origins(origins: tuple[str, ...]) -> bool:
    """Returns whether all texts are `*` or origins as browsers send them: scheme, host and port, without a path."""
    return all(map(_ORIGIN.fullmatch, origins))


def is_time_zone(text: str) -> bool:
    """Returns whether the IANA time zone database has a zone of this name."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _is_url(text: str, *schemes: str) -> bool:
    try:
        url = urlsplit(text)
        valid_port = url.port is None or url.port > 0  # .port raises ValueError if it is not a number
    except ValueError:
        return False
    return url.scheme in schemes and bool(url.hostname) and valid_port and text.isascii() and text.isprintable()
