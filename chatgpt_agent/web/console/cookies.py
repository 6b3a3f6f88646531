"""The console's cookies. Their prefix lets a browser accept them over https (or on localhost) only, for this host and
all of its paths (RFC 6265bis §4.1.3.2)."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from tornado.web import create_signed_value, decode_signed_value

from chatgpt_agent.web.console.parts import Notice

SESSION = "__Host-session"
XSRF = "__Host-xsrf"
LANGUAGE = "__Host-language"
THEME = "__Host-theme"
NOTICE = "__Host-notice"  # what the action before has done

ATTRIBUTES: dict[str, Any] = {"path": "/", "secure": True, "httponly": True, "samesite": "Strict"}
PREFERENCE_DAYS = 365  # that a language and a theme are kept
NOTICE_DAYS = 1 / 24  # that a notice is shown at most
MAX_COOKIE = 3800  # bytes of its value: browsers drop a cookie of more than 4096 (RFC 6265bis §5.6)


def sign(secret: bytes, notice: Notice) -> bytes:
    """Returns a notice that only this agent, and others with its key, can have written. What is too long for a cookie
    is left out: the undo first, then the warnings."""
    for each in (notice, _plainer(notice, notice.warnings), _plainer(notice, ())):
        value = create_signed_value(secret, NOTICE, msgspec.json.encode(each))
        if len(value) <= MAX_COOKIE:
            break
    return value


def _plainer(notice: Notice, warnings: Sequence[str]) -> Notice:
    return Notice(text=notice.text, level=notice.level, warnings=warnings)


def unsign(secret: bytes, text: str) -> Notice | None:
    """Returns a notice; None: it was not written by us, or is too old."""
    value = decode_signed_value(secret, NOTICE, text, max_age_days=NOTICE_DAYS)
    try:
        return None if value is None else msgspec.json.decode(value, type=Notice)
    except msgspec.MsgspecError:
        return None


def encoded(url: str) -> str:
    """Returns an address as the value of a parameter."""
    return quote(url, safe="")
