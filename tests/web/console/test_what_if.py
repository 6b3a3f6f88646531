"""What past requests would have cost, in the console."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from chatgpt_agent.core.money.kinds import Rates
from tests.support.agent import MODEL
from tests.support.console import ConsoleClient
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent

SINCE = f"first={datetime.now(UTC).date() - timedelta(days=2)}"


async def send_one(browser: ConsoleClient) -> Decimal:
    """Sends a request, and returns its cost."""
    await browser.agent.chat()
    [row] = await browser.agent.rows(1)
    return Decimal(row["cost"])


async def test_form_computes_nothing_by_itself(viewer: ConsoleClient) -> None:
    """It has the last 30 days; viewers may use it."""
    before = datetime.now(UTC).date()
    page = await viewer.get("/price-what-if")
    days = {before, datetime.now(UTC).date()}  # the day may end here
    assert page.form("filter")["first"] in {str(day - timedelta(days=29)) for day in days}
    assert page.rows("what-if") == []


async def test_requests_at_given_rates(viewer: ConsoleClient, upstream: Upstream) -> None:
    """Twice the rates are twice the cost."""
    cost = await send_one(viewer)
    page = await viewer.get(f"/price-what-if?{SINCE}&model={MODEL}&input=0.30&output=1.20&cached_input=0.15&by=user")
    [row] = page.rows("what-if")
    assert (row[0], row[1], row[5]) == ("alice", "1", "+100%")
    answer = await viewer.file(
        f"/price-what-if?{SINCE}&model={MODEL}&input=0.30&output=1.20&cached_input=0.15&by=user&csv=what-if"
    )
    cells = answer.body.decode().splitlines()[1].split(",")
    assert [Decimal(cell) for cell in cells[2:5]] == [cost, 2 * cost, cost]


async def test_requests_as_another_model(viewer: ConsoleClient, upstream: Upstream) -> None:
    """At the price of that one now."""
    await send_one(viewer)
    prices = viewer.agent.administration.prices
    await prices.set("gpt-8", Rates(input=Decimal(0), output=Decimal(0)))
    page = await viewer.get(f"/price-what-if?{SINCE}&as_model=gpt-8")
    assert page.rows("what-if")[0][3:] == ["$0.00", page.rows("what-if")[0][4], "-100%"]


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("input=x&output=1", "input", "'x' is not a number"),
        ("tiers=flex&input=1&output=1", "tiers", "give WHEN:WHAT"),
        ("input=1", "output", "give USD per 1,000,000 tokens"),
        ("as_model=unknown", "", "has no price"),
        ("last=2020-01-01", "", "the last day is before the first"),
        ("input=1&output=1&as_model=gpt-6-luna", "", "not both"),
    ],
)
async def test_wrong_value_is_marked(viewer: ConsoleClient, query: str, field: str, message: str) -> None:
    """With what was typed."""
    page = await viewer.get(f"/price-what-if?{SINCE}&model={MODEL}&{query}")
    assert page.status in (400, 404, 422)
    element = page.root.one("small", id=f"filter-{field}-error") if field else page.root.one("p", role="alert")
    assert message in element.text
    assert page.form("filter")["model"] == MODEL
