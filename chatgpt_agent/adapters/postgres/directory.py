"""Reads what agents keep in memory: users, tokens, prices and budgets; all, or those changed since a version.

A row that cannot be read, which only an edit in SQL can store, is left out and reported; the others are read.
"""

import functools
import re
from collections.abc import Callable
from datetime import date
from typing import Generic, TypeVar

import msgspec

from chatgpt_agent.adapters.keyring import KeyState
from chatgpt_agent.adapters.postgres.budgets import budget_from
from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.adapters.postgres.prices import PRICE_COLUMNS, read_price
from chatgpt_agent.adapters.postgres.settings import KEY_STATE_SQL, TIME_ZONE_SQL
from chatgpt_agent.adapters.postgres.surcharges import SURCHARGE_COLUMNS, surcharge_from
from chatgpt_agent.core.access.identity import RateLimits, Token, User
from chatgpt_agent.core.access.model_patterns import compile_patterns
from chatgpt_agent.core.access.networks import Networks, is_network
from chatgpt_agent.core.budget.period import Budget, Period
from chatgpt_agent.core.errors import InvalidValue, StoreRejected
from chatgpt_agent.core.moments import check_moment
from chatgpt_agent.core.money.exact import ZERO
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.core.money.surcharges import Surcharge

PAGE = 1000  # rows in one result, which blocks the event loop for 5 ms

_MAX_ID = 2**63 - 1
UNREADABLE = (InvalidValue, ValueError, TypeError, ArithmeticError, re.error)  # raised for a row
_NO_LIMITS = RateLimits()  # shared by all users and tokens without limits

T = TypeVar("T")

# Pages are ordered by the first two columns.
_USERS = """
    SELECT version, id, id, name, upstream_key, coalesce(disabled_at, removed_at) IS NOT NULL, allowed_models,
           standard_tier_only, rpm, tpm, concurrency
    FROM users"""
_TOKENS = """
    SELECT version, id, id, user_id, digest, revoked_at IS NOT NULL, expires_at, allowed_models, allowed_networks,
           rpm, tpm, concurrency
    FROM tokens"""
_PRICES = f"SELECT version, id, {PRICE_COLUMNS} FROM prices p"
_SURCHARGES = f"SELECT version, id, {SURCHARGE_COLUMNS} FROM surcharges s"
_DATES = "SELECT model, shutdown_on FROM model_dates WHERE version > %s"
_BUDGETS = """
    SELECT version, id, id, user_id, token_id, period, amount, raised_amount, raised_until
    FROM budgets"""


class Unreadable(msgspec.Struct, frozen=True):
    """A row that cannot be read, and why."""

    table: str
    id: int
    reason: str


