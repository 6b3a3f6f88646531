"""Options for the settings of users and tokens, and how lists show them. An empty value removes a setting."""

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from msgspec import UNSET, UnsetType

from chatgpt_agent.admin.tokens import TokenRow
from chatgpt_agent.admin.users import UserRow
from chatgpt_agent.core.access.model_patterns import parse_patterns
from chatgpt_agent.core.access.settings import MAX_LIMIT
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.moments import YEARS, check_moment, parse_moment, show_minute

F = TypeVar("F", bound=Callable[..., Any])

_DURATION = re.compile(r"([1-9]\d{0,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LIMITS = (("concurrency", "Concurrent requests"), ("tpm", "Tokens per minute"), ("rpm", "Requests per minute"))


def user_settings(command: F) -> F:
    """Adds --comment, --models, the limits, and --standard-tier-only."""
    comment = click.option("--comment", callback=_text, help="A line about the user.")
    standard = click.option(
        "--standard-tier-only/--no-standard-tier-only",
        "standard_tier_only",
        default=None,
        callback=_flag,
        help="Whether the user's OpenAI project never serves a request in a dearer service tier than it asks for; "
        "default: it may, so budgets reserve the dearest one.",
    )
    return comment(_models(_limits(standard(command))))


def token_settings(command: F) -> F:
    """Adds --label, --expires, --models, --networks, and the limits."""
    label = click.option("--label", callback=_text, help="A name that distinguishes the user's tokens.")
    expires = click.option(
        "--expires",
        "expires_at",
        metavar="TIME|DATE",
        callback=_expiry,
        help="After 90d, 12h or 30m, or at a date in UTC; default: never.",
    )
    networks = click.option(
        "--networks",
        "allowed_networks",
        metavar="LIST",
        callback=_list,
        help="Networks to accept the token from, such as 192.0.2.0/24,2001:db8::/32; default: all.",
    )
    return label(expires(_models(networks(_limits(command)))))


def _models(command: F) -> F:
    return click.option(
        "--models",
        "allowed_models",
        metavar="LIST",
        callback=_list,
        help="Models to allow, such as gpt-6*,gpt-5.5; default: all that have a price.",
    )(command)


def _limits(command: F) -> F:
    for name, text in _LIMITS:
        help_text = f"{text}; default: no limit."
        command = click.option(f"--{name}", metavar="N", callback=_limit, help=help_text)(command)
    return command


# Callbacks: a missing option is UNSET, an empty value is None (or an empty text).


def _text(_: click.Context, __: click.Parameter, text: str | None) -> str | UnsetType:
    return UNSET if text is None else text


def _flag(_: click.Context, __: click.Parameter, value: bool | None) -> bool | UnsetType:
    return UNSET if value is None else value


def _list(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...] | UnsetType | None:
    return UNSET if text is None else parse_patterns(text) or None


def _limit(_: click.Context, __: click.Parameter, text: str | None) -> int | UnsetType | None:
    if not text:
        return UNSET if text is None else None
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:20]) <= MAX_LIMIT):
        raise click.BadParameter(f"{text[:40]!r} is not a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def _expiry(_: click.Context, __: click.Parameter, text: str | None) -> datetime | UnsetType | None:
    if not text:
        return UNSET if text is None else None
    with contextlib.suppress(OverflowError):  # after the year 9999
        if (duration := parse_duration(text)) is not None:
            return check_moment("", datetime.now(UTC) + duration)
    try:
        return parse_moment(text, "")
    except InvalidValue:
        raise click.BadParameter(
            f"{text[:40]!r} is neither a time such as 90d, 12h or 30m nor a date such as 2026-12-31 or "
            f"2026-12-31T18:00:00Z in {YEARS}"
        ) from None


def parse_duration(text: str) -> timedelta | None:
    """Reads `90d`, `12h`, `30m` or `2w`; returns None for another form."""
    match = _DURATION.fullmatch(text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None


def require_change(settings: dict[str, Any]) -> None:
    """Raises UsageError if no setting is set."""
    if all(value is UNSET for value in settings.values()):
        raise click.UsageError("nothing to change: give an option; an empty value removes a setting")


# Cells of lists.


def format_list(names: tuple[str, ...] | None) -> str:
    """Formats names, or `all` if there is no list."""
    return "all" if names is None else ",".join(names)


def format_limits(row: UserRow | TokenRow) -> str:
    """Formats the limits that are set."""
    limits = ((row.rpm, "rpm"), (row.tpm, "tpm"), (row.concurrency, "at once"))
    return ", ".join(f"{limit} {unit}" for limit, unit in limits if limit is not None)


def format_minute(moment: datetime | None) -> str:
    """Formats a time in UTC, to the minute."""
    return show_minute(moment)
