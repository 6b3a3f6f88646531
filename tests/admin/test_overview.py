"""The figures at a glance, compared with the rows that they sum up."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.adapters.postgres.agents import AgentReport, report_agent
from chatgpt_agent.adapters.postgres.backups import LastBackup, record_backup
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.admin.overview import NEARLY_SPENT, Concern, Overview, first_of_month
from chatgpt_agent.core.budget.budget_state import Status
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import Intent, Outcome, Row, State, settle
from chatgpt_agent.core.money.pricing import PriceBook
from chatgpt_agent.core.usage import Answer, Usage
from tests.support.agent import MODEL, Agent

pytestmark = pytest.mark.shared_agent

Ship = Callable[..., Any]
MILLION = Usage(input=1_000_000, output=0)  # 0.15 USD of MODEL


@pytest.fixture
def add(agent: Agent) -> Ship:
    """Adds rows of alice: when, and what is not as usual."""

    async def add_row(when: datetime, **changes: Any) -> Row:
        await agent.store.fetch("UPDATE prices SET effective_at = '2026-01-01Z' WHERE effective_at > '2026-01-01Z'")
        book = PriceBook(await agent.administration.prices.history())
        intent = Intent(
            request_id=uuid7(int(when.timestamp() * 1000), bytes(9) + bytes([len(ids)])),
            user_id=changes.pop("user_id", 1),
            token_id=1,
            endpoint="/v1/chat/completions",
            model=MODEL,
            price_id=1,
            streamed=False,
            started_at=when,
            max_cost=Decimal("0.5"),
        )
        ids.append(intent.request_id)
        usage = changes.pop("usage", MILLION)
        fields = {"state": State.DONE, "status": 200, "duration_ms": 2000, "first_byte_ms": 500, **changes}
        row = settle(intent, Outcome(answer=Answer(usage=usage, model=MODEL), **fields), book.at(MODEL, now()), book)
        await ensure_partition(agent.store, when)
        await ship(agent.store, [row])
        return row

    ids: list[Any] = []
    return add_row


def now() -> datetime:
    return datetime.now(UTC)


async def read(agent: Agent) -> Overview:
    return await agent.administration.overview.read(agent.server.budgets.nearly_spent(NEARLY_SPENT))


def concerns(overview: Overview) -> list[Concern]:
    return [each.concern for each in overview.attention]


async def test_empty_books_have_no_figures(agent: Agent) -> None:
    """Sums are 0, and nothing needs attention."""
    overview = await read(agent)
    assert (overview.month.cost, overview.top_users, overview.latencies, overview.attention) == (0, [], [], [])


async def test_spend_of_today_and_of_the_months(agent: Agent, add: Ship) -> None:
    """Each row counts in its day, and the last month up to the same day."""
    today = now()
    last_month = first_of_month(first_of_month(today.date()) - timedelta(days=1))
    await add(today)
    await add(datetime(last_month.year, last_month.month, 1, 12, tzinfo=UTC))
    overview = await read(agent)
    assert overview.today_spend.cost == overview.month.cost == Decimal("0.15")
    assert (overview.last_month_so_far.cost, overview.last_month.cost) == (Decimal("0.15"), Decimal("0.15"))
    assert (overview.month.requests, overview.month.tokens) == (1, 1_000_000)


async def test_top_users_and_others_add_up(agent: Agent, add: Ship) -> None:
    """The chart's parts of a day are its cost, to the last digit."""
    for number in range(9):
        await agent.add_user(f"user{number}")
    users = await agent.administration.users.list()
    for number, user in enumerate(users):
        await add(now(), user_id=user.id, usage=Usage(input=10**6 + number, output=1))
    overview = await read(agent)
    assert sum(each.cost for each in overview.users_by_day) == overview.month.cost
    assert [each.name for each in overview.users_by_day if not each.name] == [""]
    costs = [user.cost for user in overview.top_users]
    assert costs == sorted(costs, reverse=True)
    assert sum(spend.cost for _, spend in overview.top_models) == overview.month.cost


async def test_latencies_are_those_of_answered_requests(agent: Agent, add: Ship) -> None:
    """Errors and imported rows do not count."""
    await add(now(), duration_ms=2000, first_byte_ms=500)
    await add(now(), state=State.UPSTREAM_ERROR, status=500, usage=None, duration_ms=90_000)
    [day] = (await read(agent)).latencies
    assert day.requests == 1
    assert day.duration == pytest.approx(2000, rel=0.075)
    assert day.first_byte_95 == pytest.approx(500, rel=0.075)


async def test_books_are_to_be_checked_once_a_week(agent: Agent, add: Ship) -> None:
    """A check without findings settles that."""
    await add(now())
    assert concerns(await read(agent)) == [Concern.NOT_VERIFIED]
    await agent.administration.ledger.verify()
    overview = await read(agent)
    assert concerns(overview) == []
    assert overview.last_verify is not None
    assert overview.last_verify.findings == 0


