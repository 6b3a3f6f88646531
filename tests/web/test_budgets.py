"""Budgets through a running agent: reservations, spending and refusals (R1 to R4)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import openai
import pytest

from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.runtime.budget_sync import SyncTimes
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.tuning import Tuning
from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.budgets import (
    OUTPUT_LIMIT,
    chat,
    max_cost_of,
    set_budget,
    spent,
    states_of,
    stop_clock,
    until_shipped,
)
from tests.support.client import Answer
from tests.support.observers import ignore
from tests.support.upstream import Received, Reply, Upstream, completion, event, stream_events
from tests.support.waiting import until

pytestmark = pytest.mark.shared_agent


async def send_at_once(count: int, upstream: Upstream, send: Callable[[int], Awaitable[Answer]]) -> list[int]:
    """Sends requests, of which OpenAI answers none before the others are refused; returns the sorted statuses."""
    all_decided = upstream.hold()
    requests = [asyncio.ensure_future(send(number)) for number in range(count)]
    while sum(request.done() for request in requests) + len(upstream.requests) < count:
        await asyncio.sleep(0.01)
    all_decided.set()
    return sorted([(await request).status for request in requests])


# R1: no budget is exceeded.


async def test_concurrent_requests_do_not_exceed_a_budget(agent: Agent, upstream: Upstream) -> None:
    """A budget of ten maximum costs serves ten of 200 requests at once and refuses the others."""
    cost = max_cost_of(agent)
    await set_budget(agent, cost * 10)
    statuses = await send_at_once(200, upstream, lambda _: chat(agent))
    assert statuses == [200] * 10 + [429] * 190
    assert len(upstream.requests) == 10
    assert await spent(agent) <= cost * 10


async def test_unused_part_of_a_reservation_can_be_spent(agent: Agent) -> None:
    """Requests are settled at their true cost, so a budget serves more of them than it has maximum costs."""
    cost = max_cost_of(agent)
    await set_budget(agent, cost * 3)
    statuses = [(await chat(agent)).status for _ in range(40)]
    assert 3 < statuses.count(200) < 40
    assert cost * 2 < await spent(agent) <= cost * 3


async def test_refusal_has_the_form_of_openai(agent: Agent, upstream: Upstream) -> None:
    """A refusal has the type and code of OpenAI's own quota, and says what is left and when the budget resets."""
    await set_budget(agent, Decimal(0), period=Period.MONTH)
    answer = await chat(agent)
    assert (answer.status, answer.header("x-should-retry"), upstream.requests) == (429, "false", [])
    assert (answer.error["type"], answer.error["param"]) == ("insufficient_quota", None)
    assert answer.error["code"] == "insufficient_quota"
    assert "0.00 USD this month" in answer.error["message"]
    assert "It resets at 20" in answer.error["message"]


async def test_sdk_does_not_retry_a_refusal(agent: Agent, upstream: Upstream) -> None:
    """The SDK raises the error of OpenAI's own quota, and does not retry."""
    await set_budget(agent, Decimal(0))
    async with openai.AsyncOpenAI(base_url=agent.url + "/v1", api_key=agent.token) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    assert (caught.value.code, upstream.requests) == ("insufficient_quota", [])


async def test_budgets_of_token_and_user_both_apply(agent: Agent) -> None:
    """A request is refused if it exceeds the budget of its token or of its user; another token has only the user's."""
    cost = max_cost_of(agent)
    await set_budget(agent, cost * 100)
    await set_budget(agent, cost / 2, token_id=1)
    assert "budget of your token" in (await chat(agent)).error["message"]
    agent.token = await agent.add_user("alice")
    assert (await chat(agent)).status == 200
    await set_budget(agent, cost / 4)
    assert "budget of your user account" in (await chat(agent)).error["message"]


async def test_budget_does_not_apply_to_other_users(agent: Agent) -> None:
    """A budget limits its own user only."""
    await set_budget(agent, Decimal(0))
    agent.token = await agent.add_user("bob")
    assert (await chat(agent)).status == 200


async def test_request_without_cost_is_not_refused(agent: Agent) -> None:
    """A model with the price 0 is served even if the budget is 0."""
    await set_budget(agent, Decimal(0))
    await agent.set_price("gpt-6-luna-2026-09-15", "0", "0")
    body = json.dumps({"model": "gpt-6-luna-2026-09-15", "messages": [{"role": "user", "content": "hi"}]}).encode()
    assert (await agent.post(body)).status == 200


