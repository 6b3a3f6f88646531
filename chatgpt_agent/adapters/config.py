"""The configuration of one agent.

Each field of `Config` is a key of the file and, in upper case, an environment variable.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from chatgpt_agent.adapters import config_checks as checks
from chatgpt_agent.adapters.config_values import (
    MIB,
    Addresses,
    Bytes,
    DatabaseAddress,
    DatabaseUrl,
    File,
    Flag,
    Folder,
    HeaderName,
    Hosts,
    HttpVersion,
    LogFormat,
    LogLevel,
    Name,
    Networks,
    Number,
    OpenAIUrl,
    Origins,
    Port,
    Proxy,
    ProxyUrl,
    PublicUrl,
    Seconds,
    SecondsOrNone,
    Secret,
    SpansUrl,
    TimeZone,
    Tokens,
    TotalBytes,
    UpstreamSettings,
    WebhookUrl,
    WholeSeconds,
)
from chatgpt_agent.adapters.unix_sockets import path_of
from chatgpt_agent.core.access.hosts import LOCAL_HOSTS, literal_hosts


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
    metrics_networks: Networks = ("127.0.0.0/8", "::1")
    public_url: PublicUrl = None
    tls_certificate: File = None
    tls_key: File = None
    admin_tls: Flag = False

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

    # Log.
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"

    # Tracing.
    otel_endpoint: SpansUrl = None
    otel_pass_traceparent: Flag = False

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
        return with_sources(msgspec.structs.replace(self, **values), {**self.sources, **dict.fromkeys(values, source)})

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
        addresses = [address for address in checks.addresses_in(self.admin_bind_address) if path_of(address) is None]
        return (*LOCAL_HOSTS, *literal_hosts(addresses), *self.admin_hosts)

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


def with_sources(config: Config, sources: Mapping[str, str]) -> Config:
    """Returns the configuration, which from now on has these `sources`."""
    config.__dict__["_sources"] = sources
    return config
