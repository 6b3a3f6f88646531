"""Errors for names that do not exist, each with the name that is probably meant. An empty result would look like no
usage, no budget or no change."""

import asyncio
from collections.abc import Iterable

from chatgpt_agent.adapters.postgres import names, tokens, users
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.core.errors import NotFound
from chatgpt_agent.core.likely import hint as likely_hint


async def missing_user(store: AnyStore, name: str) -> NotFound:
    """Returns the error for a user who does not exist."""
    return NotFound(f"there is no user {name!r}{await _hint(name, await names.user_names(store))}")


async def missing_admin(name: str, existing: Iterable[str]) -> NotFound:
    """Returns the error for an administrator who does not exist."""
    return NotFound(f"there is no admin {name!r}{await _hint(name, existing)}")


async def check_user(store: AnyStore, name: str | None) -> None:
    """Raises NotFound for a user who never existed."""
    if name is not None and await users.find_user(store, name) is None:
        raise await missing_user(store, name)


async def check_token(store: AnyStore, id: int | None) -> None:
    """Raises NotFound for a token that never existed; 0 is that of rows without a token."""
    if id and not await tokens.has_token(store, id):
        raise NotFound(f"there is no token {id}")


async def check_model(store: AnyStore, model: str | None) -> None:
    """Raises NotFound for a model that never had a price or a request."""
    if model is not None and not await names.has_model(store, model):
        hint = await _hint(model, await names.model_names(store))
        raise NotFound(f"there is no price or request of a model {model!r}{hint}")


async def missing_price(model: str, priced: Iterable[str]) -> NotFound:
    """Returns the error for a model without a price."""
    return NotFound(f"the model {model!r} has no price{await _hint(model, priced)}")


async def check_actor(store: AnyStore, name: str) -> None:
    """Raises NotFound for an actor who is no administrator and has changed nothing."""
    actors = await names.actor_names(store)
    if name not in actors:
        raise NotFound(f"there is no admin or account {name!r}{await _hint(name, actors)}")


async def _hint(name: str, existing: Iterable[str]) -> str:
    # In a thread: comparing thousands of names takes long enough to delay requests.
    return await asyncio.to_thread(likely_hint, name, existing)
