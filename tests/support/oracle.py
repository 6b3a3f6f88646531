"""Compares the ledger with everything that is visible from outside: what the upstream received and billed, what clients
received, and what PostgreSQL contains. I1 to I7 are the invariants of the ledger (docs/reliability.md)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

from chatgpt_agent.adapters.postgres.usage import COUNT_NOT_DONE, COUNT_REQUESTS
from chatgpt_agent.core.http.endpoints import ENDPOINTS
from chatgpt_agent.core.ledger import TERMINAL, State
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS
from tests.support.agent import Agent
from tests.support.client import Answer
from tests.support.database import connected
from tests.support.upstream import Upstream
from tests.support.waiting import SECONDS

Row = dict[str, Any]
Read = Callable[[str], list[tuple[Any, ...]]]  # runs a statement

COLUMNS = (
    "request_id", "model", "served_model", "service_tier", "endpoint", "state", "status", "input_tokens",
    "cached_tokens", "cache_write_tokens", "audio_input_tokens", "image_input_tokens", "output_tokens",
    "reasoning_tokens", "audio_output_tokens", "image_output_tokens", "cost", "price_id", "started_at",
    "cached_audio_tokens", "cached_image_tokens", "cache_write_12h_tokens", "image_tool_input_tokens",
    "image_tool_cached_image_tokens", "image_tool_cached_tokens", "image_tool_image_input_tokens",
    "image_tool_output_tokens", "image_tool_image_output_tokens", "web_search_calls", "file_search_calls",
    "code_interpreter_sessions", "seconds", "image_price_id", "surcharge_ids",
)  # fmt: skip
DAILY_SUMS = f"""
    SELECT day, user_id, token_id, model, endpoint, requests, not_done, {", ".join(COUNT_COLUMNS)}, cost, uncertain_cost
    FROM usage_daily ORDER BY day, user_id, token_id, model, endpoint"""
SUMS_OF_ROWS = f"""
    SELECT (started_at AT TIME ZONE (SELECT value FROM settings WHERE name = 'time_zone'))::date,
           user_id, token_id, model, endpoint, {COUNT_REQUESTS}, {COUNT_NOT_DONE},
           {", ".join(f"coalesce(sum({name}), 0)" for name in COUNT_COLUMNS)}, sum(cost), sum(uncertain_cost)
    FROM usage GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"""


async def verify(agent: Agent, upstream: Upstream, answers: Sequence[Answer] = (), *, cursor: Any = None) -> list[Row]:
    """Waits until an agent is idle, asserts that the ledger is right, and returns the rows. `answers` are those that
    clients received; `cursor` reads the database where there is one, or else a new connection."""
    ledger = agent.server.ledger
    await agent.until(lambda: agent.server.lifecycle.in_progress == 0)
    await settled(agent)
    assert await ledger.open_intents() == [], "I3: an intent without a request in progress"
    assert agent.config.database_url is not None
    # In a thread: the connection to the database may go through a relay on this event loop.
    if cursor is None:
        return await asyncio.to_thread(check, agent.config.database_url, upstream, answers)
    return await asyncio.to_thread(_check, _reader(cursor), upstream, answers)


async def settled(agent: Agent) -> None:
    """Waits until an agent's outbox is empty."""
    async with asyncio.timeout(SECONDS):
        while await agent.server.ledger.depth():
            await asyncio.sleep(0.02)


def check(dsn: str, upstream: Upstream, answers: Sequence[Answer] = ()) -> list[Row]:
    """Asserts that the ledger in this database is right, and returns the rows."""
    with connected(dsn) as cursor:  # one for all: a new connection reads all catalogs again
        return _check(_reader(cursor), upstream, answers)


def _reader(cursor: Any) -> Read:
    def read(sql: str) -> list[tuple[Any, ...]]:
        cursor.execute(sql)
        return list(cursor.fetchall())

    return read


