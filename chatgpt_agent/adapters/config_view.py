"""The configuration in force, for administrators: each value, without secrets, and where it comes from."""

from typing import Any

import msgspec

from chatgpt_agent.adapters.config import FIELDS, Config
from chatgpt_agent.adapters.config_values import rule_of
from chatgpt_agent.adapters.redaction import HIDDEN, without_secrets

DEFAULT = "default"


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A key and its value as in a file; None: nothing is set; HIDDEN: the value is, or may hold, a secret. `source`:
    DEFAULT, the path of a file, or `environment` and a variable."""

    key: str
    value: str | None
    source: str


def settings_of(config: Config) -> list[Setting]:
    """Returns all keys, in the order of the documentation."""
    return [
        Setting(key=key, value=_shown_value(config, key), source=config.sources.get(key, DEFAULT)) for key in FIELDS
    ]


def _shown_value(config: Config, key: str) -> str | None:
    value = getattr(config, key)
    if value in (None, "", ()):
        return None
    if rule_of(FIELDS[key]).secret and not (key == "database_url" and config.embedded):
        return HIDDEN
    return without_secrets(_text(value))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
