"""May this token make this call now? Answers with a value or one of core.errors; asks nobody.

Patterns of models and networks come here compiled: that is done once when they change, and not for every request.
Users and tokens are no part of any circle, so the garbage collector need not look at the hundred thousands of them
(`gc=False`): each time it did, everybody would wait.
"""

import re
from datetime import datetime

import msgspec

from chatgpt_agent.core.access.networks import Address, Networks
from chatgpt_agent.core.errors import ModelNotFound
from chatgpt_agent.core.money.pricing import Price, PriceBook


class RateLimits(msgspec.Struct, frozen=True, gc=False):
    """What somebody may take: requests a minute, tokens a minute, requests at once. None: no limit."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


class User(msgspec.Struct, frozen=True, gc=False):
    """A user as the request path knows one. `upstream_key` is encrypted; `disabled`, or removed; `allowed_models`
    matches the names of those that they may use, None: all."""

    id: int
    name: str
    upstream_key: bytes
    disabled: bool
    allowed_models: re.Pattern[str] | None = None
    limits: RateLimits = RateLimits()


class Token(msgspec.Struct, frozen=True, gc=False):
    """An issued token, found by the HMAC of its text. `allowed_models` and `allowed_networks`: None: all."""

    id: int
    user_id: int
    digest: bytes
    revoked: bool
    expires_at: datetime | None = None
    allowed_models: re.Pattern[str] | None = None
    allowed_networks: Networks | None = None
    limits: RateLimits = RateLimits()


class Identity(msgspec.Struct, frozen=True):
    """Who is asking."""

    user: User
    token: Token


def denial_reason(identity: Identity, now: datetime, address: Address | None) -> str | None:
    """Why a token does not count now, coming from this address; None: it does. The reason is for the log: a client is
    never told. Where it is not known from where it comes, a token that has networks does not count."""
    user, token = identity.user, identity.token
    if token.revoked:
        return "revoked"
    if user.disabled:
        return "of a disabled user"
    if token.expires_at is not None and token.expires_at <= now:
        return "expired"
    if token.allowed_networks is not None and (address is None or address not in token.allowed_networks):
        return "not for this network"
    return None


def may_use(identity: Identity, model: str) -> bool:
    """Whether both the user and the token are allowed this model."""
    return all(
        allowed is None or allowed.fullmatch(model) is not None
        for allowed in (identity.user.allowed_models, identity.token.allowed_models)
    )


def admit(model: str, book: PriceBook, now: datetime, identity: Identity) -> Price:
    """The price that a call is made at. Raises ModelNotFound where the model has none, or is not for this token: a
    client cannot tell the one from the other."""
    price = book.at(model, now)
    if price is None or not may_use(identity, model):
        raise ModelNotFound(model)
    return price
