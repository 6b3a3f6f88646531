"""What a user sees with their token: their account, sums of their usage, and the last week in the original format."""

import asyncio
import itertools
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.adapters.postgres.usage import ensure_partition
from chatgpt_agent.admin.budgets import BudgetAdmin
from chatgpt_agent.admin.corrections import Corrections
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.money.kinds import RightCounts
from chatgpt_agent.runtime.read_pool import MAX_WAITING, POOL_SIZE
from chatgpt_agent.web.account_reader import MAX_ROWS
from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.budgets import set_budget, stop_clock
from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.database import Database, connected

PATHS = ["/me", "/me/usage", "/data/week"]

pytestmark = pytest.mark.shared_agent


async def get(agent: Agent, path: str, method: str = "GET") -> Answer:
    return await fetch(agent.url + path, method, agent.headers())


async def get_json(agent: Agent, path: str) -> Any:
    """Returns the JSON of a successful answer, with exact decimals."""
    answer = await get(agent, path)
    assert answer.status == 200, answer.body
    return json.loads(answer.body, parse_float=Decimal)


async def chat_and_ship(agent: Agent, times: int = 1) -> list[dict[str, Any]]:
    """Sends chat requests and returns all rows of the ledger once they are in PostgreSQL."""
    for _ in range(times):
        assert (await agent.chat()).status == 200
    return await agent.rows()


# The account.


async def test_me_shows_user_and_token(agent: Agent) -> None:
    """`/me` shows user, token, models, limits, budgets and the time zone of reports."""
    account = await get_json(agent, "/me")
    assert (account["user"], account["models"]) == ("alice", [MODEL])
    assert (account["budgets"], account["time_zone"]) == ([], "UTC")
    assert account["token"]["token_prefix"] == agent.token[:8]
    assert set(account["limits"]["token"].values()) == {None}


async def test_me_shows_what_is_allowed(agent: Agent) -> None:
    """`/me` shows the models that both user and token may use, the user's limits and the token's expiry."""
    for model in ("gpt-6-sol", "gpt-6-astra", "gpt-5.5"):
        await agent.set_price(model, "1", "2")
    await agent.store.fetch("UPDATE users SET allowed_models = '{gpt-6*,gpt-5.5}', rpm = 5")
    await agent.store.fetch(
        "UPDATE tokens SET allowed_models = '{gpt-6-sol,gpt-6-?una,gpt-5.5*x}', expires_at = '2100-01-01'"
    )
    await agent.until(lambda: agent.server.directory.identify(agent.token).token.expires_at is not None)
    account = await get_json(agent, "/me")
    assert account["models"] == ["gpt-6-luna", "gpt-6-sol"]
    assert account["limits"]["user"]["requests_per_minute"] == 5
    assert account["token"]["expires_at"] == "2100-01-01T00:00:00Z"


