"""What a token's holder sees: who they are, sums of their own rows, the last week as the original program told it."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.adapters.postgres.usage import ensure_partition
from chatgpt_agent.admin.budgets import BudgetAdmin
from chatgpt_agent.admin.reconcile import Reconciler
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.usage import Usage
from chatgpt_agent.runtime import read_pool as desk
from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.database import Database

PATHS = ["/me", "/me/usage", "/data/week"]


async def ask(agent: Agent, path: str, method: str = "GET") -> Answer:
    """Asks with the agent's token, the query included."""
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes(method, path, agent.headers(), b""))
    answer = await connection.answer()
    await connection.close()
    return answer


async def told(agent: Agent, path: str) -> Any:
    """The JSON of an answer that is one; decimals are exact."""
    answer = await ask(agent, path)
    assert answer.status == 200, answer.body
    return json.loads(answer.body, parse_float=Decimal)


async def chat_shipped(agent: Agent, times: int = 1) -> list[dict[str, Any]]:
    """Some chats whose rows are in PostgreSQL; all rows there are."""
    for _ in range(times):
        assert (await agent.chat()).status == 200
    return await agent.rows()


# Who am I?


async def test_me_says_who_i_am(agent: Agent) -> None:
    """User, token, models, limits, budgets, and whose days count."""
    found = await told(agent, "/me")
    assert (found["user"], found["models"], found["budgets"], found["time_zone"]) == ("alice", [MODEL], [], "UTC")
    assert found["token"]["token_prefix"] == agent.token[:8]
    assert set(found["limits"]["token"].values()) == {None}


async def test_me_shows_what_is_allowed(agent: Agent) -> None:
    """Models that fit the lists of both user and token; limits, expiry and networks as they are set."""
    for model in ("gpt-4o", "gpt-4o-audio", "o1"):
        await agent.set_price(model, "1", "2")
    await agent.store.fetch("UPDATE users SET allowed_models = '{gpt-4o*,o1}', rpm = 5")
    await agent.store.fetch("UPDATE tokens SET allowed_models = '{gpt-4o,gpt-4o-?ini,o1*x}', expires_at = '2100-01-01'")
    await agent.until(lambda: agent.server.directory.identify(agent.token).token.expires_at is not None)
    found = await told(agent, "/me")
    assert found["models"] == ["gpt-4o", "gpt-4o-mini"]
    assert (found["limits"]["user"]["requests_per_minute"], found["token"]["expires_at"]) == (5, "2100-01-01T00:00:00Z")


async def test_me_shows_what_is_left(agent: Agent) -> None:
    """Of budgets, with what is spent and set aside, and of limits."""
    boss = Actor("boss", Via.COMMAND, "here")
    await BudgetAdmin(agent.store, boss).set(user="alice", period=Period.MONTH, amount=Decimal("2.50"))
    await agent.until(lambda: agent.server.directory.budgets)
    await agent.store.fetch("UPDATE tokens SET rpm = 5")
    await agent.until(lambda: agent.server.directory.identify(agent.token).token.limits.rpm == 5)
    await agent.chat()
    [row] = await agent.rows(1)
    found = await told(agent, "/me")
    [budget] = found["budgets"]
    resets = budget.pop("resets_at")
    left = str((Decimal("2.50") - row["cost"]).normalize())
    cost = str(row["cost"].normalize())
    wanted = {"owner": "user", "period": "month", "amount": "2.5", "spent": cost, "reserved": "0", "left": left}
    assert budget == wanted
    assert resets.endswith("-01T00:00:00Z")
    limits = found["limits"]["token"]
    assert (limits["requests_per_minute"], limits["requests_left"], limits["requests_under_way"]) == (5, 4, 0)


# Sums.


async def test_my_usage_is_that_of_my_token(agent: Agent) -> None:
    """By day and model, and the sum of it all."""
    [row] = await chat_shipped(agent)
    found = await told(agent, "/me/usage")
    assert found["rows"] == [{"day": found["until"], "model": MODEL, **found["total"]}]
    assert (found["total"]["requests"], Decimal(found["total"]["cost_usd"])) == (1, row["cost"])
    assert found["total"]["input_tokens"] == row["input_tokens"]


