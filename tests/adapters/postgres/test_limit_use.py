"""The table of what agents have used of rate limits, and its notices."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg2
import pytest

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.limit_use import parse_notices
from chatgpt_agent.core.budget.shared_use import Publication, Use
from chatgpt_agent.runtime.limit_store import PostgresLimitStore
from tests.support.database import query

ONE, OTHER, RUN, LATER_RUN = (UUID(int=number) for number in range(1, 5))
ALIVE = "INSERT INTO agents (id, seen_at, backlog) VALUES (%s, now(), 0)"


def use(id: int = 1, requests: int = 5) -> Use:
    """What an agent has used of a user's limits."""
    return Use(
        kind="user", id=id, requests=requests, tokens=-3, running=2, requests_used=requests + 0.125, tokens_used=0.0
    )


async def test_published_figures_are_stored_and_in_the_notice(dsn: str) -> None:
    """Each agent has one row of an owner, with the last figures; a listener gets the same."""
    store = PostgresLimitStore(Store(dsn), Store(dsn))
    assert await store.wait_for_publications(0.1) is None
    last = Publication(ONE, RUN, 2, [use(requests=7)])
    for each in (Publication(ONE, RUN, 1, [use()]), last):
        await store.publish(each)
    heard: list[Publication] = []
    while len(heard) < 2:
        heard += await store.wait_for_publications(5) or []
    [row] = await store.read_uses(None)
    assert (heard[-1], row.agent, row.run, row.number, row.use) == (last, ONE, RUN, 2, last.uses[0])
    assert 0 <= row.age < 3600  # a run may be slow
    assert await store.read_uses(datetime.now(UTC) + timedelta(hours=1)) == []
    await store.close()


async def test_many_figures_are_published_in_several_notices(dsn: str) -> None:
    """A notice holds 8,000 bytes."""
    store = PostgresLimitStore(Store(dsn), Store(dsn))
    await store.wait_for_publications(0.1)
    uses = [use(id=2**62 + number, requests=10**12) for number in range(200)]
    await store.publish(Publication(ONE, RUN, 1, uses))
    heard: list[Use] = []
    while len(heard) < 200:
        heard += [each for publication in await store.wait_for_publications(5) or [] for each in publication.uses]
    assert (heard, len(await store.read_uses(None))) == (uses, 200)
    await store.close()


async def test_alive_agents_have_their_runs(dsn: str) -> None:
    """Agents that have ended are left out, and what they have published stays."""
    store = PostgresLimitStore(Store(dsn), Store(dsn))
    assert (await store.read_alive_agents()).ids == set()
    query(dsn, ALIVE, [str(ONE)])
    for agent in (ONE, OTHER):
        await store.publish(Publication(agent, RUN, 1, [use(1), use(2)]))
    alive = await store.read_alive_agents()
    assert (alive.ids, alive.runs) == ({ONE}, {(ONE, RUN)})
    assert len(await store.read_uses(None)) == 4
    await store.close()


async def test_figures_of_an_agent_are_deleted_and_those_of_agents_long_gone(dsn: str) -> None:
    """Those of agents that are alive stay, however old they are."""
    store = PostgresLimitStore(Store(dsn), Store(dsn))
    query(dsn, ALIVE, [str(UUID(int=7))])
    for number in (7, 8, 9):
        await store.publish(Publication(UUID(int=number), RUN, 1, [use()]))
    query(dsn, "UPDATE limit_use SET updated_at = now() - interval '2 hours'")
    for agent in (ONE, OTHER):
        await store.publish(Publication(agent, RUN, 1, [use()]))
    await store.delete_uses(ONE)
    assert {row.agent for row in await store.read_uses(None)} == {OTHER, UUID(int=7)}
    await store.close()


def test_a_notice_that_cannot_be_read_is_left_out() -> None:
    """Anyone who may connect to the database can send one."""
    good = f'["{ONE}","{RUN}",3,[["token",1,2,3,4,0.5,6,"of a later version"]],7]'
    assert [each.number for each in parse_notices(["", "*", "[]", '["x","y",1,[]]', good])] == [3]


@pytest.mark.parametrize("column", ["requests_used", "tokens_used"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1"])
def test_database_refuses_figures_that_are_no_amounts(dsn: str, column: str, value: str) -> None:
    """A bucket that lacks such an amount would never be full again."""
    figures = {"requests_used": "0", "tokens_used": "0", column: value}
    sql = "INSERT INTO limit_use VALUES (%s, 'user', 1, %s, 1, 1, 1, 1, %s, %s, now())"
    with pytest.raises(psycopg2.errors.CheckViolation):
        query(dsn, sql, [str(ONE), str(RUN), *figures.values()])
