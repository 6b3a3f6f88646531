"""Checks of what admins have set: prices, users, tokens and OpenAI keys."""

from datetime import UTC, date, datetime, timedelta

from chatgpt_agent.adapters.postgres.overview import refused_keys
from chatgpt_agent.adapters.postgres.prices import list_prices
from chatgpt_agent.adapters.postgres.tokens import TokenRow, expiring_tokens
from chatgpt_agent.adapters.postgres.users import UserRow, list_users
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Result, counted, ok, warning
from chatgpt_agent.admin.model_use import ModelUseReader, UnpricedModel
from chatgpt_agent.admin.overview import KEY_DAYS, shutdowns
from chatgpt_agent.core.access.model_patterns import compile_patterns
from chatgpt_agent.core.metrics import EXPIRING_DAYS
from chatgpt_agent.core.moments import show_minute
from chatgpt_agent.core.money.pricing import PriceBook, fine_tuned_base

EXPIRE_WITHIN = timedelta(days=EXPIRING_DAYS)
EXPIRED_SINCE = timedelta(days=3)
LISTED = 10  # users, tokens or models, each with a line of its own


async def check_prices(examination: Examination) -> list[Result]:
    """Models that are used have a price, and users may use some that has one."""
    store = examination.store
    book, now = PriceBook(await list_prices(store)), datetime.now(UTC)
    priced = {price.model for price in book.models(now)}
    if not priced:
        text = "no model has a price, and so every request is refused"
        return [warning(text, "chatgpt-agent price import FILE, or price set MODEL")]
    models = ModelUseReader(store)
    results = [_of_unpriced(each) for each in await models.unpriced(await models.used())]
    results += [_of_user(user) for user in await list_users(store) if _has_no_model(user, priced)]
    return _limited(results) or [
        ok(f"{counted(len(priced), 'model has', 'models have')} a price, among them all that were asked for")
    ]


def _of_unpriced(model: UnpricedModel) -> Result:
    used = "" if model.use is None else f", and had {model.use.requests} in the last 30 days"
    text = f"{model.model} has no price: {counted(model.refused, 'request was', 'requests were')} refused{used}"
    return warning(text, f"chatgpt-agent price set {model.model} --input … --output …")


def _has_no_model(user: UserRow, priced: set[str]) -> bool:
    """Whether an active user may only use models without a price."""
    if user.allowed_models is None or user.disabled_at or user.removed_at:
        return False
    if any(fine_tuned_base(pattern) in priced for pattern in user.allowed_models):
        return False
    return not any(map(compile_patterns(user.allowed_models).fullmatch, priced))


def _of_user(user: UserRow) -> Result:
    text = f"user {user.name} may only use models without a price: {', '.join(user.allowed_models or ())}"
    return warning(text, f"chatgpt-agent user set {user.name} --models …")


async def check_shutdowns(examination: Examination) -> list[Result]:
    """OpenAI does not soon shut down a model that is used."""
    store, now = examination.store, datetime.now(UTC)
    priced = {price.model for price in PriceBook(await list_prices(store)).models(now)}
    results: list[Result] = []
    for model in await shutdowns(store, priced, now.date()):
        day = model.at
        assert isinstance(day, date)
        verb = "has shut down" if day <= now.date() else "shuts down"
        users = counted(model.count or 0, "user has", "users have")
        text = f"OpenAI {verb} {model.subject} on {day:%Y-%m-%d}; {users} used it in the last 30 days"
        results.append(warning(text, "let them change to another model"))
    return _limited(results) or [ok("none of the models in use, as far as the last price list tells")]


async def check_openai_keys(examination: Examination) -> list[Result]:
    """OpenAI accepts the keys of users, as far as their last requests tell."""
    store = examination.new_store()  # which may be busy for longer than other checks wait
    refused = await refused_keys(store, datetime.now(UTC) - timedelta(days=KEY_DAYS))
    results = [
        warning(
            f"OpenAI refused the key of user {each.user} at {show_minute(each.at)} UTC, and it has not worked since",
            f"chatgpt-agent user set-key {each.user}",
        )
        for each in refused
    ]
    return _limited(results) or [ok(f"none was refused in the last {KEY_DAYS} days")]


async def check_tokens(examination: Examination) -> list[Result]:
    """No token expires soon."""
    now = datetime.now(UTC)
    tokens = await expiring_tokens(examination.store, now - EXPIRED_SINCE, now + EXPIRE_WITHIN)
    return _limited([_of_token(token, now) for token in tokens]) or [
        ok(f"none expires within {EXPIRE_WITHIN.days} days")
    ]


def _of_token(token: TokenRow, now: datetime) -> Result:
    assert token.expires_at is not None
    label = f" ({token.label})" if token.label else ""
    verb = "has expired" if token.expires_at <= now else "expires"
    text = f"token {token.id} of user {token.user}{label} {verb} at {show_minute(token.expires_at)} UTC"
    if token.expires_at <= now:
        return warning(text, f"chatgpt-agent token issue {token.user}")
    return warning(text, f"chatgpt-agent token rotate {token.id}, or token set {token.id} --expires …")


def _limited(results: list[Result]) -> list[Result]:
    if len(results) <= LISTED:
        return results
    return [*results[:LISTED], warning(f"{len(results) - LISTED} more like the one above")]
