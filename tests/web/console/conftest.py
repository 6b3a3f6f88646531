"""Fixtures: browsers of an admin and a viewer who are signed in, and one of a stranger."""

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.admin.admins import Role
from tests.support.agent import Agent
from tests.support.console import ConsoleClient, add_admin, sign_in


@pytest.fixture
def admin(agent: Agent, io_loop: IOLoop) -> ConsoleClient:
    """The browser of an admin."""
    client: ConsoleClient = io_loop.run_sync(lambda: sign_in(agent))
    return client


@pytest.fixture
def viewer(agent: Agent, io_loop: IOLoop) -> ConsoleClient:
    """The browser of a viewer."""
    client: ConsoleClient = io_loop.run_sync(lambda: sign_in(agent, "vera", Role.VIEWER))
    return client


@pytest.fixture
def stranger(agent: Agent, io_loop: IOLoop) -> ConsoleClient:
    """A browser that is not signed in, of an agent that has an admin."""
    io_loop.run_sync(lambda: add_admin(agent))
    return ConsoleClient(agent)
