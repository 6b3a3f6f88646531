"""The configuration: a flat YAML file, overridden by the environment. All errors are reported at once.

Each field of `Config` is a key of the file and, in upper case, an environment variable. Relative paths in the file are
relative to the file, relative paths in the environment to the current folder.
"""

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import msgspec

from chatgpt_agent.adapters import config_checks as checks
from chatgpt_agent.adapters.redaction import HIDDEN, display, hidden, is_secret
from chatgpt_agent.core.access.hosts import LOCAL_HOSTS, literal_hosts
from chatgpt_agent.core.errors import ConfigError

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
        "IP addresses or host names such as 0.0.0.0 or [::], separated by commas",
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


class Config(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The settings of one agent. Times in seconds, sizes in bytes."""

    # Listeners.
    bind_address: Addresses = "0.0.0.0"  # noqa: S104 - the gateway serves other machines
    port: Port = 8080
    admin_bind_address: Addresses = "127.0.0.1"
    admin_port: Port = 8081
    admin_hosts: Hosts = ()
    admin_user_header: HeaderName = None
    admin_user_header_from: Networks = ()
    public_url: PublicUrl = None

    # PostgreSQL. `database_url` takes precedence over the four keys after it.
    database_url: DatabaseUrl = None
    database_username: Name = "postgres"
    database_password: Secret = "postgres"  # noqa: S105 - the original program's default
    database_address: DatabaseAddress = "127.0.0.1:5432"
    database_name: Name = "postgres"
    auto_migrate: Flag = True

    # OpenAI.
    openai_url: OpenAIUrl = "https://api.openai.com/v1/chat/completions"
    openai_allow_http: Flag = False
    openai_proxy: ProxyUrl = None
    openai_ca_file: File = None
    openai_http_version: HttpVersion = "1.1"
    openai_keep_alive: WholeSeconds = 4
    openai_ask_stream_usage: Flag = True

    # Files.
    data_dir: Folder = Path("data")
    master_key_file: File = None
    keep_shipped: SecondsOrNone = 3600.0

    # Limits.
    max_body_size: Bytes = 64 * MIB
    max_response_size: Bytes = 64 * MIB
    max_buffered_size: TotalBytes = 256 * MIB
    max_concurrent_requests: Number = 1000
    max_connections_per_address: Number = 1000
    keep_alive_timeout: Seconds = 150.0
    client_timeout: Seconds = 60.0
    connect_timeout: Seconds = 10.0
    first_byte_timeout: Seconds = 600.0
    silence_timeout: Seconds = 300.0
    drain_after_disconnect: SecondsOrNone = 60.0
    drain_after_disconnect_max: Number = 100
    drain_timeout: Seconds = 30.0
    stale_after: Seconds = 300.0
    trusted_proxies: Networks = ()
    cors_origins: Origins = ()

    # Reports and budgets.
    time_zone: TimeZone = "UTC"
    budget_output_tokens: Tokens = 16_384
    budget_linked_tokens: Tokens = 32_000
    budget_tool_calls: Number = 5
    webhook_url: WebhookUrl = None
    webhook_secret_file: File = None
    webhook_through_proxy: Flag = False

    log_level: LogLevel = "info"

    def __repr__(self) -> str:
        """Omits passwords, because a repr can end up in a log."""
        return f"Config(data_dir={str(self.data_dir)!r})"

    @property
    def sources(self) -> Mapping[str, str]:
        """Where values come from, by key: a file, or a variable of the environment. Keys without a source have their
        defaults. Configurations with the same values are equal wherever these come from."""
        sources: Mapping[str, str] = self.__dict__.get("_sources", {})  # no field: it would be a key
        return sources

    def with_values(self, source: str, **values: Any) -> "Config":
        """Returns a copy with some values from this source."""
        return _with_sources(msgspec.structs.replace(self, **values), {**self.sources, **dict.fromkeys(values, source)})

    @property
    def embedded(self) -> bool:
        """Whether the database is the private one under `data_dir`."""
        return self.database_url == "embedded"

    @property
    def buffered_size(self) -> int:
        """`max_buffered_size`, but at least so much that the largest body fits (see runtime/memory.py)."""
        return max(self.max_buffered_size, 2 * self.max_body_size)

    @property
    def console_hosts(self) -> tuple[str, ...]:
        """The hosts under which the console may be reached: this machine's, those it listens on, and `admin_hosts`."""
        return (*LOCAL_HOSTS, *literal_hosts(checks.addresses_in(self.admin_bind_address)), *self.admin_hosts)

    @property
    def openai_host(self) -> str:
        """The host of `openai_url`, for which there may be surcharges."""
        return urlsplit(self.openai_url).hostname or ""

    @property
    def upstream(self) -> UpstreamSettings:
        """The settings of the HTTP client for OpenAI."""
        return UpstreamSettings(
            url=self.openai_url,
            proxy=Proxy.parse(self.openai_proxy) if self.openai_proxy else None,
            ca_file=self.openai_ca_file,
            http_version=self.openai_http_version,
            keep_alive=self.openai_keep_alive,
            connect_timeout=self.connect_timeout,
            first_byte_timeout=self.first_byte_timeout,
            silence_timeout=self.silence_timeout,
            max_response_size=self.max_response_size,
            max_connections=self.max_concurrent_requests,
        )


FIELDS = {field.name: field for field in msgspec.structs.fields(Config)}


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Returns the configuration of a file, if there is one, and of the environment. Raises ConfigError with a line for
    each error: its place, the key, the value, and what is allowed."""
    errors: list[str] = []
    entries = _from_file(path, errors) if path else {}
    entries |= _from_environment(environ)
    values: dict[str, Any] = {}
    for key, field in FIELDS.items():
        if key in entries:
            source, value = entries[key]
            try:
                values[key] = _convert(field, value)
            except ValueError:
                errors.append(_error_line(source, field, value))
    config = _with_sources(Config(**values), {key: source for key, (source, _) in entries.items()})
    errors += _check_together(config, config.sources)
    if errors:
        raise ConfigError(errors)
    return config


def _with_sources(config: Config, sources: Mapping[str, str]) -> Config:
    config.__dict__["_sources"] = sources
    return config


def config_from(file: str | None, environ: Mapping[str, str] = os.environ) -> Config:
    """Returns the configuration of a command: of the file in `--config`, else in `CHATGPT_AGENT_CONFIG`, else of no
    file."""
    name = file or environ.get("CHATGPT_AGENT_CONFIG")
    return load_config(Path(name) if name else None, environ)


def _from_file(path: Path, errors: list[str]) -> dict[str, tuple[str, Any]]:
    """Returns the values of known keys, each with its source. Adds an error for each unknown key."""
    from chatgpt_agent.adapters.config_file import read_config_file  # only here: PyYAML takes a while to import

    content = read_config_file(path)
    errors += [_unknown_key(path, str(key)) for key in content if key not in FIELDS]
    base = path.absolute().parent
    for key, value in content.items():
        if key in FIELDS and rule_of(FIELDS[key]).path and isinstance(value, str) and value:
            content[key] = str(base / value)
    return {key: (str(path), value) for key, value in content.items() if key in FIELDS and value is not None}


def _unknown_key(path: Path, key: str) -> str:
    similar = difflib.get_close_matches(key, FIELDS, n=1)
    name = HIDDEN if ":" in key or display(key) == HIDDEN else key[:80]
    return f"{path}: {name}: unknown key; " + (
        f"did you mean {similar[0]}?" if similar else "config.example.yml has all keys"
    )


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Returns the values of the environment, each with its source. An empty variable counts as not set: unit files have
    lines such as `OPENAI_PROXY=`."""
    return {key: (f"environment {key.upper()}", environ[key.upper()]) for key in FIELDS if environ.get(key.upper())}


def _convert(field: msgspec.structs.FieldInfo, value: Any) -> Any:
    """Returns the value of a key in its type. Raises ValueError."""
    rule = rule_of(field)
    if rule.number_as_text and isinstance(value, int | float):
        value = str(value)
    if rule.strip and isinstance(value, str):
        value = value.strip()
    if rule.commas and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if rule.join and isinstance(value, list):
        value = ", ".join(msgspec.convert(value, list[str]))
    if rule.path:
        if not isinstance(value, str) or not value or "://" in value or is_secret(value):
            raise ValueError
        return Path(value).absolute()
    from_text = isinstance(value, str) and isinstance(field.default, int | float)  # `"8080"` for a port
    converted = msgspec.convert(value, field.type, strict=not from_text)  # ValidationError is a ValueError
    if rule.check is not None and not rule.check(converted):
        raise ValueError
    return converted


def _meta(field: msgspec.structs.FieldInfo) -> msgspec.Meta:
    return next(part for part in field.type.__metadata__ if isinstance(part, msgspec.Meta))


def rule_of(field: msgspec.structs.FieldInfo) -> Rule:
    """Returns the rule of a key."""
    rule: Rule = (_meta(field).extra or {})["rule"]
    return rule


def _error_line(source: str, field: msgspec.structs.FieldInfo, value: object) -> str:
    rule, text = rule_of(field), str(value)
    if rule.path and is_secret(text):
        quoted, advice = hidden(text), "; rename the path if it holds no secret"
    else:
        quoted, advice = HIDDEN if rule.secret else display(value), ""
    return f"{source}: {field.name}: found {quoted}; allowed: {_meta(field).description}{advice}"


def _check_together(config: Config, sources: Mapping[str, str]) -> list[str]:
    return [*_check_url(config, sources), *_check_sizes(config, sources), *_check_user_header(config, sources)]


def _check_url(config: Config, sources: Mapping[str, str]) -> list[str]:
    url = urlsplit(config.openai_url)
    if url.scheme == "http" and not (config.openai_allow_http or checks.is_loopback(url.hostname or "")):
        return [
            f"{sources.get('openai_url', 'default')}: openai_url: found {display(config.openai_url)}; allowed: "
            "https://, or http:// on a loopback address, or openai_allow_http: true (keys and messages are then sent "
            "unencrypted)"
        ]
    return []


def _check_sizes(config: Config, sources: Mapping[str, str]) -> list[str]:
    if "max_buffered_size" in sources and config.max_buffered_size < config.buffered_size:
        return [
            f"{sources['max_buffered_size']}: max_buffered_size: found {config.max_buffered_size}; allowed: at least "
            f"twice max_body_size, {config.buffered_size}"
        ]
    return []


def _check_user_header(config: Config, sources: Mapping[str, str]) -> list[str]:
    header, networks = "admin_user_header", "admin_user_header_from"
    if config.admin_user_header and not config.admin_user_header_from:
        return [f"{sources[header]}: {header}: also set {networks}, the networks of the proxies that set this header"]
    if config.admin_user_header_from and header not in sources:
        return [f"{sources[networks]}: {networks}: also set {header}, the header that these proxies set"]
    if any(checks.is_every_address(network) for network in config.admin_user_header_from):
        return [
            f"{sources[networks]}: {networks}: every client could then sign in as any admin; name the proxies alone"
        ]
    return []