class Rows(msgspec.Struct, Generic[T], frozen=True):
    """The rows of a table, and those that cannot be read."""

    objects: list[T]
    unreadable: list[Unreadable]


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that changed after a version. `whole`: these are all rows. `unreadable` rows are in none of the lists, but
    for budgets: an unreadable one is in force with an amount of 0. `time_zone`: the name of that of budgets;
    `key_state`: which master key encrypts."""

    version: int
    whole: bool
    users: list[User]
    tokens: list[Token]
    prices: list[Price]
    surcharges: list[Surcharge]
    shutdown_dates: dict[str, date]
    budgets: list[Budget]
    unreadable: list[Unreadable]
    time_zone: str
    key_state: KeyState | None = None


async def unreadable_rows(store: Store) -> list[Unreadable]:
    """Returns all rows that agents cannot read."""
    return [row for rows in await _read_tables(store, -1) for row in rows.unreadable]


async def invalid_networks(store: Store) -> list[Unreadable]:
    """Returns the tokens whose networks hold a text that is not a network: it matches no address."""
    rows = await store.fetch("SELECT id, allowed_networks FROM tokens WHERE allowed_networks IS NOT NULL ORDER BY id")
    invalid = ((id_, [text for text in texts if not is_network(str(text))]) for id_, texts in rows)
    return [Unreadable("tokens", id_, f"allowed_networks: {texts[0]!r:.60}") for id_, texts in invalid if texts]


async def read_changes(store: Store, since: int) -> Changes | None:
    """Returns what changed after a version (-1: everything); None if nothing did. A row that changes meanwhile may come
    twice. If the version decreased, a backup was restored, and everything is read."""
    rows = await store.fetch(f"SELECT version, reset_version, {TIME_ZONE_SQL}, {KEY_STATE_SQL} FROM directory_version")
    if len(rows) != 1:
        raise StoreRejected(f"the table directory_version has {len(rows)} rows instead of one")
    [(version, reset_version, time_zone, check_value, digest_secrets)] = rows
    if version == since:
        return None
    whole = since < reset_version or since < 0 or version < since
    after = -1 if whole else since
    users, tokens, prices, surcharges, budgets = await _read_tables(store, after)
    return Changes(
        version=version,
        whole=whole,
        users=users.objects,
        tokens=tokens.objects,
        prices=prices.objects,
        surcharges=surcharges.objects,
        shutdown_dates={str(model): day for model, day in await store.fetch(_DATES, [after])},
        budgets=budgets.objects,
        unreadable=[
            *users.unreadable,
            *tokens.unreadable,
            *prices.unreadable,
            *surcharges.unreadable,
            *budgets.unreadable,
        ],
        time_zone=time_zone,
        key_state=None if check_value is None else KeyState(check_value, digest_secrets),
    )


async def _read_tables(
    store: Store, after: int
) -> tuple[Rows[User], Rows[Token], Rows[Price], Rows[Surcharge], Rows[Budget]]:
    return (
        await _read_all(store, "users", _USERS, after, _user),
        await _read_all(store, "tokens", _TOKENS, after, _token),
        await _read_all(store, "prices", _PRICES, after, read_price),
        await _read_all(store, "surcharges", _SURCHARGES, after, surcharge_from),
        await _read_all(store, "budgets", _BUDGETS, after, budget_from, instead=_spent_budget),
    )


async def _read_all(
    store: Store,
    table: str,
    select: str,
    after: int,
    convert: Callable[[SqlRow], T],
    *,
    instead: Callable[[SqlRow], T] | None = None,
) -> Rows[T]:
    """Returns all rows that changed after a version, in pages: psycopg2 converts a whole result without yielding to the
    event loop. `instead` converts a row that `convert` cannot read."""
    sql = f"{select} WHERE (version, id) > (%s, %s) ORDER BY version, id LIMIT {PAGE}"
    rows: Rows[T] = Rows([], [])
    last: tuple[int, int] = (after, _MAX_ID)
    while True:
        page = await store.fetch(sql, last)
        for row in page:
            try:
                rows.objects.append(convert(row[2:]))
            except UNREADABLE as error:
                rows.unreadable.append(Unreadable(table, row[1], " ".join(str(error).split())[:200]))
                if instead is not None:
                    rows.objects.append(instead(row[2:]))
        if len(page) < PAGE:
            return rows
        last = page[-1][:2]


def _user(row: SqlRow) -> User:
    id_, name, key, disabled, models, standard_tier_only, *limits = row
    return User(
        id=id_,
        name=name,
        upstream_key=bytes(key),
        disabled=disabled,
        standard_tier_only=standard_tier_only,
        allowed_models=_models(models),
        limits=_limits(limits),
    )


def _token(row: SqlRow) -> Token:
    id_, user, digest, revoked, expires, models, networks, *limits = row
    if expires is not None:
        check_moment("expires_at", expires)
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


def _spent_budget(row: SqlRow) -> Budget:
    """In the place of a budget that cannot be read: leaving it out would let its user spend without a limit."""
    id_, user, token, *_ = row
    return Budget(id=id_, user_id=user, token_id=token, period=Period.TOTAL, amount=ZERO)


def _limits(values: list[int | None]) -> RateLimits:
    return _NO_LIMITS if values == [None, None, None] else RateLimits(*values)


def _models(patterns: list[str] | None) -> re.Pattern[str] | None:
    if patterns is None:
        return None
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError("allowed_models: not a list of names")
    return _compiled(tuple(patterns))


@functools.lru_cache(maxsize=1000)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Cached, because most users have the same list, and compiling one takes as long as reading a hundred tokens."""
    return compile_patterns(patterns)


def _networks(texts: list[str] | None) -> Networks | None:
    """Invalid networks, which only an edit in SQL can add, match no address."""
    return None if texts is None else Networks(filter(is_network, texts))
