"""An agent behind a real PgBouncer with its default configuration, in both modes."""

from collections.abc import Iterator

import pytest

from tests.conftest import MakeAgent
from tests.support.pgbouncer import MISSING, PGBOUNCER, pgbouncer
from tests.support.postgres_server import server_folder

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason=MISSING)


@pytest.fixture(params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, dsn: str) -> Iterator[str]:
    """The test's database behind PgBouncer; its connection string."""
    with server_folder() as folder, pgbouncer(folder, dsn, request.param) as pooled_dsn:
        yield pooled_dsn


async def test_agent_serves_behind_pgbouncer(pooled: str, make_agent: MakeAgent) -> None:
    """Requests are answered and recorded, and a new token works; the oracle finds the ledger right."""
    agent = await make_agent(database_url=pooled)
    for _ in range(3):
        assert (await agent.chat()).status == 200
    agent.token = await agent.add_user("bob")
    assert (await agent.chat()).status == 200
    assert [row["state"] for row in await agent.rows(4)] == ["done"] * 4
    assert await agent.administration.ledger.verify() == []
