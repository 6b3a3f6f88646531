"""The configuration in force, as administrators see it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_loading import load_config
from chatgpt_agent.adapters.config_view import DEFAULT, Setting, settings_of
from chatgpt_agent.adapters.redaction import HIDDEN


def setting(key: str, config: Config) -> Setting:
    return next(each for each in settings_of(config) if each.key == key)


def value(key: str, environ: Mapping[str, str]) -> str | None:
    return setting(key, load_config(None, environ)).value


def test_each_key_is_listed_once() -> None:
    """The list is complete, in the order of the keys."""
    assert tuple(each.key for each in settings_of(Config())) == Config.__struct_fields__


def test_each_value_has_its_source(tmp_path: Path) -> None:
    """The environment counts before the file, and the file before the default."""
    file = tmp_path / "config.yml"
    file.write_text("port: 1\nadmin_port: 2\n")
    config = load_config(file, {"PORT": "3"})
    sources = [setting(key, config) for key in ("port", "admin_port", "log_level")]
    assert [(each.value, each.source) for each in sources] == [
        ("3", "environment PORT"), ("2", str(file)), ("info", DEFAULT),
    ]  # fmt: skip


def test_sources_do_not_make_configurations_differ() -> None:
    """A default that is written out is the same configuration."""
    assert load_config(None, {"PORT": "8080"}) == Config()


def test_changed_value_has_the_source_of_the_change() -> None:
    """The other sources stay."""
    config = load_config(None, {"PORT": "3", "LOG_LEVEL": "debug"}).with_values("a limit", port=4)
    assert (config.port, dict(config.sources)) == (4, {"port": "a limit", "log_level": "environment LOG_LEVEL"})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("database_url", "postgresql://u:made-up@db.example/name"),
        ("database_password", "made-up"),
        ("openai_proxy", "http://u:made-up@proxy.example:1"),
        ("webhook_url", "https://hooks.example/made-up"),
        ("openai_url", "https://gateway.example/Ab3dEf6hIj9kLmN2pQr5sT8v/v1/chat/completions"),
    ],
)
def test_secret_is_not_shown(key: str, text: str) -> None:
    """Keys for secrets show nothing, others nothing that looks like one."""
    assert value(key, {key.upper(): text}) == HIDDEN


@pytest.mark.parametrize(
    ("key", "text", "shown_text"),
    [
        ("database_url", "embedded", "embedded"),
        ("openai_url", "https://api.example/v1/chat/completions", "https://api.example/v1/chat/completions"),
        ("trusted_proxies", "10.0.0.0/8,192.0.2.1", "10.0.0.0/8, 192.0.2.1"),
        ("auto_migrate", "false", "false"),
        ("stale_after", "30", "30"),
        ("stale_after", "0.5", "0.5"),
    ],
)
def test_value_is_shown_as_in_a_file(key: str, text: str, shown_text: str) -> None:
    """Lists are joined with commas, and whole numbers have no decimal places."""
    assert value(key, {key.upper(): text}) == shown_text


@pytest.mark.parametrize("key", ["openai_proxy", "cors_origins", "database_url"])
def test_missing_value_is_none(key: str) -> None:
    """A missing secret differs from a hidden one."""
    assert value(key, {}) is None
