"""Which keys a running agent takes over when it reads its configuration again. All others need a restart."""

import msgspec

from chatgpt_agent.adapters.config import FIELDS, Config, with_sources

# `Wiring.reload` hands out their values. Any other key is named in the log when it has changed.
RELOADABLE = frozenset(
    {
        # Listeners.
        "admin_hosts",
        "admin_user_header",
        "admin_user_header_from",
        "metrics_networks",
        "public_url",
        "tls_certificate",
        "tls_key",
        "admin_tls",
        # OpenAI.
        "openai_proxy",
        "openai_ca_file",
        "openai_http_version",
        "openai_keep_alive",
        "openai_ask_stream_usage",
        # Files.
        "keep_shipped",
        # Limits.
        "max_body_size",
        "max_response_size",
        "max_buffered_size",
        "max_concurrent_requests",
        "max_connections_per_address",
        "keep_alive_timeout",
        "client_timeout",
        "connect_timeout",
        "first_byte_timeout",
        "silence_timeout",
        "drain_after_disconnect",
        "drain_after_disconnect_max",
        "drain_timeout",
        "stale_after",
        "trusted_proxies",
        "cors_origins",
        # Budgets.
        "budget_output_tokens",
        "budget_linked_tokens",
        "budget_tool_calls",
        "webhook_url",
        "webhook_secret_file",
        "webhook_through_proxy",
        # Log.
        "log_level",
        "log_format",
    }
)


class Reload(msgspec.Struct, frozen=True, kw_only=True):
    """What a new configuration means for a running agent. `config`: in force from now on; `changed`: its keys with new
    values; `restart`: keys whose new values wait for a restart."""

    config: Config
    changed: tuple[str, ...]
    restart: tuple[str, ...]


def compare(current: Config, new: Config) -> Reload:
    """Returns what changes when a new configuration takes the place of the current one."""
    different = [key for key in FIELDS if getattr(current, key) != getattr(new, key)]
    changed = tuple(key for key in different if key in RELOADABLE)
    config = msgspec.structs.replace(current, **{key: getattr(new, key) for key in changed})
    sources = {key: source for key, source in current.sources.items() if key not in RELOADABLE}
    sources |= {key: source for key, source in new.sources.items() if key in RELOADABLE}
    return Reload(
        config=with_sources(config, sources),
        changed=changed,
        restart=tuple(key for key in different if key not in RELOADABLE),
    )