def _check(read: Read, upstream: Upstream, answers: Sequence[Answer]) -> list[Row]:
    lines = read(f"SELECT {', '.join(COLUMNS)} FROM usage WHERE state <> '{State.CORRECTION}' ORDER BY started_at")
    rows = [dict(zip(COLUMNS, line, strict=True)) for line in lines]
    by_id = {row["request_id"]: row for row in rows}
    assert len(by_id) == len(rows), f"I2: more than one row: {_repeated(row['request_id'] for row in rows)}"
    assert {row["state"] for row in rows} <= {*TERMINAL}, "I7: a row that is not terminal"
    _check_dispatches(read, by_id, upstream)
    _check_tokens(by_id, upstream)
    _check_costs(read, rows)
    assert read(DAILY_SUMS) == read(SUMS_OF_ROWS), "usage_daily is not the sum of the rows"
    _check_answers(by_id, answers)
    return rows


def _check_dispatches(read: Read, by_id: dict[str, Row], upstream: Upstream) -> None:
    sent = [request.header("x-client-request-id") or "" for request in upstream.requests]
    assert not _repeated(sent), f"I4: sent more than once: {_repeated(sent)}"
    rejected = {name for (name,) in read("SELECT request_id::text FROM dead_letters")}
    assert set(sent) <= by_id.keys() | rejected, f"I3: sent, but without a row: {set(sent) - by_id.keys() - rejected}"
    for name in set(sent) & by_id.keys():
        assert by_id[name]["state"] != "not_sent", f"I3: it was sent: {by_id[name]}"


def _check_tokens(by_id: dict[str, Row], upstream: Upstream) -> None:
    for name, counts in upstream.billed.items():
        row = by_id.get(name)
        if row is not None and row["input_tokens"] is not None:
            booked = (row["input_tokens"], row["cached_tokens"], row["output_tokens"])
            assert booked == counts, f"I5: not OpenAI's counts {counts}: {row}"
    for name, reported in upstream.counts.items():
        row = by_id.get(name)
        if row is not None and row["input_tokens"] is not None:
            assert {kind: row[kind] for kind in reported} == reported, f"I5: not OpenAI's counts {reported}: {row}"
    for row in by_id.values():
        assert row["state"] != "done" or row["input_tokens"] is not None, f"I5: done without counts: {row}"


FREE_ENDPOINTS = {endpoint.name for endpoint in ENDPOINTS if endpoint.is_free}
PARTS_OF_PARTS = {  # counts that are charged as others
    "cached_tokens": ("cached_audio_tokens", "cached_image_tokens"),
    "cache_write_tokens": ("cache_write_12h_tokens",),
    "audio_input_tokens": ("cached_audio_tokens",),
    "image_input_tokens": ("cached_image_tokens",),
}
FALLBACKS = {"cached_audio": "cached_input", "cached_image": "cached_input", "cache_write_12h": "cache_write"}
KINDS = (  # column, rate, and the column of the side, in the order in which tokens are charged
    ("cached_audio_tokens", "cached_audio", "input_tokens"),
    ("cached_image_tokens", "cached_image", "input_tokens"),
    ("cached_tokens", "cached_input", "input_tokens"),
    ("cache_write_12h_tokens", "cache_write_12h", "input_tokens"),
    ("cache_write_tokens", "cache_write", "input_tokens"),
    ("audio_input_tokens", "audio_input", "input_tokens"),
    ("image_input_tokens", "image_input", "input_tokens"),
    ("input_tokens", "input", "input_tokens"),
    ("audio_output_tokens", "audio_output", "output_tokens"),
    ("image_output_tokens", "image_output", "output_tokens"),
    ("output_tokens", "output", "output_tokens"),
)


