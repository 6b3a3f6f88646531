"""What an administrator may say of users and tokens."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from chatgpt_agent.core.access.admission import RateLimits
from chatgpt_agent.core.access.model_patterns import check_patterns
from chatgpt_agent.core.access.networks import check_networks
from chatgpt_agent.core.errors import InvalidValue

MAX_NAME = 128
MAX_COMMENT = 1000
MAX_KEY = 512
MAX_LIMIT = 10**12


class UserChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed about a user. None takes a limit or a list of models away; UNSET leaves it as it is."""

    comment: str | UnsetType = UNSET
    allowed_models: tuple[str, ...] | UnsetType | None = UNSET
    rpm: int | UnsetType | None = UNSET
    tpm: int | UnsetType | None = UNSET
    concurrency: int | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET


class TokenChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed about a token."""

    label: str | UnsetType = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    allowed_models: tuple[str, ...] | UnsetType | None = UNSET
    allowed_networks: tuple[str, ...] | UnsetType | None = UNSET
    rpm: int | UnsetType | None = UNSET
    tpm: int | UnsetType | None = UNSET
    concurrency: int | UnsetType | None = UNSET


def check_changes(changes: UserChanges | TokenChanges) -> None:
    """Raises InvalidValue where a value can be none of its field. A comment or a label may be empty."""
    for name, value in set_fields(changes).items():
        if name == "comment":
            _check_optional_text("comment", value, MAX_COMMENT)
        elif name == "label":
            _check_optional_text("label", value, MAX_NAME)
        elif name == "expires_at":
            _check_expiry(value)
        elif name in _LISTS and value is not None:
            _LISTS[name](value)
        elif name in RateLimits.__struct_fields__ and value is not None and not 0 < value <= MAX_LIMIT:
            raise InvalidValue(f"{name}: {value} is not a whole number from 1 to {MAX_LIMIT}")


_LISTS = {"allowed_models": check_patterns, "allowed_networks": check_networks}


def set_fields(changes: UserChanges | TokenChanges) -> dict[str, Any]:
    """The fields that are to be changed."""
    return {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not UNSET}


def check_text(what: str, text: str, limit: int) -> None:
    """Raises InvalidValue where a text would spoil a list."""
    if not (0 < len(text) <= limit and text.isprintable() and text == text.strip()):
        raise InvalidValue(f"{what}: {text[:40]!r} must have 1 to {limit} printable characters, no space at the ends")


def check_upstream_key(key: str) -> None:
    """Raises InvalidValue where a text cannot be an API key; the text is not repeated."""
    if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable() and " " not in key):
        raise InvalidValue(f"the OpenAI key must be 1 to {MAX_KEY} printable ASCII characters without spaces")


def _check_optional_text(what: str, text: str, limit: int) -> None:
    if text:
        check_text(what, text, limit)


def _check_expiry(moment: datetime | None) -> None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidValue("expires_at: the time needs its offset from UTC, such as 2026-11-23T18:00:00Z")
