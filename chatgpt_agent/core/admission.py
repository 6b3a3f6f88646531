"""May this token make this call now? Answers with a value or one of core.errors; asks nobody."""

from datetime import datetime

import msgspec

from chatgpt_agent.core.errors import ModelNotFound
from chatgpt_agent.core.pricing import Price, PriceBook


class User(msgspec.Struct, frozen=True):
    """A user as the request path knows one. `upstream_key` is encrypted."""

    id: int
    name: str
    upstream_key: bytes
    disabled: bool


class Token(msgspec.Struct, frozen=True):
    """An issued token, found by the HMAC of its text."""

    id: int
    user_id: int
    digest: bytes
    revoked: bool


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