async def test_others_usage_is_not_mine(agent: Agent) -> None:
    """Neither another user's nor another token's; `scope=user` adds my other tokens."""
    await chat_shipped(agent)
    mine, agent.token = agent.token, await agent.add_user("alice")
    await chat_shipped(agent)
    agent.token = await agent.add_user("bob")
    await chat_shipped(agent)
    agent.token = mine
    assert (await told(agent, "/me/usage"))["total"]["requests"] == 1
    found = await told(agent, "/me/usage?scope=user&by=token")
    assert sorted((line["token_id"], line["requests"]) for line in found["rows"]) == [(1, 1), (2, 1)]


async def test_my_usage_is_of_the_days_that_i_ask_for(agent: Agent) -> None:
    """Today is one of them, in the books' time zone."""
    [row] = await chat_shipped(agent)
    old = datetime.now(UTC) - timedelta(days=2)
    await ensure_partition(agent.store, old)
    await agent.store.fetch(
        """INSERT INTO usage_daily
           SELECT day - 2, user_id, token_id, model, endpoint, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM usage_daily"""
    )
    counted = [(await told(agent, f"/me/usage?days={days}"))["total"]["requests"] for days in (1, 2, 3)]
    await agent.store.fetch("DELETE FROM usage_daily WHERE requests = 1 AND day < current_date")
    assert (counted, row["state"]) == ([1, 1, 2], "done")


async def test_days_are_those_of_the_books(make_agent: MakeAgent) -> None:
    """Not those of UTC."""
    agent = await make_agent(time_zone="Pacific/Kiritimati")
    await chat_shipped(agent)
    found = await told(agent, "/me/usage?days=1")
    assert found["since"] == found["until"] == f"{datetime.now(UTC) + timedelta(hours=14):%Y-%m-%d}"
    assert (found["total"]["requests"], found["time_zone"]) == (1, "Pacific/Kiritimati")


@pytest.mark.parametrize(
    ("query_", "param"),
    [
        ("days=0", "days"), ("days=3661", "days"), ("days=x", "days"), ("days=", "days"), ("days=-1", "days"),
        ("days=7&days=8", "days"), ("days=%D9%A7", "days"), ("by=", "by"), ("by=day,day", "by"), ("by=name", "by"),
        ("by=day;drop", "by"), ("scope=all", "scope"), ("day=7", "day"), ("by=%00", "by"),
    ],
)  # fmt: skip
async def test_a_wrong_parameter_is_named(agent: Agent, query_: str, param: str) -> None:
    """400 in OpenAI's envelope."""
    answer = await ask(agent, f"/me/usage?{query_}")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_request", param)


