"""Reading what agents keep in memory: users, tokens, prices and budgets, whole or what has changed since a version."""

import functools
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from chatgpt_agent.adapters.postgres.connection import Line, Store
from chatgpt_agent.adapters.postgres.prices import PRICE_COLUMNS, price_of
from chatgpt_agent.core.access.admission import RateLimits, Token, User
from chatgpt_agent.core.access.model_patterns import compile_patterns
from chatgpt_agent.core.access.networks import Networks, is_network
from chatgpt_agent.core.budget.period import Budget, Period
from chatgpt_agent.core.money.pricing import Price

PAGE = 1000  # rows that are read at once: the loop is held for 5 ms

_MAX_ID = 2**63 - 1
_NO_LIMITS = RateLimits()  # one for all: most have none

Entry = TypeVar("Entry")

# Pages follow each other by the first two columns.
_USERS = """
    SELECT version, id, id, name, upstream_key, coalesce(disabled_at, removed_at) IS NOT NULL, allowed_models,
           rpm, tpm, concurrency
    FROM users"""
_TOKENS = """
    SELECT version, id, id, user_id, digest, revoked_at IS NOT NULL, expires_at, allowed_models, allowed_networks,
           rpm, tpm, concurrency
    FROM tokens"""
_PRICES = f"SELECT version, id, {PRICE_COLUMNS} FROM prices p"
_BUDGETS = "SELECT version, id, id, user_id, token_id, period, amount FROM budgets"


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
    [(version, reset_version, zone)] = await store.fetch(
        "SELECT version, reset_version, (SELECT value FROM settings WHERE name = 'time_zone') FROM directory_version"
    )
    if version == since:
        return None
    whole = since < reset_version or since < 0 or version < since
    after = -1 if whole else since
    return Changes(
        version,
        whole,
        await _read(store, _USERS, after, _user),
        await _read(store, _TOKENS, after, _token),
        await _read(store, _PRICES, after, price_of),
        await _read(store, _BUDGETS, after, _budget),
        zone,
    )


async def _read(store: Store, select: str, after: int, make: Callable[[Line], Entry]) -> list[Entry]:
    """All that changed after a version, page by page: psycopg2 makes an answer's rows in one piece, in which nothing
    else goes on."""
    sql = f"{select} WHERE (version, id) > (%s, %s) ORDER BY version, id LIMIT {PAGE}"
    found: list[Entry] = []
    last: tuple[int, int] = (after, _MAX_ID)
    while True:
        page = await store.fetch(sql, last)
        found.extend(make(line[2:]) for line in page)
        if len(page) < PAGE:
            return found
        last = page[-1][:2]


def _user(line: Line) -> User:
    id_, name, key, disabled, models, *limits = line
    return User(id_, name, bytes(key), disabled, _models(models), _limits(limits))


def _token(line: Line) -> Token:
    id_, user, digest, revoked, expires, models, networks, *limits = line
    return Token(id_, user, bytes(digest), revoked, expires, _models(models), _networks(networks), _limits(limits))


def _budget(line: Line) -> Budget:
    id_, user, token, period, amount = line
    return Budget(id_, user, token, Period(period), amount)


def _limits(found: list[int | None]) -> RateLimits:
    return _NO_LIMITS if found == [None, None, None] else RateLimits(*found)


def _models(found: list[str] | None) -> re.Pattern[str] | None:
    return None if found is None else _compiled(tuple(found))


@functools.lru_cache(maxsize=1000)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Compiled once for all that have the same list, as most have: it takes as long as reading a hundred tokens."""
    return compile_patterns(patterns)


def _networks(found: list[str] | None) -> Networks | None:
    """What somebody wrote by hand and is no network is none: nobody comes from there."""
    return None if found is None else Networks(filter(is_network, found))