async def test_old_backup_needs_attention(agent: Agent) -> None:
    """One of last night needs none, and neither does a database without any: another program may make them."""
    assert concerns(await read(agent)) == []
    for days, expected in ((1, []), (3, [Concern.OLD_BACKUP])):
        at = datetime.now(UTC) - timedelta(days=days)
        last = LastBackup(at=at, host="vm", path="/b.tar", size=1, with_key=False, actor="carol")
        await record_backup(agent.store, last)
        assert concerns(await read(agent)) == expected


async def test_findings_of_the_last_check_need_attention(agent: Agent, add: Ship) -> None:
    """They are counted, and their checks are named."""
    await add(now())
    await agent.store.fetch("UPDATE usage_daily SET reasoning_tokens = reasoning_tokens + 1")
    await agent.administration.ledger.verify()
    await agent.store.fetch("SELECT rebuild_usage_daily()")
    [attention] = (await read(agent)).attention
    assert (attention.concern, attention.subject, attention.count) == (Concern.FINDINGS, "daily sums", 1)


async def test_budget_that_is_nearly_spent_needs_attention(agent: Agent, add: Ship) -> None:
    """From 80 % on, by what the agent itself knows."""
    await agent.administration.ledger.verify()
    await add(now())

    async def set_budget(amount: str) -> None:
        await agent.administration.budgets.set(user="alice", period=Period.MONTH, amount=Decimal(amount))
        await agent.until(lambda: [each.amount for each in budgets_in_memory() if each.spent] == [Decimal(amount)])

    def budgets_in_memory() -> list[Status]:
        return [status for _, status in agent.server.budgets.nearly_spent(0)]

    await set_budget("0.20")
    assert concerns(await read(agent)) == []
    await set_budget("0.1875")
    [attention] = (await read(agent)).attention
    assert (attention.subject, attention.amount, attention.of) == ("alice", Decimal("0.15"), Decimal("0.1875"))


async def test_refused_key_needs_attention_until_it_works(agent: Agent, add: Ship) -> None:
    """A later answered request settles that."""
    await agent.administration.ledger.verify()
    await add(now() - timedelta(minutes=2), state=State.UPSTREAM_ERROR, status=401, usage=None)
    [attention] = (await read(agent)).attention
    assert (attention.concern, attention.subject) == (Concern.KEY_REFUSED, "alice")
    await add(now() - timedelta(minutes=1))
    assert concerns(await read(agent)) == []


@pytest.mark.own_agent
async def test_unpriced_model_needs_attention_until_it_has_a_price(agent: Agent) -> None:
    """Agents report the models that they refused."""
    agent_id = await agent.server.ledger.report()
    report = AgentReport(backlog=0, oldest_age=None, lost_rows=0, unpriced_models={"gpt-7": 3})
    await report_agent(agent.store, agent_id, report)
    [attention] = (await read(agent)).attention
    assert (attention.concern, attention.subject, attention.count) == (Concern.UNPRICED_MODEL, "gpt-7", 3)
    await agent.set_price("gpt-7", "1", "1")
    assert concerns(await read(agent)) == []


async def test_model_that_is_shut_down_needs_attention_if_it_is_used(agent: Agent, add: Ship) -> None:
    """With the day and the number of its users."""
    day = date.today() + timedelta(days=20)
    await agent.store.fetch("INSERT INTO model_dates VALUES (%s, %s)", [MODEL, day])
    await agent.administration.ledger.verify()
    assert concerns(await read(agent)) == []
    await add(now())
    [attention] = (await read(agent)).attention
    assert (attention.concern, attention.at, attention.count) == (Concern.SHUTDOWN, day, 1)
    await agent.store.fetch("DELETE FROM model_dates")


async def test_uncertain_cost_of_this_month_needs_attention(agent: Agent, add: Ship) -> None:
    """It is not part of the cost."""
    await agent.administration.ledger.verify()
    await add(now(), state=State.UNKNOWN, status=None, usage=None)
    overview = await read(agent)
    [attention] = overview.attention
    assert (attention.concern, attention.amount, overview.month.cost) == (Concern.UNCERTAIN_COST, Decimal("0.5"), 0)


@pytest.mark.own_agent
async def test_refused_model_is_reported(agent: Agent) -> None:
    """Its name is counted; what is not the name of a model is not stored."""
    for model in ("gpt-7", "gpt-7", "A whole sentence, perhaps a message", "sk-made-up-key"):
        assert (await agent.chat(model=model)).status == 404
    counts = agent.server.figures.unpriced_models.counts
    assert (counts["gpt-7"], counts["other"]) == (2, 2)
