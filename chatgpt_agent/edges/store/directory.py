"""Reading what agents keep in memory: users, tokens, prices and budgets, whole or what has changed since a version."""

import re

import msgspec

from chatgpt_agent.core.admission import Limits, Token, User
from chatgpt_agent.core.budgets import Budget, Period
from chatgpt_agent.core.networks import Networks, is_network
from chatgpt_agent.core.patterns import compile_patterns
from chatgpt_agent.core.pricing import Price
from chatgpt_agent.edges.store.connection import Store
from chatgpt_agent.edges.store.prices import PRICE_COLUMNS, price_of


class Changes(msgspec.Struct, frozen=True):
    """Rows that are new since a version. `whole`: these are all there are. `time_zone`: whose days budgets count."""

    version: int
    whole: bool
    users: list[User]
    tokens: list[Token]
    prices: list[Price]
    budgets: list[Budget]
    time_zone: str


async def read_changes(store: Store, since: int) -> Changes | None:
    """What has changed since a version (-1: everything), or None. A row that changes while it is read may come
    twice, which does no harm. A version that went back is that of a restored backup: everything, too."""
    [(version, reset, zone)] = await store.fetch(
        "SELECT version, reset, (SELECT value FROM settings WHERE name = 'time_zone') FROM directory_version"
    )
    if version == since:
        return None
    whole = since < reset or since < 0 or version < since
    after = [-1 if whole else since]
    users = await store.fetch(
        """SELECT id, name, upstream_key, coalesce(disabled_at, removed_at) IS NOT NULL, allowed_models,
                  rpm, tpm, concurrency
           FROM users WHERE changed > %s""",
        after,
    )
    tokens = await store.fetch(
        """SELECT id, user_id, digest, revoked_at IS NOT NULL, expires_at, allowed_models, allowed_networks,
                  rpm, tpm, concurrency
           FROM tokens WHERE changed > %s""",
        after,
    )
    prices = await store.fetch(f"SELECT {PRICE_COLUMNS} FROM prices p WHERE changed > %s", after)
    budgets = await store.fetch("SELECT id, user_id, token_id, period, amount FROM budgets WHERE changed > %s", after)
    return Changes(
        version,
        whole,
        [
            User(id_, name, bytes(key), disabled, _models(models), Limits(*limits))
            for id_, name, key, disabled, models, *limits in users
        ],
        [
            Token(id_, user, bytes(digest), revoked, expires, _models(models), _networks(networks), Limits(*limits))
            for id_, user, digest, revoked, expires, models, networks, *limits in tokens
        ],
        [price_of(line) for line in prices],
        [Budget(id_, user, token, Period(period), amount) for id_, user, token, period, amount in budgets],
        zone,
    )


def _models(found: list[str] | None) -> re.Pattern[str] | None:
    return None if found is None else compile_patterns(found)


def _networks(found: list[str] | None) -> Networks | None:
    """What somebody wrote by hand and is no network is none: nobody comes from there."""
    return None if found is None else Networks(filter(is_network, found))
