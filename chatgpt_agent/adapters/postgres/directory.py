"""Reads what agents keep in memory: users, tokens, prices and budgets; all, or those changed since a version."""

import functools
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.adapters.postgres.prices import PRICE_COLUMNS, price_from
from chatgpt_agent.adapters.postgres.settings import TIME_ZONE_SQL
from chatgpt_agent.core.access.identity import RateLimits, Token, User
from chatgpt_agent.core.access.model_patterns import compile_patterns
from chatgpt_agent.core.access.networks import Networks, is_network
from chatgpt_agent.core.budget.period import Budget, Period
from chatgpt_agent.core.money.pricing import Price

PAGE = 1000  # rows in one result, which blocks the event loop for 5 ms

_MAX_ID = 2**63 - 1
_NO_LIMITS = RateLimits()  # shared by all users and tokens without limits

T = TypeVar("T")

# Pages are ordered by the first two columns.
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


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that changed after a version. `whole`: these are all rows. `time_zone`: the name of the time zone of
    budgets."""

    version: int
    whole: bool
    users: list[User]
    tokens: list[Token]
    prices: list[Price]
    budgets: list[Budget]
    time_zone: str


async def read_changes(store: Store, since: int) -> Changes | None:
    """Returns what changed after a version (-1: everything); None if nothing did. A row that changes meanwhile may come
    twice. If the version decreased, a backup was restored, and everything is read."""
    [(version, reset_version, time_zone)] = await store.fetch(
        f"SELECT version, reset_version, {TIME_ZONE_SQL} FROM directory_version"
    )
    if version == since:
        return None
    whole = since < reset_version or since < 0 or version < since
    after = -1 if whole else since
    return Changes(
        version=version,
        whole=whole,
        users=await _read_all(store, _USERS, after, _user),
        tokens=await _read_all(store, _TOKENS, after, _token),
        prices=await _read_all(store, _PRICES, after, price_from),
        budgets=await _read_all(store, _BUDGETS, after, _budget),
        time_zone=time_zone,
    )


async def _read_all(store: Store, select: str, after: int, convert: Callable[[SqlRow], T]) -> list[T]:
    """Returns all rows that changed after a version, in pages: psycopg2 converts a whole result without yielding to the
    event loop."""
    sql = f"{select} WHERE (version, id) > (%s, %s) ORDER BY version, id LIMIT {PAGE}"
    objects: list[T] = []
    last: tuple[int, int] = (after, _MAX_ID)
    while True:
        page = await store.fetch(sql, last)
        objects.extend(convert(row[2:]) for row in page)
        if len(page) < PAGE:
            return objects
        last = page[-1][:2]


def _user(row: SqlRow) -> User:
    id_, name, key, disabled, models, *limits = row
    return User(
        id=id_,
        name=name,
        upstream_key=bytes(key),
        disabled=disabled,
        allowed_models=_models(models),
        limits=_limits(limits),
    )


def _token(row: SqlRow) -> Token:
    id_, user, digest, revoked, expires, models, networks, *limits = row
    return Token(
        id=id_,
        user_id=user,
        digest=bytes(digest),
        revoked=revoked,
        expires_at=expires,
        allowed_models=_models(models),
        allowed_networks=_networks(networks),
        limits=_limits(limits),
    )


def _budget(row: SqlRow) -> Budget:
    id_, user, token, period, amount = row
    return Budget(id=id_, user_id=user, token_id=token, period=Period(period), amount=amount)


def _limits(values: list[int | None]) -> RateLimits:
    return _NO_LIMITS if values == [None, None, None] else RateLimits(*values)


def _models(patterns: list[str] | None) -> re.Pattern[str] | None:
    return None if patterns is None else _compiled(tuple(patterns))


@functools.lru_cache(maxsize=1000)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Cached, because most users have the same list, and compiling one takes as long as reading a hundred tokens."""
    return compile_patterns(patterns)


def _networks(texts: list[str] | None) -> Networks | None:
    """Invalid networks, which only an edit in SQL can add, match no address."""
    return None if texts is None else Networks(filter(is_network, texts))
