"""Fixtures: an administrator and a viewer of a running agent."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.admin.admins import Role
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.money.kinds import Rates
from tests.support.administrator import Administrator
from tests.support.agent import Agent


@pytest.fixture
def admin(agent: Agent, io_loop: IOLoop) -> Administrator:
    """An administrator of an agent with several users, a budget and a row."""

    async def make() -> Administrator:
        for name in ("bob", "carl"):
            await agent.add_user(name)
        await agent.administration.budgets.set(user="alice", period=Period.DAY, amount=Decimal("1.5"))
        await agent.chat()
        [row] = await agent.rows(1)
        await agent.admin_token("eve")
        one = Rates(input=Decimal(1), output=Decimal(1))
        later = datetime(2999, 1, 1, tzinfo=UTC)
        scheduled = await agent.administration.prices.set("scheduled", one, since=later)
        await agent.administration.surcharges.set("file_search", Decimal("0.0025"), since=later)
        return Administrator(agent, await agent.admin_token("carol"), row["request_id"], str(scheduled.id))

    administrator: Administrator = io_loop.run_sync(make)
    return administrator


@pytest.fixture
def viewer(admin: Administrator, io_loop: IOLoop) -> Administrator:
    """A viewer of the same agent."""
    return admin.with_token(io_loop.run_sync(lambda: admin.agent.admin_token("vic", Role.VIEWER)))
