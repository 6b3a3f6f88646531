"""May this token make this call now? Answers with a value or one of core.errors; asks nobody."""

from datetime import datetime

import msgspec

from chatgpt_agent.core.errors import ModelNotFound
from chatgpt_agent.core.pricing import Price, PriceBook


class Limits(msgspec.Struct, frozen=True):
    """What somebody may take: requests a minute, tokens a minute, requests at once. None: no limit."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


class User(msgspec.Struct, frozen=True):
    """A user as the request path knows one. `upstream_key` is encrypted; `disabled`, or removed;
    `allowed_models`: names or patterns, None: all."""

    id: int
    name: str
    upstream_key: bytes
    disabled: bool
    allowed_models: tuple[str, ...] | None = None
    limits: Limits = Limits()


class Token(msgspec.Struct, frozen=True):
    """An issued token, found by the HMAC of its text. `allowed_networks` in CIDR notation, None: all."""

    id: int
    user_id: int
    digest: bytes
    revoked: bool
    expires_at: datetime | None = None
    allowed_models: tuple[str, ...] | None = None
    allowed_networks: tuple[str, ...] | None = None
    limits: Limits = Limits()


class Identity(msgspec.Struct, frozen=True):
    """Who is asking."""

    user: User
    token: Token


def may_call(user: User, token: Token) -> bool:
    """Whether this token is in force."""
    return not (token.revoked or user.disabled)


def admit(model: str, book: PriceBook, now: datetime) -> Price:
    """The price that a call is made at. Raises ModelNotFound where the model has none."""
    price = book.at(model, now)
    if price is None:
        raise ModelNotFound(model)
    return price
