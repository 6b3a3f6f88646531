"""The values that keys of the configuration can have: their types, ranges and checks, and their parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import msgspec

from chatgpt_agent.adapters import config_checks as checks

MIB = 1024 * 1024


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """How the value of a key is read and checked, beyond its type and range."""

    secret: bool = False  # errors do not show the value
    strip: bool = False  # spaces at both ends are ignored
    path: bool = False  # a file or folder, made absolute
    commas: bool = False  # a text is split at its commas
    join: bool = False  # a list of texts is joined with commas
    number_as_text: bool = False  # YAML reads 1.1 without quotes as a number
    check: Callable[[Any], object] | None = None  # refuses a value with something false or a ValueError


def _key(allowed: str, *, ge: float | None = None, le: float | None = None, **rule: Any) -> msgspec.Meta:
    """Declares everything about a key's value: what is allowed, in words; a range; and the fields of `Rule`."""
    return msgspec.Meta(description=allowed, ge=ge, le=le, extra={"rule": Rule(**rule)})


Port = Annotated[int, _key("a port, 0 to 65535 (0: any that is free)", ge=0, le=65535)]
Seconds = Annotated[float, _key("seconds, 0.1 to 86400", ge=0.1, le=86400)]
Bytes = Annotated[int, _key("bytes, 1024 to 1073741824", ge=1024, le=1024 * MIB)]
WholeSeconds = Annotated[int, _key("whole seconds, 1 to 3600", ge=1, le=3600)]
TotalBytes = Annotated[int, _key("bytes, 2048 to 17179869184, at least twice max_body_size", ge=2048, le=16384 * MIB)]
Number = Annotated[int, _key("a whole number, 1 to 100000", ge=1, le=100_000)]
Tokens = Annotated[int, _key("tokens, 0 to 10000000", ge=0, le=10_000_000)]
Flag = Annotated[bool, _key("true or false")]
Name = Annotated[str, _key("a name, no URL (a number in quotes)", check=checks.is_name)]
Secret = Annotated[str, _key("text (a number in quotes)", secret=True)]
Addresses = Annotated[
    str,
    _key(
        "IP addresses or host names such as 0.0.0.0 or [::], separated by commas; or unix:/path of a socket",
        join=True,
        strip=True,
        check=checks.addresses_in,
    ),
]
Folder = Annotated[Path, _key("a folder", path=True)]
File = Annotated[Path | None, _key("a file, or nothing", path=True)]
Networks = Annotated[
    tuple[str, ...],
    _key("networks such as 10.0.0.0/8, separated by commas", commas=True, check=checks.are_networks),
]
Hosts = Annotated[
    tuple[str, ...],
    _key("host names or [IPv6 addresses] without a port, separated by commas", commas=True, check=checks.are_hosts),
]
HeaderName = Annotated[str | None, _key("the name of a header field, or nothing", check=checks.is_header_name)]
Origins = Annotated[
    tuple[str, ...],
    _key(
        "* or origins such as https://chat.example.com, without a path, separated by commas",
        commas=True,
        check=checks.are_origins,
    ),
]
PublicUrl = Annotated[
    str | None,
    _key(
        "an http:// or https:// URL such as https://ai.example.com, without query and user, or nothing",
        strip=True,
        check=checks.is_public_url,
    ),
]
DatabaseUrl = Annotated[
    str | None,
    _key(
        "embedded, a postgresql:// URL or a libpq connection string",
        secret=True,
        strip=True,
        check=checks.is_database_url,
    ),
]
DatabaseAddress = Annotated[str, _key("host, host:port or a socket's folder", secret=True, check=checks.host_and_port)]
OpenAIUrl = Annotated[
    str,
    _key(
        "the whole https:// URL of chat completions, such as https://api.openai.com/v1/chat/completions "
        "(http:// on a loopback address or with openai_allow_http)",
        strip=True,
        check=checks.is_openai_url,
    ),
]
ProxyUrl = Annotated[
    str | None, _key("http://[user:password@]host:port, or nothing", secret=True, check=checks.is_proxy_url)
]
HttpVersion = Annotated[str, _key("1.1 or 2", number_as_text=True, check=("1.1", "2").__contains__)]
SecondsOrNone = Annotated[float, _key("seconds, 0 to 86400", ge=0, le=86400)]
TimeZone = Annotated[str, _key("a time zone such as Europe/Berlin", check=checks.is_time_zone)]
WebhookUrl = Annotated[
    str | None, _key("an http:// or https:// URL, or nothing", secret=True, strip=True, check=checks.is_webhook_url)
]
LogLevel = Annotated[
    str, _key("debug, info, warning or error", check=("debug", "info", "warning", "error").__contains__)
]
SpansUrl = Annotated[
    str | None,
    _key(
        "an http:// or https:// URL such as http://127.0.0.1:4318, without query and user, or nothing",
        strip=True,
        check=checks.is_public_url,
    ),
]
LogFormat = Annotated[str, _key("text or json", check=("text", "json").__contains__)]


class Proxy(msgspec.Struct, frozen=True):
    """The HTTP proxy for requests to OpenAI. `username` and `password` are None without credentials; bytes that are not
    UTF-8 are surrogates."""

    host: str
    port: int
    username: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str) -> "Proxy":
        """Returns the parts of `http://[user:password@]host:port`, percent-decoded."""
        address, credentials = checks.split_proxy_url(url)
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or 80
        if credentials is None:
            return cls(host, port, None, None)
        user, _, password = (unquote(text, errors="surrogateescape") for text in credentials.partition(":"))
        return cls(host, port, user, password)

    def __repr__(self) -> str:
        """Omits the credentials."""
        return f"Proxy({self.host!r}, {self.port})"


class UpstreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How requests reach OpenAI. Times in seconds, sizes in bytes."""

    url: str
    proxy: Proxy | None
    ca_file: Path | None
    http_version: str
    keep_alive: int
    connect_timeout: float
    first_byte_timeout: float
    silence_timeout: float
    max_response_size: int
    max_connections: int

    @property
    def destination(self) -> str:
        """Where requests go, for the log."""
        through = f" through the proxy {self.proxy.host}:{self.proxy.port}" if self.proxy else ""
        return f"{urlsplit(self.url).netloc}{through}"


def meta_of(field: msgspec.structs.FieldInfo) -> msgspec.Meta:
    """Returns what a key's type says of its values."""
    return next(part for part in field.type.__metadata__ if isinstance(part, msgspec.Meta))


def rule_of(field: msgspec.structs.FieldInfo) -> Rule:
    """Returns the rule of a key."""
    rule: Rule = (meta_of(field).extra or {})["rule"]
    return rule