async def test_raised_budget_applies_at_once(agent: Agent) -> None:
    """A raised budget applies to the next request, and a removed one refuses no request."""
    budget = await set_budget(agent, Decimal(0))
    assert (await chat(agent)).status == 429
    await set_budget(agent, Decimal(1))
    assert (await chat(agent)).status == 200
    await set_budget(agent, Decimal(0))
    await agent.administration.budgets.remove(budget.id)
    await agent.until(lambda: agent.server.directory.budgets[budget.id].amount is None)
    assert (await chat(agent)).status == 200


async def test_raise_ends_by_itself(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A raised budget serves requests until its end; the next one is refused, with no change of the database."""
    budget = await set_budget(agent, Decimal(0))
    until = datetime.now(UTC) + timedelta(hours=1)
    raised = await agent.administration.budgets.raise_until(budget.id, amount=Decimal(1), until=until)
    await agent.until(lambda: agent.server.directory.budgets[budget.id].raised_until is not None)
    assert (await chat(agent)).status == 200
    monkeypatch.setattr(agent.server.admissions, "now", lambda: until)
    answer = await chat(agent)
    assert (answer.status, "left of 0.00 USD" in answer.error["message"]) == (429, True)
    assert (await agent.administration.budgets.get(budget.id)).version == raised.version


async def test_list_shows_what_a_request_in_progress_has_reserved(make_agent: MakeAgent, upstream: Upstream) -> None:
    """The only agent publishes its reservations; after the request has ended, nothing is reserved."""
    agent = await make_agent(tuning=Tuning(budgets=SyncTimes(publish_alone=0.02)))
    cost = max_cost_of(agent)
    await set_budget(agent, cost * 10)

    async def reserved() -> Decimal:
        [row] = await agent.administration.budgets.list()
        assert row.left == row.amount - row.spent - row.reserved
        return row.reserved

    may_end = upstream.hold()
    request = asyncio.ensure_future(chat(agent))
    while await reserved() != cost:
        await asyncio.sleep(0.01)
    may_end.set()
    assert (await request).status == 200
    while await reserved() != 0:
        await asyncio.sleep(0.01)


async def test_row_of_unknown_cost_counts_at_its_maximum(agent: Agent, upstream: Upstream) -> None:
    """A row of unknown cost counts in the budget at its maximum cost, while its own cost is 0."""
    cost = max_cost_of(agent)
    budget = await set_budget(agent, cost * 10)

    async def script(_: Received, reply: Reply) -> None:
        await reply.reset()

    upstream.script = script
    assert (await chat(agent)).status == 502
    [row] = await agent.rows(1)
    assert (row["state"], row["cost"], row["uncertain_cost"]) == ("unknown", 0, cost)
    [listed] = await agent.administration.budgets.list()
    assert (listed.id, listed.spent) == (budget.id, cost)


# R2: no reservation is left over, however a request ends.


async def end_whole(agent: Agent, _: Upstream) -> None:
    await chat(agent)


async def end_stream(agent: Agent, _: Upstream) -> None:
    await chat(agent, stream=True)


async def end_with_429(agent: Agent, _: Upstream) -> None:
    await chat(agent, "status=429")


async def end_with_401(agent: Agent, _: Upstream) -> None:
    await chat(agent, "status=401")


async def end_at_invalid_body(agent: Agent, _: Upstream) -> None:
    await agent.post(b"{", "/chat")


async def end_at_unknown_model(agent: Agent, _: Upstream) -> None:
    await agent.post(b'{"model": "gpt-9"}')


async def end_at_invalid_header(agent: Agent, _: Upstream) -> None:
    """Ends after the reservation and before the request is sent."""
    await agent.post(agent.body(), Accept="x" * 300)


async def end_before_the_answer(agent: Agent, upstream: Upstream) -> None:
    async def script(_: Received, reply: Reply) -> None:
        await reply.reset()

    upstream.script = script
    await chat(agent)


async def end_in_the_answer(agent: Agent, upstream: Upstream) -> None:
    async def script(_: Received, reply: Reply) -> None:
        await reply.head(200, content_type="application/json", content_length="1000")
        await reply.raw(b"{")
        await reply.close()

    upstream.script = script
    await chat(agent)


async def end_with_an_error_event(agent: Agent, upstream: Upstream) -> None:
    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(stream_events(1, None)[0] + event({"error": {"message": "no"}}))
        await reply.end()

    upstream.script = script
    await chat(agent, stream=True)


async def end_without_usage(agent: Agent, upstream: Upstream) -> None:
    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(completion(1, 0, 1, 0).replace(b"usage", b"abuse"))

    upstream.script = script
    await chat(agent)


async def disconnect_before_the_answer(agent: Agent, upstream: Upstream) -> None:
    before = len(upstream.requests)
    connection = await agent.begin("delay=0.02", max_completion_tokens=OUTPUT_LIMIT)
    await agent.until(lambda: len(upstream.requests) > before)
    await connection.close()


async def disconnect_during_a_stream(agent: Agent, _: Upstream) -> None:
    connection = await agent.begin("chunks=3 gap=0.002", stream=True, max_completion_tokens=OUTPUT_LIMIT)
    await connection.head()
    await connection.chunk()
    await connection.close()


ENDINGS: list[Callable[[Agent, Upstream], Awaitable[None]]] = [
    end_whole, end_stream, end_with_429, end_with_401, end_at_invalid_body, end_at_unknown_model,
    end_at_invalid_header, end_before_the_answer, end_in_the_answer, end_with_an_error_event, end_without_usage,
    disconnect_before_the_answer, disconnect_during_a_stream,
]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
async def test_no_reservation_is_left_over(
    agent: Agent,
    upstream: Upstream,
    ending: Callable[[Agent, Upstream], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a hundred requests that end alike, nothing is reserved, no place is taken, and the agent's sums are those
    of PostgreSQL."""
    stop_clock(agent, monkeypatch)
    await agent.store.fetch("UPDATE users SET concurrency = 1000; UPDATE tokens SET concurrency = 1000")
    await agent.follow()
    await set_budget(agent, Decimal(1000))
    await set_budget(agent, Decimal(1000), token_id=1, period=Period.DAY)
    for _ in range(10):
        await asyncio.gather(*(ending(agent, upstream) for _ in range(10)))
    await agent.until(lambda: agent.server.admissions.running == 0)
    identity = agent.server.directory.identify(agent.token)
    assert [status.reserved for status in agent.server.budgets.status(identity)] == [0, 0]
    assert set(agent.server.rate_limiter.running.values()) == {0}
    total = await spent(agent)
    await until_shipped(agent)
    states = [(state.shipped, state.pending, state.pending_ended) for state in states_of(agent)]
    assert states == [(total, 0, 0)] * 2


# R3: a restart.


async def test_spending_survives_a_restart(make_agent: MakeAgent) -> None:
    """After a restart, rows that are still in the outbox count before any of them is shipped."""
    agent = await make_agent()
    await set_budget(agent, Decimal(1))
    await agent.server.ledger.background.close()
    assert (await chat(agent)).status == 200
    [row] = await agent.server.ledger.backlog_rows()
    restarted = Budgets(on_threshold=ignore)
    restarted.add_unshipped([row])
    restarted.set_budgets(agent.server.directory.budgets.values(), agent.server.directory.owner_of, "UTC")
    [status] = restarted.status(agent.server.directory.identify(agent.token))
    assert (status.spent, status.left) == (row.cost, 1 - row.cost)


# R4: each request has a maximum cost.


async def test_request_without_an_output_limit_reserves_the_configured_one(make_agent: MakeAgent) -> None:
    """A request without an output limit is reserved with `budget_output_tokens`."""
    agent = await make_agent(budget_output_tokens=1000)
    cost = max_cost_of(agent, agent.body()) + Decimal("0.6") * (1000 - OUTPUT_LIMIT) / 1_000_000
    await set_budget(agent, cost - Decimal("1e-9"))
    assert (await agent.chat()).status == 429
    await set_budget(agent, cost)
    assert (await agent.chat()).status == 200


# Several agents.


async def test_two_agents_share_a_budget(make_agent: MakeAgent, upstream: Upstream, tmp_path: Path) -> None:
    """Two agents together do not exceed a budget, and each learns what the other has spent."""
    first = await make_agent()
    second = await make_agent(data_dir=tmp_path / "second", master_key_file=first.config.data_dir / "master.key")
    second.token = first.token
    await second.until(lambda: second.works(first.token))
    for agent in (first, second):
        await until(agent.server.ledger.depth, lambda depth: depth == 0)
        await agent.server.budget_sync.refresh_all()
        assert agent.server.budgets.agents == 2
    await set_budget(first, max_cost_of(first) * 10)
    await second.until(lambda: second.server.directory.budgets)
    statuses = await send_at_once(100, upstream, lambda number: chat((first, second)[number % 2]))
    assert statuses == [200] * 10 + [429] * 90
    for agent in (first, second):
        await agent.rows(10)
    total = await spent(first)
    [state] = states_of(second)
    await second.until(lambda: state.shipped == total and state.pending == 0)
