"""Budgets through a running agent: what is set aside, what is spent, and who is refused (R1 to R4)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import openai
import pytest

from chatgpt_agent.adapters.postgres.budgets import BudgetRow
from chatgpt_agent.admin.budgets import BudgetAdmin
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.budget.max_cost import Assumptions, Size, max_cost
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.runtime.budgets import Budgets
from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.client import Answer, Connection
from tests.support.observers import ignore
from tests.support.upstream import Received, Reply, Upstream, completion, event, stream_events
from tests.web.test_limits import limit

BOSS = Actor("boss", Via.COMMAND, "here")
LIMIT = 100  # output tokens that each call asks for


def largest(agent: Agent, body: bytes) -> Decimal:
    """What such a call may cost at most, in USD."""
    price = agent.server.directory.book.at(MODEL, datetime.now(UTC))
    assert price is not None
    return max_cost(price, Size(input_bytes=len(body), output_limit=LIMIT), Assumptions(0, 0))


async def set_budget(agent: Agent, amount: Decimal, **whose: Any) -> BudgetRow:
    """A budget that is in force when this returns: of alice, in all, where nothing else is said."""
    whose = {"period": Period.TOTAL, **({} if "token_id" in whose else {"user": "alice"}), **whose}
    line = await BudgetAdmin(agent.store.with_actor(BOSS)).set(amount=amount, **whose)
    known = agent.server.directory.budgets
    await agent.until(lambda: line.id in known and known[line.id].amount == amount)
    await agent.until(lambda: not agent.server.budgets.stale)
    return line


def budgets(agent: Agent) -> Budgets:
    """Those of the running agent."""
    return agent.server.budgets


def set_aside(agent: Agent) -> Decimal:
    """The sum of all reservations that are open."""
    found = Decimal(0)
    for account in budgets(agent).by_user.values():
        found += sum((state.pending - state.pending_ended for state in account.states), Decimal(0))
    return found


async def ask(agent: Agent, content: str = "hello", **more: Any) -> Answer:
    """A call with a limit of output tokens."""
    return await agent.chat(content, max_completion_tokens=LIMIT, **more)


async def spent(agent: Agent) -> Decimal:
    """What the rows of PostgreSQL count."""
    return sum((row["cost"] + row["uncertain_cost"] for row in await agent.rows()), Decimal(0))


async def ask_at_once(count: int, upstream: Upstream, send: Callable[[int], Awaitable[Answer]]) -> list[int]:
    """The statuses of so many calls, of which OpenAI answers none before the others are refused."""
    gate = asyncio.Event()

    async def script(request: Received, reply: Reply) -> None:
        await gate.wait()
        await upstream.openai(request, reply)

    upstream.script = script
    calls = {asyncio.ensure_future(send(number)) for number in range(count)}
    while (
        calls - (refused := {call for call in calls if call.done()}) and len(refused) + len(upstream.requests) < count
    ):
        await asyncio.sleep(0.01)
    gate.set()
    return sorted([(await call).status for call in calls])


async def test_two_hundred_at_once_do_not_overdraw_a_budget_for_ten(agent: Agent, upstream: Upstream) -> None:
    """R1: ten are sent, as many as it holds of the most that they can cost; the rest is refused."""
    one = largest(agent, agent.body(max_completion_tokens=LIMIT))
    await set_budget(agent, one * 10)
    statuses = await ask_at_once(200, upstream, lambda _: ask(agent))
    assert statuses == [200] * 10 + [429] * 190
    assert len(upstream.requests) == 10
    assert await spent(agent) <= one * 10


async def test_what_was_not_used_can_be_spent(agent: Agent, upstream: Upstream) -> None:
    """Settled with the truth, a budget holds more calls than it would hold reservations; and never too many."""
    one = largest(agent, agent.body(max_completion_tokens=LIMIT))
    await set_budget(agent, one * 3)
    answers = [await ask(agent) for _ in range(40)]
    done = [answer for answer in answers if answer.status == 200]
    assert 3 < len(done) < 40
    assert one * 2 < await spent(agent) <= one * 3


async def test_the_refusal_is_openais(agent: Agent, upstream: Upstream) -> None:
    """The SDK raises what it raises for OpenAI's own quota, and does not try again."""
    await set_budget(agent, Decimal(0), period=Period.MONTH)
    answer = await ask(agent)
    assert (answer.status, answer.header("x-should-retry")) == (429, "false")
    assert {**answer.error, "message": ""} == {
        "message": "", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"
    }  # fmt: skip
    assert "0.00 USD this month" in answer.error["message"]
    assert "It resets at 20" in answer.error["message"]
    client = openai.AsyncOpenAI(base_url=agent.url + "/v1", api_key=agent.token)
    with pytest.raises(openai.RateLimitError) as caught:
        await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    await client.close()
    assert caught.value.code == "insufficient_quota"
    assert upstream.requests == []