async def test_me_shows_what_is_left_of_a_budget(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """`/me` shows a budget with its amount, what is spent, reserved and left, and when it resets."""
    stop_clock(agent, monkeypatch)
    actor = Actor("admin", Via.COMMAND, "host")
    await BudgetAdmin(agent.store.with_actor(actor)).set(user="alice", period=Period.MONTH, amount=Decimal("2.50"))
    await agent.until(lambda: agent.server.directory.budgets)
    [row] = await chat_and_ship(agent)
    [budget] = (await get_json(agent, "/me"))["budgets"]
    resets_at = budget.pop("resets_at")
    assert resets_at.endswith("-01T00:00:00Z")
    assert budget == {
        "owner": "user",
        "period": "month",
        "amount": "2.5",
        "spent": str(row["cost"].normalize()),
        "reserved": "0",
        "left": str((Decimal("2.50") - row["cost"]).normalize()),
        "raised_until": None,
    }


async def test_me_shows_a_raise(agent: Agent) -> None:
    """`/me` has the amount in force, and until when."""
    budget = await set_budget(agent, Decimal(2))
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    await agent.administration.budgets.raise_until(budget.id, amount=Decimal(3), until=until)
    await agent.until(lambda: agent.server.directory.budgets[budget.id].raised_until is not None)
    [status] = (await get_json(agent, "/me"))["budgets"]
    assert (status["amount"], status["left"], status["raised_until"]) == ("3", "3", f"{until:%Y-%m-%dT%H:%M:%SZ}")


async def test_me_shows_what_is_left_of_a_limit(agent: Agent) -> None:
    """`/me` shows the requests a minute that are left, and those in progress."""
    await agent.store.fetch("UPDATE tokens SET rpm = 5")
    await agent.until(lambda: agent.server.directory.identify(agent.token).token.limits.rpm == 5)
    await agent.chat()
    limits = (await get_json(agent, "/me"))["limits"]["token"]
    assert (limits["requests_per_minute"], limits["requests_left"], limits["requests_in_progress"]) == (5, 4, 0)


# Sums.


async def test_usage_is_that_of_the_token(agent: Agent) -> None:
    """`/me/usage` has the token's usage by day and model, and the total."""
    [row] = await chat_and_ship(agent)
    usage = await get_json(agent, "/me/usage")
    total = usage["total"]
    assert usage["rows"] == [{"day": usage["until"], "model": MODEL, **total}]
    assert (total["requests"], Decimal(total["cost"])) == (1, row["cost"])
    assert total["input_tokens"] == row["input_tokens"]
    assert (total["seconds"], total["web_search_calls"]) == ("0", 0)  # numbers with decimal places are text


async def test_usage_of_others_is_not_shown(agent: Agent) -> None:
    """`/me/usage` never has another user's usage; the user's other tokens are included only with `scope=user`."""
    await chat_and_ship(agent)
    first_token, agent.token = agent.token, await agent.add_user("alice")
    await chat_and_ship(agent)
    agent.token = await agent.add_user("bob")
    await chat_and_ship(agent)
    agent.token = first_token
    assert (await get_json(agent, "/me/usage"))["total"]["requests"] == 1
    of_user = await get_json(agent, "/me/usage?scope=user&by=token")
    assert sorted((line["token_id"], line["requests"]) for line in of_user["rows"]) == [(1, 1), (2, 1)]


async def test_usage_is_of_the_last_days(agent: Agent) -> None:
    """`days=N` means the last N days, including today."""
    await chat_and_ship(agent)
    await agent.store.fetch(
        """INSERT INTO usage_daily
           SELECT day - 2, user_id, token_id, model, endpoint, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM usage_daily"""
    )
    counts = [(await get_json(agent, f"/me/usage?days={days}"))["total"]["requests"] for days in (1, 2, 3)]
    await agent.store.fetch("DELETE FROM usage_daily WHERE requests = 1 AND day < current_date")
    assert counts == [1, 1, 2]


async def test_days_are_those_of_the_configured_time_zone(make_agent: MakeAgent) -> None:
    """Days begin and end in the configured time zone, which `/me` and `/me/usage` name."""
    agent = await make_agent(time_zone="Pacific/Kiritimati")
    await chat_and_ship(agent)
    usage = await get_json(agent, "/me/usage?days=1")
    assert usage["since"] == usage["until"] == f"{datetime.now(UTC) + timedelta(hours=14):%Y-%m-%d}"
    assert usage["total"]["requests"] == 1
    assert usage["time_zone"] == (await get_json(agent, "/me"))["time_zone"] == "Pacific/Kiritimati"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("days=0", "days"), ("days=3661", "days"), ("days=x", "days"), ("days=", "days"), ("days=-1", "days"),
        ("days=7&days=8", "days"), ("days=%D9%A7", "days"), ("by=", "by"), ("by=day,day", "by"), ("by=name", "by"),
        ("by=day;drop", "by"), ("scope=all", "scope"), ("day=7", "day"), ("by=%00", "by"),
    ],
)  # fmt: skip
async def test_wrong_parameter_is_named(agent: Agent, query: str, param: str) -> None:
    """A wrong, repeated or unknown query parameter is a 400 that names it."""
    answer = await get(agent, f"/me/usage?{query}")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_request", param)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/me/usage?day=7", "Unknown query parameter 'day'; allowed: days, by, scope."),
        ("/me?days=7", "Unknown query parameter 'days'; none is allowed."),
        ("/me/usage?days=7&days=8", "Duplicate query parameter 'days'."),
    ],
)
async def test_message_says_which_parameters_are_allowed(agent: Agent, path: str, message: str) -> None:
    """The error of a query parameter says what is wrong and what is allowed."""
    assert (await get(agent, path)).error["message"] == message


async def test_report_with_too_many_rows_is_refused(agent: Agent) -> None:
    """A report with more rows than the limit is refused, because a part of it would not add up."""
    await agent.store.fetch(
        """INSERT INTO usage_daily
           SELECT current_date, 1, 1, 'model-' || number, '/chat', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
           FROM generate_series(1, %s) AS number""",
        [MAX_ROWS + 1],
    )
    refused = await get(agent, "/me/usage")
    await agent.store.fetch("DELETE FROM usage_daily WHERE model = 'model-1'")
    accepted = await get(agent, "/me/usage")
    await agent.store.fetch("DELETE FROM usage_daily")
    assert (refused.status, refused.error["param"], accepted.status) == (400, "by", 200)
    assert f"over {MAX_ROWS} rows" in refused.error["message"]


# The week.


async def test_week_has_the_original_format(agent: Agent) -> None:
    """`/data/week` has five fields for each request; the time is in seconds, and the model is the one that served."""
    [row] = await chat_and_ship(agent)
    assert await get_json(agent, "/data/week") == [
        {
            "remote_id": row["upstream_id"],
            "model": row["served_model"],
            "total_token": row["input_tokens"] + row["output_tokens"],
            "price": row["cost"],
            "timestamp": int(datetime.fromisoformat(row["started_at"]).timestamp()),
        }
    ]


async def test_week_is_that_of_the_token(agent: Agent) -> None:
    """`/data/week` has the requests of the token only, the newest last."""
    rows = await chat_and_ship(agent, 3)
    ids = [request["remote_id"] for request in await get_json(agent, "/data/week")]
    assert ids == [row["upstream_id"] for row in rows]
    agent.token = await agent.add_user("bob")
    assert await get_json(agent, "/data/week") == []


