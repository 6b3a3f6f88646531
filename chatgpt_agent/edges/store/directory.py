"""Reading what agents keep in memory: users, tokens and prices, whole or what has changed since a version."""

import msgspec

from chatgpt_agent.core.admission import Token, User
from chatgpt_agent.core.pricing import Price
from chatgpt_agent.edges.store.connection import Store


class Changes(msgspec.Struct, frozen=True):
    """Rows that are new since a version. `whole`: these are all there are."""

    version: int
    whole: bool
    users: list[User]
    tokens: list[Token]
    prices: list[Price]


async def read_changes(store: Store, since: int) -> Changes | None:
    """What has changed since a version (-1: everything), or None. A row that changes while it is read may come
    twice, which does no harm. A version that went back is that of a restored backup: everything, too."""
    [(version, reset)] = await store.fetch("SELECT version, reset FROM directory_version")
    if version == since:
        return None
    whole = since < reset or since < 0 or version < since
    after = [-1 if whole else since]
    users = await store.fetch(
        "SELECT id, name, upstream_key, disabled_at IS NOT NULL FROM users WHERE changed > %s", after
    )
    tokens = await store.fetch(
        "SELECT id, user_id, digest, revoked_at IS NOT NULL FROM tokens WHERE changed > %s", after
    )
    prices = await store.fetch(
        "SELECT id, model, effective_at, input, output, cached_input FROM prices WHERE changed > %s", after
    )
    return Changes(
        version,
        whole,
        [User(id_, name, bytes(key), disabled) for id_, name, key, disabled in users],
        [Token(id_, user, bytes(digest), revoked) for id_, user, digest, revoked in tokens],
        [Price(*line) for line in prices],
    )