async def test_a_token_and_its_user_are_both_asked(agent: Agent, upstream: Upstream) -> None:
    """The smaller one refuses; a second token of the user has only the user's."""
    one = largest(agent, agent.body(max_completion_tokens=LIMIT))
    await set_budget(agent, one * 100)
    await set_budget(agent, one / 2, token_id=1)
    assert "budget of your token" in (await ask(agent)).error["message"]
    agent.token = await agent.add_user("alice")
    assert (await ask(agent)).status == 200
    await set_budget(agent, one / 4)
    assert "budget of your user account" in (await ask(agent)).error["message"]


async def test_others_have_no_budget(agent: Agent, upstream: Upstream) -> None:
    """It is alice's alone."""
    await set_budget(agent, Decimal(0))
    agent.token = await agent.add_user("bob")
    assert (await ask(agent)).status == 200


async def test_a_call_that_costs_nothing_is_never_refused(agent: Agent, upstream: Upstream) -> None:
    """A model of one's own has the price 0."""
    await set_budget(agent, Decimal(0))
    await agent.set_price("gpt-4o-mini-2024-07-18", "0", "0")
    body = json.dumps({"model": "gpt-4o-mini-2024-07-18", "messages": [{"role": "user", "content": "hi"}]}).encode()
    assert (await agent.post(body)).status == 200


async def test_a_call_without_a_limit_reserves_the_configured_one(make_agent: MakeAgent, upstream: Upstream) -> None:
    """R4: it is never skipped."""
    agent = await make_agent(budget_output_tokens=1000)
    one = largest(agent, agent.body()) + Decimal("0.6") * (1000 - LIMIT) / 1_000_000
    await set_budget(agent, one - Decimal("1e-9"))
    assert (await agent.chat()).status == 429
    await set_budget(agent, one)
    assert (await agent.chat()).status == 200


async def test_a_raised_budget_counts_at_once(agent: Agent, upstream: Upstream) -> None:
    """And a removed one refuses nobody."""
    line = await set_budget(agent, Decimal(0))
    assert (await ask(agent)).status == 429
    await set_budget(agent, Decimal(1))
    assert (await ask(agent)).status == 200
    await set_budget(agent, Decimal(0))
    await BudgetAdmin(agent.store.with_actor(BOSS)).remove(line.id)
    await agent.until(lambda: agent.server.directory.budgets[line.id].amount is None)
    assert (await ask(agent)).status == 200


async def test_a_row_of_unknown_cost_counts_with_the_most_it_may_have_cost(agent: Agent, upstream: Upstream) -> None:
    """In the budget; the books themselves say 0."""
    one = largest(agent, agent.body("nousage", max_completion_tokens=LIMIT))
    line = await set_budget(agent, one * 10)

    async def script(request: Received, reply: Reply) -> None:
        await reply.reset()

    upstream.script = script
    assert (await ask(agent, "nousage")).status == 502
    [row] = await agent.rows(1)
    assert (row["state"], row["cost"], row["uncertain_cost"]) == ("unknown", 0, one)
    [found] = await BudgetAdmin(agent.store.with_actor(BOSS)).list()
    assert (found.id, found.spent) == (line.id, one)


# R2: every way out.


async def whole(agent: Agent, upstream: Upstream) -> None:
    """An answer."""
    await ask(agent)


async def streamed(agent: Agent, upstream: Upstream) -> None:
    """A stream."""
    await ask(agent, stream=True)


async def said_no(agent: Agent, upstream: Upstream) -> None:
    """OpenAI's own 429."""
    await ask(agent, "status=429")


async def key_refused(agent: Agent, upstream: Upstream) -> None:
    """OpenAI's 401."""
    await ask(agent, "status=401")


async def no_json(agent: Agent, upstream: Upstream) -> None:
    """A body that is refused."""
    await agent.post(b"{", "/chat")


async def no_price(agent: Agent, upstream: Upstream) -> None:
    """A model that is refused."""
    await agent.post(b'{"model": "gpt-9"}')


async def bad_header(agent: Agent, upstream: Upstream) -> None:
    """What is found out after the reservation."""
    await agent.post(agent.body(), Accept="x" * 300)


async def reset(agent: Agent, upstream: Upstream) -> None:
    """The connection is lost before an answer."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.reset()

    upstream.script = script
    await ask(agent)


async def cut_short(agent: Agent, upstream: Upstream) -> None:
    """The connection is lost in the middle of one."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.head(200, content_type="application/json", content_length="1000")
        await reply.raw(b"{")
        await reply.close()

    upstream.script = script
    await ask(agent)


