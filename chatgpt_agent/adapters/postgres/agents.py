"""The table `agents`: what each agent last reported about itself."""

from datetime import datetime
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.connection import Store


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent reports of its outbox: the number of rows in it, when the oldest of them began, and when rows were
    last shipped. `id` is that of the outbox."""

    id: UUID
    seen_at: datetime
    last_shipped_at: datetime | None
    backlog: int
    oldest_at: datetime | None


async def report_agent(store: Store, state: AgentState) -> None:
    """Stores an agent's state."""
    sql = """
        INSERT INTO agents AS a (id, seen_at, last_shipped_at, backlog, oldest_at) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, backlog = excluded.backlog,
            last_shipped_at = coalesce(excluded.last_shipped_at, a.last_shipped_at), oldest_at = excluded.oldest_at"""
    await store.fetch(sql, [str(state.id), state.seen_at, state.last_shipped_at, state.backlog, state.oldest_at])


async def agent_states(store: Store) -> list[AgentState]:
    """Returns the last state of each agent."""
    rows = await store.fetch("SELECT id, seen_at, last_shipped_at, backlog, oldest_at FROM agents ORDER BY seen_at")
    return [
        AgentState(id=UUID(str(id_)), seen_at=seen_at, last_shipped_at=shipped_at, backlog=backlog, oldest_at=oldest_at)
        for id_, seen_at, shipped_at, backlog, oldest_at in rows
    ]


async def count_agents(store: Store, since: datetime) -> int:
    """Returns the number of agents that have reported since a moment."""
    [(count,)] = await store.fetch("SELECT count(*) FROM agents WHERE seen_at >= %s", [since])
    return int(count)
