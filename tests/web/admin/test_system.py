"""The system over REST."""

import json

import pytest

from tests.support.administrator import Administrator

pytestmark = pytest.mark.shared_agent


async def test_system_has_the_agents_own_contact(admin: Administrator) -> None:
    """The time is that of the last answer to a request of this agent."""
    system = (await admin.ask("GET", "/system")).json
    answered_at = admin.agent.server.figures.upstream.answered_at
    assert answered_at is not None
    assert system["upstream"]["answered_at"] == answered_at.isoformat().replace("+00:00", "Z")


async def test_system_shows_no_connection_string(admin: Administrator) -> None:
    """The database's URL may have a password."""
    answer = await admin.ask("GET", "/system")
    assert str(admin.agent.config.database_url) not in json.dumps(answer.json)