async def error_in_mid_stream(agent: Agent, upstream: Upstream) -> None:
    """An event that says so."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(stream_events(1, None)[0] + event({"error": {"message": "no"}}))
        await reply.end()

    upstream.script = script
    await ask(agent, stream=True)


async def silent_about_usage(agent: Agent, upstream: Upstream) -> None:
    """An answer without counts."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(completion(1, 0, 1, 0).replace(b"usage", b"abuse"))

    upstream.script = script
    await ask(agent)


async def hang_up_early(agent: Agent, upstream: Upstream) -> None:
    """The client leaves while OpenAI thinks."""
    before = len(upstream.requests)
    connection = await agent.begin("delay=0.02", max_completion_tokens=LIMIT)
    await agent.until(lambda: len(upstream.requests) > before)
    await connection.close()


async def hang_up_in_mid_stream(agent: Agent, upstream: Upstream) -> None:
    """The client leaves after the first chunk."""
    connection: Connection = await agent.begin("chunks=3 gap=0.002", stream=True, max_completion_tokens=LIMIT)
    await connection.head()
    await connection.chunk()
    await connection.close()


WAYS: list[Callable[[Agent, Upstream], Awaitable[None]]] = [
    whole, streamed, said_no, key_refused, no_json, no_price, bad_header, reset, cut_short, error_in_mid_stream,
    silent_about_usage, hang_up_early, hang_up_in_mid_stream,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_stays_set_aside(
    agent: Agent, upstream: Upstream, way: Callable[[Agent, Upstream], Awaitable[None]]
) -> None:
    """A hundred times each, nor a place of those at once; and what PostgreSQL shows is what the agent has counted."""
    await limit(agent, "users", concurrency=1000)
    await limit(agent, "tokens", concurrency=1000)
    await set_budget(agent, Decimal(1000))
    await set_budget(agent, Decimal(1000), token_id=1, period=Period.DAY)
    for _ in range(10):
        await asyncio.gather(*(way(agent, upstream) for _ in range(10)))
    await agent.until(lambda: agent.server.admissions.running == 0)
    assert set_aside(agent) == 0
    assert list(agent.server.rate_limiter.running.values()) == [0, 0]
    counted = await spent(agent)
    await agent.until(lambda: not any(account.pending for account in budgets(agent).by_user.values()))
    states = [state for account in budgets(agent).by_user.values() for state in account.states]
    assert [(state.shipped, state.pending, state.pending_ended) for state in states] == [(counted, 0, 0)] * 2


# R3: a restart.


async def test_after_a_restart_what_was_spent_is_known(make_agent: MakeAgent, upstream: Upstream, dsn: str) -> None:
    """Also of rows that PostgreSQL does not have yet, before any of them is shipped."""
    agent = await make_agent()
    line = await set_budget(agent, Decimal(1))
    await agent.server.ledger.background.close()
    assert (await ask(agent)).status == 200
    rows = await agent.server.ledger.backlog_rows()
    known = Budgets(on_threshold=ignore)
    known.add_unshipped(rows)
    known.set_budgets(agent.server.directory.budgets.values(), agent.server.directory.owner_of, "UTC")
    [status] = known.status(agent.server.directory.identify(agent.token))
    assert (status.spent, status.left) == (rows[0].cost, 1 - rows[0].cost)
    assert line.spent == 0


# Several agents.


async def test_two_agents_share_a_budget(make_agent: MakeAgent, upstream: Upstream, tmp_path: Any) -> None:
    """What one has spent, the other knows; between them they overshoot by no more than one call."""
    one = await make_agent()
    other = await make_agent(data_dir=tmp_path / "other", master_key_file=one.config.data_dir / "master.key")
    other.token = one.token
    await other.until(lambda: other.works(one.token))
    for agent in (one, other):
        await agent.until(lambda agent=agent: agent.server.ledger.backlog == 0)  # type: ignore[misc]
        await agent.server.budget_sync.refresh_all()
        assert agent.server.budgets.agents == 2
    most_ = largest(one, one.body(max_completion_tokens=LIMIT))
    await set_budget(one, most_ * 10)
    await other.until(lambda: other.server.directory.budgets)
    statuses = await ask_at_once(100, upstream, lambda number: ask((one, other)[number % 2]))
    assert statuses == [200] * 10 + [429] * 90
    for agent in (one, other):
        await agent.rows(10)
    [state] = [state for account in budgets(other).by_user.values() for state in account.states]
    total = await spent(one)
    await other.until(lambda: state.shipped == total and state.pending == 0)