def _check_costs(read: Read, rows: list[Row]) -> None:
    rates = ", ".join(f"{rate}::text" for _, rate, _ in KINDS)
    lines = read(f"SELECT id, model, effective_at, tiers, minute::text, {rates} FROM prices")
    prices = {line[0]: line[1:] for line in lines}
    surcharges = {line[0]: line[1:] for line in read("SELECT id, kind, amount::text FROM surcharges")}
    for row in rows:
        if row["price_id"] is None:
            assert (row["endpoint"] in FREE_ENDPOINTS, row["cost"]) == (True, 0), f"I6: a row without a price: {row}"
            continue
        model, effective_at, tiers, minute, *each = prices[row["price_id"]]
        names = [name for name in (row["model"], row["served_model"]) if name]
        bases = [":".join(name.split(":")[:2]) for name in names if name.startswith("ft:")]
        assert model in names + bases, f"I6: another model's price: {row}"
        assert effective_at <= row["started_at"], f"I6: a price of a later date: {row}"
        due = _due(row, _rates(each), tiers) / 1_000_000
        if row["seconds"] is not None and minute is not None:
            due += Fraction(floor(Fraction(row["seconds"]) * Fraction(minute) / 60 * 10**15 + Fraction(1, 2)), 10**15)
        if row["image_price_id"] is not None:
            _, _, _, _, *each = prices[row["image_price_id"]]
            drawn = {name.removeprefix("image_tool_"): row[name] for name in row if name.startswith("image_tool_")}
            due += _due(drawn, _rates(each), []) / 1_000_000
        due = _with_surcharges(row, due, [surcharges[id_] for id_ in row["surcharge_ids"] or []])
        assert isinstance(row["cost"], Decimal)
        assert Fraction(row["cost"]) == due, f"I6: it must cost {due}: {row}"


def _rates(each: Sequence[Any]) -> dict[str, Any]:
    return dict(zip((rate for _, rate, _ in KINDS), each, strict=True))


def _with_surcharges(row: Row, due: Fraction, surcharges: Iterable[tuple[str, str]]) -> Fraction:
    """USD with the factor for tokens and time, and the calls, which are charged without it."""
    amounts = {kind: Fraction(amount) for kind, amount in surcharges}
    calls = {"web_search": "web_search_calls", "file_search": "file_search_calls"}
    calls["code_interpreter"] = "code_interpreter_sessions"
    fees = sum((amounts[kind] * (row[name] or 0) for kind, name in calls.items() if kind in amounts), Fraction(0))
    return due * amounts.get("multiplier", Fraction(1)) + fees


def _due(row: Row, rates: dict[str, Any], tiers: list[dict[str, Any]]) -> Fraction:
    """USD times a million of a row: each token is charged at the first rate of KINDS that applies to it."""
    factor = Fraction(1)
    tier = _tier(row, tiers)
    if tier is not None and tier.get("multiplier") is not None:
        factor = Fraction(tier["multiplier"])
    elif tier is not None:
        rates = tier
    left = {side: row[side] or 0 for side in ("input_tokens", "output_tokens")}
    due = Fraction(0)
    for column, kind, side in KINDS:
        others = sum(row.get(name) or 0 for name in PARTS_OF_PARTS.get(column, ()))
        count = min(max((row.get(column) or 0) - others, 0), left[side])
        left[side] -= count
        names = (kind, FALLBACKS.get(kind, kind), side.removesuffix("_tokens"))
        due += count * Fraction(next(rates[name] for name in names if rates.get(name) is not None))
    return due * factor


def _tier(row: Row, tiers: list[dict[str, Any]]) -> dict[str, Any] | None:
    input_tokens = row["input_tokens"] or 0
    fits = [
        tier
        for tier in tiers
        if tier.get("service_tier") in (None, row["service_tier"])
        and (not tier.get("above") or input_tokens > tier["above"])
    ]
    fits.sort(key=lambda tier: (tier.get("service_tier") is not None, tier.get("above") or 0))
    return fits[-1] if fits else None


def _check_answers(by_id: dict[str, Row], answers: Sequence[Answer]) -> None:
    ids = [answer.header("x-agent-request-id") or "" for answer in answers]
    assert not _repeated(ids), f"I1: two answers of one request: {_repeated(ids)}"
    for answer, name in zip(answers, ids, strict=True):
        if answer.complete and 200 <= answer.status < 300:
            assert name in by_id, f"I1: answered, but without a row: {name}"
            assert by_id[name]["status"] == answer.status, f"I1: another status: {by_id[name]}"


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
