"""Users and tokens as the request path knows them: is a token valid now, and which models may it use?

Patterns of models and networks are compiled once when they change, and not for every request. Users and tokens are part
of no reference cycle, so the garbage collector does not visit the hundreds of thousands of them (`gc=False`), which
would hold the event loop each time.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from chatgpt_agent.core.access.networks import Address, Networks
from chatgpt_agent.core.errors import InvalidRequest, ModelNotFound
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.core.money.surcharges import Surcharges

COUNTED_MODEL = re.compile(r"(?!sk-|cga_|cgm_|whsec_)[a-z0-9][a-z0-9.:_-]{0,63}")  # no key in the place of a model
_MODEL_NAME = re.compile(r"[\w.:/@+-]{1,128}", re.ASCII)  # ft:gpt-6-luna:acme::7p4lURel, meta-llama/Llama-3.1-8B


class RateLimits(msgspec.Struct, frozen=True, gc=False):
    """Requests a minute, tokens a minute, requests at once. None: no limit."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


class User(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A user. `upstream_key` is encrypted; `disabled` is also set for a removed user; `allowed_models` matches the
    names of the models that the user may use, None: all; `standard_tier_only`: the user's OpenAI project never serves
    a request without a service tier in a faster one."""

    id: int
    name: str
    upstream_key: bytes
    disabled: bool
    allowed_models: re.Pattern[str] | None = None
    limits: RateLimits = RateLimits()
    standard_tier_only: bool = False


class Token(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An issued token. `digest`: the HMAC of its text. `allowed_models`, `allowed_networks`: None: all."""

    id: int
    user_id: int
    digest: bytes
    revoked: bool
    expires_at: datetime | None = None
    allowed_models: re.Pattern[str] | None = None
    allowed_networks: Networks | None = None
    limits: RateLimits = RateLimits()


class Identity(msgspec.Struct, frozen=True):
    """The token that a request came with, and its user."""

    user: User
    token: Token


def denial_reason(identity: Identity, now: datetime, address: Callable[[], Address | None]) -> str | None:
    """Returns why a token is not valid now from this address, or None. The reason is only for the log. A token with
    networks is not valid if the address is unknown; without them the address is not asked for."""
    user, token = identity.user, identity.token
    if token.revoked:
        return "revoked"
    if user.disabled:
        return "of a disabled user"
    if token.expires_at is not None and token.expires_at <= now:
        return "expired"
    if token.allowed_networks is not None:
        client = address()
        if client is None or client not in token.allowed_networks:
            return "not for this network"
    return None


def may_use(identity: Identity, model: str) -> bool:
    """Whether both the user and the token are allowed this model."""
    return all(
        allowed is None or allowed.fullmatch(model) is not None
        for allowed in (identity.user.allowed_models, identity.token.allowed_models)
    )


def model_denial(identity: Identity, model: str, price: Price | None) -> str:
    """Returns why a request for a model is refused, for the log; `price`: that of the model now."""
    if price is None:
        return f"{shown_model(model)} has no price"
    return _not_allowed(identity, model)


def check_model(identity: Identity, model: str) -> None:
    """Raises ModelNotFound if the user or the token is not allowed this model."""
    if not may_use(identity, model):
        raise ModelNotFound(model, reason=_not_allowed(identity, model))


def _not_allowed(identity: Identity, model: str) -> str:
    allowed = identity.user.allowed_models
    owner = "user" if allowed is not None and not allowed.fullmatch(model) else "token"
    return f"{shown_model(model)} is not allowed for the {owner}"


def shown_model(model: str) -> str:
    """Returns a model as the log shows it. A client may send any text in its place, even a message."""
    return f"model {model}" if _MODEL_NAME.fullmatch(model) else "the model (which is no name)"


def price_for(
    identity: Identity,
    model: str,
    book: PriceBook,
    now: datetime,
    *,
    service_tier: str | None = None,
    price_tier: str | None = None,
) -> Price:
    """Returns the price of a model at a time. `service_tier`: that the request asks for, `price_tier`: at which its
    endpoint is charged. Raises ModelNotFound if the model has no price or is not allowed for this token: a client
    cannot tell the two apart; InvalidRequest if it has none for one of these tiers."""
    price = book.at(model, now)
    if price is None or not may_use(identity, model):
        raise ModelNotFound(model, reason=model_denial(identity, model, price))
    if not price.covers(price_tier):
        raise InvalidRequest(
            f"The model '{model}' has no price for this endpoint. Ask your administrator to set a price for its tier "
            f"'{price_tier}'.",
            param="model",
        )
    if not price.covers(service_tier):
        raise InvalidRequest(
            f"The model '{model}' has no price for the service tier '{service_tier}'. Omit service_tier, or ask your "
            "administrator to set a price for it.",
            param="service_tier",
        )
    return price


def check_tools(kinds: Iterable[str], surcharges: Surcharges) -> None:
    """Raises InvalidRequest if calls of one of these tools have no price."""
    for kind in sorted(kinds):
        if kind not in surcharges.amounts:
            raise InvalidRequest(
                f"The tool '{kind}' has no price. Leave it out, or ask your administrator to set a surcharge for it.",
                param="tools",
            )


def image_price_for(identity: Identity, model: str | None, book: PriceBook, now: datetime) -> Price | None:
    """Returns the price of the model that draws for the tool image_generation; None if the tool is not offered. Raises
    InvalidRequest if that model has no price or is not allowed for this token."""
    if model is None:
        return None
    price = book.at(model, now)
    if price is None or not may_use(identity, model):
        raise InvalidRequest(
            f"The tool image_generation draws with the model '{model}', which does not exist or which you do not have "
            "access to. Name another model in the tool, or leave it out.",
            param="tools",
        )
    return price
