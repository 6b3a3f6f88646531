"""Checks of the ledger are remembered."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from chatgpt_agent.adapters.postgres.ledger_checks import LedgerCheck, add_check
from chatgpt_agent.core.openai_usage import CostFigure, Figures
from tests.support.agent import Agent

pytestmark = pytest.mark.shared_agent

DAY = date(2026, 11, 2)


async def test_check_is_recorded_with_its_author(agent: Agent) -> None:
    """Its kind, time and findings."""
    await agent.administration.ledger.verify()
    check = (await agent.administration.checks.last())["verify"]
    assert (check.kind, check.findings, check.actor.endswith("(command)")) == ("verify", 0, True)
    assert datetime.now(UTC) - check.at < timedelta(minutes=1)


async def test_comparison_is_recorded_by_day(agent: Agent) -> None:
    """The costs of both sides; the newest comparison of a day counts."""
    for amount in ("1.5", "2.5"):
        figure = CostFigure(day=DAY, line_item="x", amount=Decimal(amount))
        await agent.administration.reconciler.reconcile(
            Figures(usage=[], usage_days={}, costs=[figure], cost_days=(DAY, DAY))
        )
    [day] = await agent.administration.checks.reconciled_days(days=10_000)
    assert (day.day, day.ledger_cost, day.openai_cost) == (DAY, 0, Decimal("2.5"))


async def test_check_works_where_nothing_can_be_written(agent: Agent) -> None:
    """A standby server, for example: the findings are returned all the same."""
    await agent.store.fetch("SET default_transaction_read_only = on")
    try:
        assert await agent.administration.ledger.verify() == []
    finally:
        await agent.store.fetch("SET default_transaction_read_only = off")
    assert await agent.administration.checks.last() == {}


async def test_old_checks_are_deleted(agent: Agent) -> None:
    """Those of more than 400 days, with their days."""
    old = datetime.now(UTC) - timedelta(days=401)

    def check(at: datetime) -> LedgerCheck:
        return LedgerCheck(kind="reconcile", at=at, actor="carol", findings=0, summary="")

    await add_check(agent.store, check(old), [(DAY, Decimal(1), Decimal(1))])
    await add_check(agent.store, check(datetime.now(UTC)))
    [(checks, days)] = await agent.store.fetch(
        "SELECT (SELECT count(*) FROM ledger_checks), (SELECT count(*) FROM reconciled_days)"
    )
    assert (checks, days) == (1, 0)