async def test_week_includes_corrections(agent: Agent) -> None:
    """A corrected request is one entry in `/data/week`, with its corrected tokens and cost."""
    [row] = await chat_and_ship(agent)
    right = RightCounts(input=1000, output=10)
    correction = await Corrections(agent.store).correct(row["request_id"], right, "as OpenAI has it")
    [request] = await get_json(agent, "/data/week")
    assert (request["total_token"], request["price"]) == (1010, correction.cost_after)


@pytest.mark.own_agent  # the row's time is changed
async def test_week_ends_seven_days_ago(agent: Agent) -> None:
    """`/data/week` has the requests of the last seven times 24 hours."""
    await chat_and_ship(agent)
    await agent.store.fetch("ALTER TABLE usage DISABLE TRIGGER usage_is_final")
    old = datetime.now(UTC) - timedelta(days=7, seconds=5)
    await ensure_partition(agent.store, old)
    await agent.store.fetch("UPDATE usage SET started_at = %s", [old])
    assert await get_json(agent, "/data/week") == []
    await agent.store.fetch("UPDATE usage SET started_at = started_at + interval '1 minute'")
    assert len(await get_json(agent, "/data/week")) == 1
    await agent.store.fetch("SELECT rebuild_usage_daily()")
    await agent.store.fetch("UPDATE prices SET effective_at = effective_at - interval '8 days'")


# Access and load.


@pytest.mark.parametrize("path", PATHS)
async def test_account_needs_a_token(agent: Agent, path: str, source_address: str) -> None:
    """A request without a token is a 401."""
    assert (await fetch(agent.url + path, source=source_address)).status == 401


@pytest.mark.parametrize("path", PATHS)
async def test_account_is_read_only(agent: Agent, path: str) -> None:
    """The account answers HEAD, which has no body, and refuses POST with a 405."""
    assert (await get(agent, path, "POST")).status == 405
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("HEAD", path, agent.headers(), b""))
    assert (await connection.head())[0] == 200
    await connection.close()


@pytest.mark.own_agent  # its database is taken away
@pytest.mark.parametrize("path", PATHS)
async def test_account_without_postgresql_is_503(agent: Agent, path: str) -> None:
    """While PostgreSQL is down the account is a 503 and chats are served; afterwards the account is back."""
    dsn = agent.config.database_url or ""
    name = dsn.split("dbname=")[1].split()[0]
    database = Database(dsn.replace(name, "postgres"), name)
    assert (await get(agent, path)).status == 200
    await asyncio.to_thread(database.close)
    try:
        answer = await get(agent, path)
        assert (answer.status, answer.error["code"]) == (503, "usage_unavailable")
        assert answer.header("retry-after") == "1"
        assert (await agent.chat()).status == 200
    finally:
        await asyncio.to_thread(database.open)
    assert (await get(agent, path)).status == 200


@pytest.mark.own_agent  # a token may ask for its account a limited number of times a minute
async def test_account_is_refused_while_too_many_wait(agent: Agent) -> None:
    """When MAX_WAITING requests wait for a connection, one more is a 503; chats are served meanwhile."""
    connections = [agent.server.read_pool.store() for _ in range(POOL_SIZE)]
    for connection in connections:
        await connection.__aenter__()
    requests = [asyncio.create_task(get(agent, "/me")) for _ in range(MAX_WAITING + 1)]
    [refused], waiting = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    assert (refused.result().status, refused.result().error["code"]) == (503, "overloaded")
    assert (await agent.chat()).status == 200
    for connection in connections:
        await connection.__aexit__(None, None, None)
    assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}


@pytest.mark.own_agent
async def test_slow_postgresql_is_503(agent: Agent, dsn: str) -> None:
    """If PostgreSQL takes longer than the limit of a statement, the account is a 503."""
    with connected(dsn) as cursor:
        cursor.execute("BEGIN; LOCK TABLE usage_daily IN ACCESS EXCLUSIVE MODE")
        answer = await get(agent, "/me/usage")
        cursor.execute("COMMIT")
    assert (answer.status, answer.error["code"]) == (503, "usage_unavailable")


@pytest.mark.own_agent
async def test_token_may_ask_sixty_times_a_minute(agent: Agent) -> None:
    """Too many requests about the account of a token are a 429; another token and requests to OpenAI are not
    affected."""
    answers = [await get(agent, path) for path in itertools.islice(itertools.cycle(PATHS), 60)]
    assert {answer.status for answer in answers} == {200}
    while answers[-1].status == 200:  # one more is allowed each second
        answers.append(await get(agent, "/me"))
    assert (answers[-1].status, answers[-1].error["code"]) == (429, "rate_limit_exceeded")
    assert answers[-1].header("retry-after") == "1"
    assert (await agent.chat()).status == 200
    agent.token = await agent.add_user("bob")
    assert (await fetch(f"{agent.url}/me", "GET", agent.headers())).status == 200
