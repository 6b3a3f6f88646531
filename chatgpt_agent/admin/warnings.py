"""Warnings: what an administrator may do, and has probably not meant. A command prints them, REST has a header."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from msgspec import UnsetType

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.names import user_names
from chatgpt_agent.adapters.postgres.prices import list_prices
from chatgpt_agent.core.access.model_patterns import compile_patterns
from chatgpt_agent.core.likely import folded, hint, quoted
from chatgpt_agent.core.money.pricing import fine_tuned_base

MAX_WARNINGS = 20  # of one kind

Warn = Callable[[str], None]


def no_warning(_: str) -> None:
    """Ignores a warning."""


def taken_message(name: str, removed_at: datetime | None) -> str:
    """Returns the error for a name that a user has, who may be removed."""
    if removed_at is None:
        return f"user {name!r} already exists"
    return (
        f"user {name!r} was removed on {removed_at:%Y-%m-%d}, and the name stays with the rows: choose another name, "
        "or rename the removed user first (`user rename`)"
    )


async def warn_of_look_alikes(store: AnyStore, added: Sequence[str], warn: Warn) -> None:
    """Warns of users whose names differ from one of `added`, which exist or will, in case or composition only."""
    warn_of_similar("another user", [*await user_names(store), *added], added, warn)


def warn_of_similar(another: str, names: Iterable[str], added: Sequence[str], warn: Warn) -> None:
    """Warns of `names` that differ from one of `added` in case or composition only. `another`: what has these names."""
    by_folded = defaultdict[str, set[str]](set)
    for name in names:
        by_folded[folded(name)].add(name)
    alike = [(name, others) for name in added if (others := by_folded[folded(name)] - {name})]
    for name, others in alike[:MAX_WARNINGS]:
        warn(f"the name {name!r} looks like that of {another}, {quoted(min(others), name)}")


async def warn_of_unpriced(
    store: AnyStore, models: Iterable[str] | UnsetType | None, warn: Warn, *, if_any: bool = False
) -> None:
    """Warns of allowed models and patterns that match no model with a price, now or later. `if_any`: unless no model
    has one yet."""
    if not models or isinstance(models, UnsetType):
        return
    priced = {price.model for price in await list_prices(store) if not price.is_removed and price.cancelled_at is None}
    if if_any and not priced:
        return
    for pattern in models:
        if fine_tuned_base(pattern) in priced:
            continue
        if not any(map(compile_patterns([pattern]).fullmatch, priced)):
            warn(f"no model with a price matches {pattern!r} of the allowed models{hint(pattern, priced)}")
