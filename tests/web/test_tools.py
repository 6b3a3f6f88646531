"""OpenAI's own tools, through the whole agent: refused without a price, reserved, charged, and proven."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.adapters.postgres.checks import run_checks
from chatgpt_agent.adapters.postgres.surcharges import add_surcharges
from chatgpt_agent.core.money.surcharges import NewSurcharge
from tests.support.agent import Agent
from tests.support.budgets import set_budget, until_shipped
from tests.support.client import Answer
from tests.support.upstream import Received, Reply, Upstream, event

MODEL, DRAWS = "gpt-6-sol", "gpt-image-2.6-sunburst"
USAGE = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
DRAWN = {
    "input_tokens": 200, "output_tokens": 1000, "total_tokens": 1200, "cached_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 200},
}  # fmt: skip
TOOLS: list[dict[str, Any]] = [
    {"type": "web_search"},
    {"type": "file_search", "vector_store_ids": ["vs_1"]},
    {"type": "image_generation"},
]

Answers = Callable[..., None]

pytestmark = pytest.mark.shared_agent


@pytest.fixture
def answers(upstream: Upstream) -> Answers:
    """Sets what OpenAI answers to /v1/responses, whole or as a stream; `see` is called before."""

    def script_for(see: Callable[[], object] = bool, **more: Any) -> None:
        answer = {"id": "resp_1", "object": "response", "status": "completed", "model": MODEL, "usage": USAGE, **more}

        async def script(request: Received, reply: Reply) -> None:
            see()
            if not request.json.get("stream"):
                await reply.whole(json.dumps(answer).encode())
                return
            await reply.stream_head()
            await reply.chunk(event({"type": "response.completed", "response": answer}))
            await reply.end()

        upstream.script = script

    return script_for


async def set_surcharges(agent: Agent, **amounts: str | None) -> None:
    """Sets the prices of both models, and USD per call; None: no price."""
    await agent.set_price(MODEL, "2", "10")
    await agent.set_price(DRAWS, "5", "30", image_input="8")
    new = [
        NewSurcharge(kind=kind, amount=None if amount is None else Decimal(amount)) for kind, amount in amounts.items()
    ]
    await add_surcharges(agent.store, new, now=agent.server.admissions.now())
    await agent.follow()


async def ask(agent: Agent, *tools: dict[str, Any], **more: Any) -> Answer:
    """A request for a response that offers these tools."""
    body = json.dumps({"model": MODEL, "input": "Hello", "tools": tools, "max_output_tokens": 100, **more})
    return await agent.post(body.encode(), "/v1/responses")


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_and_drawn_tokens_are_charged(agent: Agent, answers: Answers, stream: bool) -> None:
    """A row has the calls, the tokens of the model that drew, and what all of them cost; the ledger proves it."""
    await set_surcharges(agent, web_search="0.01", file_search="0.0025", code_interpreter=None)
    items = [{"type": "file_search_call", "id": f"fs_{number}"} for number in range(2)]
    answers(output=items, tool_usage={"web_search": {"num_requests": 3}, "image_gen": DRAWN})
    await ask(agent, *TOOLS, **({"stream": True} if stream else {}))
    [row] = await agent.rows(1)
    counts = ("web_search_calls", "file_search_calls", "image_tool_input_tokens", "image_tool_output_tokens")
    assert [row[name] for name in counts] == [3, 2, 200, 1000]
    # 1,000 input and 100 output tokens, 200 of text and 1,000 of an image, 3 searches, 2 file searches.
    assert Decimal(row["cost"]) == Decimal("0.003") + Decimal("0.031") + Decimal("0.03") + Decimal("0.005")
    assert (row["state"], row["uncertain_reason"]) == ("done", None)
    assert await run_checks(agent.store, 10) == []


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ({"type": "code_interpreter", "container": {"type": "auto"}}, "The tool 'code_interpreter' has no price."),
        ({"type": "image_generation", "model": "gpt-image-9"}, "draws with the model 'gpt-image-9', which does not"),
    ],
)
async def test_tool_without_a_price_is_refused(
    agent: Agent, upstream: Upstream, answers: Answers, tool: dict[str, Any], message: str
) -> None:
    """As a model without a price is; nothing is sent."""
    await set_surcharges(agent, code_interpreter=None)
    answers()
    answer = await ask(agent, tool)
    assert (answer.status, answer.error["param"]) == (400, "tools")
    assert message in answer.error["message"]
    assert upstream.requests == []


async def test_chat_cannot_search_without_a_price(agent: Agent, upstream: Upstream) -> None:
    """A model that searches in a chat costs calls, too."""
    await set_surcharges(agent, web_search=None)
    answer = await agent.chat(web_search_options={})
    assert (answer.status, answer.error["param"]) == (400, "tools")
    assert upstream.requests == []


async def test_search_of_a_chat_is_uncertain(agent: Agent) -> None:
    """Chat completions do not report their searches: the row has the cost of one beside its own."""
    await set_surcharges(agent, web_search="0.01")
    await agent.chat(web_search_options={})
    [row] = await agent.rows(1)
    assert (row["uncertain_reason"], Decimal(row["uncertain_cost"])) == ("search_unreported", Decimal("0.01"))


@pytest.mark.parametrize("calls", [None, 2])
async def test_budget_holds_for_calls(agent: Agent, answers: Answers, calls: int | None) -> None:
    """The reservation has `max_tool_calls` calls, or as many as are configured; the cost is never more."""
    await set_surcharges(agent, web_search="0.01")
    await set_budget(agent, Decimal(50))
    reserved: list[Decimal] = []
    allowed = agent.config.budget_tool_calls if calls is None else calls
    answers(
        tool_usage={"web_search": {"num_requests": allowed}},
        see=lambda: reserved.extend(status.reserved for status in statuses(agent)),
    )
    await ask(agent, {"type": "web_search"}, **({} if calls is None else {"max_tool_calls": calls}))
    [row] = await agent.rows(1)
    assert row["web_search_calls"] == allowed
    assert Decimal(row["cost"]) <= reserved[0]
    assert reserved[0] >= allowed * Decimal("0.01")
    await until_shipped(agent)
    assert statuses(agent)[0].reserved == 0


def statuses(agent: Agent) -> list[Any]:
    """The user's budgets, as the agent has them."""
    return list(agent.server.budgets.status(agent.server.directory.identify(agent.token)))
