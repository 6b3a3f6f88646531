"""Options that say what users and tokens may do, and how lists show it. An empty value takes a setting away."""

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from msgspec import UNSET

from chatgpt_agent.admin.tokens import TokenRow
from chatgpt_agent.admin.users import UserRow
from chatgpt_agent.core.access.admission import RateLimits
from chatgpt_agent.core.access.model_patterns import parse_patterns
from chatgpt_agent.core.access.user_changes import MAX_LIMIT

F = TypeVar("F", bound=Callable[..., Any])

_DURATION = re.compile(r"([1-9]\d{0,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S")


def user_settings(command: F) -> F:
    """Adds --comment, --models, and the limits."""
    comment = click.option("--comment", callback=_text, help="A line about them.")
    return comment(_models(_limits(command)))


def token_settings(command: F) -> F:
    """Adds --label, --expires, --models, --networks, and the limits."""
    label = click.option("--label", callback=_text, help="A word to tell tokens apart.")
    expires = click.option(
        "--expires",
        "expires_at",
        metavar="TIME|DATE",
        callback=_expiry,
        help="After 90d, 12h or 30m, or at a date in UTC; else never.",
    )
    networks = click.option(
        "--networks",
        "allowed_networks",
        metavar="LIST",
        callback=_list,
        help="From where it may be used, such as 192.0.2.0/24,2001:db8::/32; else from everywhere.",
    )
    return label(expires(_models(networks(_limits(command)))))


def _models(command: F) -> F:
    return click.option(
        "--models",
        "allowed_models",
        metavar="LIST",
        callback=_list,
        help="Models that may be used, such as gpt-4o*,o3; else all that have a price.",
    )(command)


def _limits(command: F) -> F:
    for name, text in (("concurrency", "Requests at once"), ("tpm", "Tokens a minute"), ("rpm", "Requests a minute")):
        command = click.option(f"--{name}", metavar="N", callback=_number, help=f"{text}; else no limit.")(command)
    return command


# What is not given is UNSET.


def _text(_: click.Context, __: click.Parameter, text: str | None) -> object:
    return UNSET if text is None else text


def _list(_: click.Context, __: click.Parameter, text: str | None) -> object:
    return UNSET if text is None else parse_patterns(text) or None


def _number(_: click.Context, __: click.Parameter, text: str | None) -> object:
    if not text:
        return UNSET if text is None else None
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:20]) <= MAX_LIMIT):
        raise click.BadParameter(f"{text[:40]!r} is not a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def _expiry(_: click.Context, __: click.Parameter, text: str | None) -> object:
    if not text:
        return UNSET if text is None else None
    with contextlib.suppress(OverflowError):  # in the year 10000
        if (after := parse_duration(text)) is not None:
            return datetime.now(UTC) + after
    for form in _DATES:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise click.BadParameter(f"{text[:40]!r} is neither a time such as 90d, 12h or 30m nor a date such as 2026-12-31")


def parse_duration(text: str) -> timedelta | None:
    """The time of `90d`, `12h`, `30m` or `2w`; None where it is not written so."""
    found = _DURATION.fullmatch(text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


def given(options: dict[str, Any]) -> dict[str, Any]:
    """What the command line says, as the services take it for something new: limits together, nothing for UNSET."""
    found = {name: value for name, value in options.items() if value is not UNSET}
    limits = {name: found.pop(name) for name in RateLimits.__struct_fields__ if name in found}
    return {**found, "limits": RateLimits(**limits)}


def changed(options: dict[str, Any]) -> dict[str, Any]:
    """What the command line says, where it must say something. Raises UsageError."""
    if all(value is UNSET for value in options.values()):
        raise click.UsageError("nothing to change: give an option, with an empty value to take a setting away")
    return options


# Cells of lists.


def listed(names: tuple[str, ...] | None) -> str:
    """A list, or that there is none."""
    return "all" if names is None else ",".join(names)


def limits(found: UserRow | TokenRow) -> str:
    """Limits in a word each."""
    words = ((found.rpm, "rpm"), (found.tpm, "tpm"), (found.concurrency, "at once"))
    return ", ".join(f"{number} {word}" for number, word in words if number is not None)


def state(found: UserRow | TokenRow) -> str:
    """Whether a user or a token counts now."""
    if isinstance(found, UserRow):
        return "removed" if found.removed_at else "disabled" if found.disabled_at else "active"
    if found.revoked_at:
        return "revoked"
    return "expired" if found.expires_at and found.expires_at <= datetime.now(UTC) else "active"


def minute(moment: datetime | None) -> str:
    """A moment in UTC."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
