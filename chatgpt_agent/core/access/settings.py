"""Settings of users and tokens, and the rules for their values.

The types carry the rules for JSON, and so for OpenAPI; `check_settings` holds for the command line as well.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chatgpt_agent.core.access.identity import RateLimits
from chatgpt_agent.core.access.model_patterns import check_patterns
from chatgpt_agent.core.access.networks import check_networks
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.likely import check_likely_key, check_likely_name
from chatgpt_agent.core.moments import check_moment
from chatgpt_agent.core.names import MAX_NAME, check_name, is_secret

MAX_COMMENT = 1000
MAX_KEY = 512
MAX_LIMIT = 10**12

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_NAME,
        description="Printable characters, no space at the ends.",
        extra={"words": f"text of 1 to {MAX_NAME} printable characters"},
    ),
]
OpenAIKey = Annotated[
    str,
    Meta(
        pattern=f"^[!-~]{{1,{MAX_KEY}}}$",
        extra_json_schema={"writeOnly": True},
        extra={
            "words": f"an OpenAI key, which has 1 to {MAX_KEY} printable ASCII characters without spaces",
            "secret": True,
        },
    ),
]
Comment = Annotated[str, Meta(max_length=MAX_COMMENT)]
Label = Annotated[str, Meta(max_length=MAX_NAME)]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, extra={"example": "60"})]
Patterns = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1000, description="Names or patterns: `gpt-6*`.")]
CIDRs = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=100, description="CIDR: `10.0.0.0/8`.")]
Moment = Annotated[datetime, Meta(tz=True, description="In the years 2000 to 9998; UTC if it has no offset.")]


class UserSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user may do. `rpm`, `tpm`: requests and tokens per minute; `concurrency`: concurrent requests.
    `allowed_models` null: every model that has a price; a limit null: no limit. `standard_tier_only`: the user's OpenAI
    project never serves a request without a service tier in a faster, dearer one, so that a budget need not reserve
    it."""

    comment: Comment | UnsetType = UNSET
    allowed_models: Patterns | UnsetType | None = UNSET
    rpm: Limit | UnsetType | None = UNSET
    tpm: Limit | UnsetType | None = UNSET
    concurrency: Limit | UnsetType | None = UNSET
    standard_tier_only: bool | UnsetType = UNSET


class NewUser(UserSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user to be added. `allowed_models` null: every model that has a price; a limit null: no limit."""

    name: Name
    openai_key: OpenAIKey

    def __repr__(self) -> str:
        return f"NewUser({self.name!r})"  # without the key


class UserChanges(UserSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of a user. A field that is missing stays as it is; null removes a limit."""

    disabled: bool | UnsetType = UNSET


class TokenSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token may do. `expires_at` null: never; `allowed_networks` null: every network; `allowed_models` null:
    every model that the user may use; a limit null: no limit. A field that is missing stays as it is."""

    label: Label | UnsetType = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    allowed_models: Patterns | UnsetType | None = UNSET
    allowed_networks: CIDRs | UnsetType | None = UNSET
    rpm: Limit | UnsetType | None = UNSET
    tpm: Limit | UnsetType | None = UNSET
    concurrency: Limit | UnsetType | None = UNSET


def check_settings(settings: UserSettings | TokenSettings) -> None:
    """Raises InvalidValue if a value is not allowed in its field. A comment or a label may be empty."""
    for name, value in set_fields(settings).items():
        if name == "name":
            check_user_name(value)
        elif name == "openai_key":
            check_openai_key(value)
        elif name == "comment":
            _check_optional_text("comment", value, MAX_COMMENT)
        elif name == "label":
            _check_optional_text("label", value, MAX_NAME)
        elif name == "expires_at":
            if value is not None:
                check_moment(name, value)
        elif name in _LISTS and value is not None:
            _LISTS[name](value)
        elif name in RateLimits.__struct_fields__ and value is not None and not 0 < value <= MAX_LIMIT:
            raise InvalidValue(f"{name}: {value} is not a whole number from 1 to {MAX_LIMIT}")


_LISTS: dict[str, Callable[[tuple[str, ...]], None]] = {
    "allowed_models": check_patterns,
    "allowed_networks": check_networks,
}


def set_fields(settings: UserSettings | TokenSettings) -> dict[str, Any]:
    """Returns the fields that are set."""
    return {name: value for name, value in msgspec.structs.asdict(settings).items() if value is not UNSET}


def check_openai_key(key: str) -> None:
    """Raises InvalidValue if a text cannot be an API key, or is probably none; the message does not contain it."""
    if not is_secret(key, MAX_KEY):
        raise InvalidValue(f"the OpenAI key must be 1 to {MAX_KEY} printable ASCII characters without spaces")
    check_likely_key(key)


def check_user_name(name: str) -> None:
    """Raises InvalidValue if a user cannot have this name, or if it is probably a mistake."""
    check_name("name", name)
    check_likely_name("name", name)


def _check_optional_text(field: str, text: str, limit: int) -> None:
    if text:
        check_name(field, text, limit)