async def test_a_report_that_is_too_long_is_refused(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of it would not add up, and all of it would hold up others."""
    monkeypatch.setattr("chatgpt_agent.web.account.MAX_LINES", 1)
    await chat_shipped(agent)
    assert (await ask(agent, "/me/usage")).status == 200
    await agent.set_price("gpt-4o", "1", "2")
    await agent.chat(model="gpt-4o")
    await agent.rows()
    answer = await ask(agent, "/me/usage")
    assert (answer.status, answer.error["param"]) == (400, "by")
    assert "more than 1 lines" in answer.error["message"]


# The week.


async def test_the_week_is_told_as_the_original_program_did(agent: Agent) -> None:
    """Five fields a request; numbers are numbers, the time is in seconds, the model is the one that served."""
    [row] = await chat_shipped(agent)
    seconds = int(datetime.fromisoformat(row["started_at"]).timestamp())
    assert await told(agent, "/data/week") == [
        {
            "remote_id": row["upstream_id"],
            "model": row["served_model"],
            "total_token": row["input_tokens"] + row["output_tokens"],
            "price": row["cost"],
            "timestamp": seconds,
        }
    ]


async def test_the_week_is_the_tokens_own(agent: Agent) -> None:
    """The newest comes last, and whoever asked nothing sees nothing."""
    rows = await chat_shipped(agent, 3)
    assert [line["remote_id"] for line in await told(agent, "/data/week")] == [row["upstream_id"] for row in rows]
    agent.token = await agent.add_user("bob")
    assert await told(agent, "/data/week") == []


async def test_the_week_has_what_was_corrected(agent: Agent) -> None:
    """One line a request: what it came to in the end."""
    [row] = await chat_shipped(agent)
    corrected = await Reconciler(agent.store).correct(
        row["request_id"], Usage(input=1000, output=10), "as OpenAI has it"
    )
    [line] = await told(agent, "/data/week")
    assert (line["total_token"], line["price"]) == (1010, corrected.cost_after)


async def test_eight_days_ago_is_not_in_the_week(agent: Agent) -> None:
    """Seven days of 24 hours, from now back."""
    await chat_shipped(agent)
    await agent.store.fetch("ALTER TABLE usage DISABLE TRIGGER usage_is_final")
    old = datetime.now(UTC) - timedelta(days=7, seconds=5)
    await ensure_partition(agent.store, old)
    await agent.store.fetch("UPDATE usage SET started_at = %s", [old])
    assert await told(agent, "/data/week") == []
    await agent.store.fetch("UPDATE usage SET started_at = started_at + interval '1 minute'")
    assert len(await told(agent, "/data/week")) == 1
    await agent.store.fetch("SELECT rebuild_usage_daily()")
    await agent.store.fetch("UPDATE prices SET effective_at = effective_at - interval '8 days'")


# Who may ask, and when nobody can.


@pytest.mark.parametrize("path", PATHS)
async def test_it_needs_a_token(agent: Agent, path: str) -> None:
    """401 without one."""
    assert (await fetch(agent.url + path)).status == 401


@pytest.mark.parametrize("path", PATHS)
async def test_it_can_be_looked_at_and_not_written(agent: Agent, path: str) -> None:
    """HEAD has no body, POST is refused."""
    assert (await ask(agent, path, "POST")).status == 405
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("HEAD", path, agent.headers(), b""))
    assert (await connection.head())[0] == 200
    await connection.close()


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_database_there_are_no_books(agent: Agent, path: str) -> None:
    """503 in OpenAI's envelope, while chats go on; and it heals by itself."""
    dsn = agent.config.database_url or ""
    name = dsn.split("dbname=")[1].split()[0]
    database = Database(dsn.replace(name, "postgres"), name)
    assert (await ask(agent, path)).status == 200
    await asyncio.to_thread(database.close)
    try:
        answer = await ask(agent, path)
        assert (answer.status, answer.error["code"]) == (503, "usage_unavailable")
        assert answer.header("retry-after") == "1"
        assert (await agent.chat()).status == 200
    finally:
        await asyncio.to_thread(database.open)
    assert (await ask(agent, path)).status == 200


async def test_readers_do_not_hold_up_each_other_for_ever(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many wait, one more is told to come again; chats are answered meanwhile."""
    monkeypatch.setattr(desk, "QUEUE", 3)
    seats = [agent.server.read_pool.store() for _ in range(desk.POOL_SIZE)]
    for seat in seats:
        await seat.__aenter__()
    waiting = [asyncio.create_task(ask(agent, "/me")) for _ in range(3)]
    await agent.until(lambda: agent.server.read_pool._waiting == 3)
    refused = await ask(agent, "/me")
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    assert (await agent.chat()).status == 200
    for seat in seats:
        await seat.__aexit__(None, None, None)
    assert [(await task).status for task in waiting] == [200, 200, 200]


async def test_a_slow_database_is_given_up(agent: Agent) -> None:
    """503 within the time of a statement."""
    for store in agent.server.read_pool._stores:
        store._seconds = 0.3
    holding = asyncio.create_task(
        agent.store.fetch("BEGIN; LOCK TABLE usage_daily IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(1.2); COMMIT")
    )
    await asyncio.sleep(0.1)
    answer = await ask(agent, "/me/usage")
    assert (answer.status, answer.error["code"]) == (503, "usage_unavailable")
    await holding
