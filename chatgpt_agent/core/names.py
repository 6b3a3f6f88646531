"""The rules for names and other short texts, each written once."""

import re

from chatgpt_agent.core.errors import InvalidValue

MAX_NAME = 128  # characters
SERVICE_TIER = "[a-z][a-z_-]{0,31}"  # such as flex

_SERVICE_TIER = re.compile(SERVICE_TIER)


def is_printable(text: str, limit: int = MAX_NAME) -> bool:
    """Whether a text has 1 to `limit` characters, all of them printable: no line break, no control character, no NUL
    (which PostgreSQL's text cannot hold)."""
    return 0 < len(text) <= limit and text.isprintable()


def is_name(text: str, limit: int = MAX_NAME) -> bool:
    """Whether a text is printable and has no space at its ends: the rule for all that an administrator names."""
    return is_printable(text, limit) and text == text.strip()


def is_secret(text: str, limit: int = MAX_NAME) -> bool:
    """Whether a text can be a token or an API key: printable ASCII without spaces."""
    return is_printable(text, limit) and text.isascii() and " " not in text


def is_service_tier(text: str) -> bool:
    """Whether a text can be the name of a service tier of OpenAI."""
    return _SERVICE_TIER.fullmatch(text) is not None


def check_name(field: str, text: str, limit: int = MAX_NAME) -> None:
    """Raises InvalidValue, which begins with the field, if a text is not a name."""
    if not is_name(text, limit):
        raise InvalidValue(f"{field}: {text[:40]!r} must have 1 to {limit} printable characters, no space at the ends")
