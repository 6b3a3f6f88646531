"""The table `agents`: what each agent last reported about itself, and how many rows of its outbox the ledger has.

Times and ages are by the server's clock: the agents' clocks may differ.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from chatgpt_agent import __version__
from chatgpt_agent.adapters.postgres.connection import ALL_USERS, SPENT_CHANNEL, AnyStore, SqlRow, Store

# Whether an agent runs: it reports once a minute, and an end in good order.
ALIVE_SECONDS = 150
ALIVE_SQL = f"a.ended_at IS NULL AND a.seen_at >= CURRENT_TIMESTAMP - interval '{ALIVE_SECONDS} s'"


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an agent. `id` is that of its outbox; `backlog`: rows to be shipped, the oldest of which began
    at `oldest_at`; `shipped_rows`: rows of its outbox that the ledger has; `lost_rows`: rows that a server lost after
    it had confirmed them, and that the outbox no longer had; `ended_at`: when it stopped in good order;
    `unknown_usage_fields`: names in OpenAI's usages that the agent does not know, and how many answers had each since
    the agent started; `unpriced_models`: the same for requests that were refused, because their model has no price;
    `in_progress`: requests at that moment; `version`: of the program; `master_keys`: ids of the keys in its key file,
    the newest first."""

    id: UUID
    seen_at: datetime
    last_shipped_at: datetime | None
    backlog: int
    oldest_at: datetime | None
    shipped_rows: int
    lost_rows: int
    ended_at: datetime | None
    unknown_usage_fields: dict[str, int]
    unpriced_models: dict[str, int]
    in_progress: int
    version: str
    master_keys: list[str]

    def runs(self, now: datetime) -> bool:
        """Whether the agent runs, as far as its last report tells. `now`: by about the server's clock."""
        return self.ended_at is None and (now - self.seen_at).total_seconds() <= ALIVE_SECONDS


class AgentReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent reports. `oldest_age`: seconds since the oldest row of its backlog began."""

    backlog: int
    oldest_age: float | None
    lost_rows: int
    ended: bool = False
    unknown_usage_fields: dict[str, int] = {}
    unpriced_models: dict[str, int] = {}
    in_progress: int = 0
    master_keys: list[str] = []


async def report_agent(store: Store, agent: UUID, report: AgentReport) -> datetime:
    """Stores a report; the last one also notifies the other agents. Returns the time by the server's clock."""
    sql = f"""
        INSERT INTO agents AS a (id, seen_at, backlog, oldest_at, lost_rows, ended_at, unknown_usage_fields,
                                 unpriced_models, in_progress, version, master_keys)
        VALUES (%s, CURRENT_TIMESTAMP, %s, CURRENT_TIMESTAMP - make_interval(secs => %s), %s,
                CASE WHEN %s THEN CURRENT_TIMESTAMP END, %s::jsonb, %s::jsonb, %s, %s, %s::text[])
        ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, backlog = excluded.backlog,
            oldest_at = excluded.oldest_at, lost_rows = excluded.lost_rows, ended_at = excluded.ended_at,
            unknown_usage_fields = excluded.unknown_usage_fields, unpriced_models = excluded.unpriced_models,
            in_progress = excluded.in_progress, version = excluded.version, master_keys = excluded.master_keys
        RETURNING seen_at, CASE WHEN %s THEN pg_notify('{SPENT_CHANNEL}', '{ALL_USERS}')::text END"""
    counters = [msgspec.json.encode(each).decode() for each in (report.unknown_usage_fields, report.unpriced_models)]
    values = [str(agent), report.backlog, report.oldest_age, report.lost_rows, report.ended, *counters]
    newer = [report.in_progress, __version__, report.master_keys]
    [(now, _)] = await store.fetch(sql, [*values, *newer, report.ended])
    return now  # type: ignore[no-any-return]


async def read_position(store: Store, agent: UUID) -> tuple[str, int]:
    """Returns the id of the ledger, which a copy or a restored backup of it shares, and how many rows of an agent's
    outbox it has."""
    sql = """
        SELECT coalesce((SELECT id FROM ledger), ''),
               coalesce((SELECT shipped_rows FROM agents WHERE id = %s), 0)"""
    [(ledger_id, shipped)] = await store.fetch(sql, [str(agent)])
    return str(ledger_id), int(shipped)


async def set_position(store: Store, agent: UUID, shipped: int) -> None:
    """Sets how many rows of an agent's outbox the ledger has."""
    sql = """
        INSERT INTO agents (id, seen_at, backlog, shipped_rows) VALUES (%s, CURRENT_TIMESTAMP, 0, %s)
        ON CONFLICT (id) DO UPDATE SET shipped_rows = excluded.shipped_rows"""
    await store.fetch(sql, [str(agent), shipped])


async def agent_states(store: Store) -> list[AgentState]:
    """Returns the last state of each agent."""
    names = AgentState.__struct_fields__
    rows = await store.fetch(f"SELECT {', '.join(names)} FROM agents ORDER BY seen_at, id")
    return [_agent_state(row) for row in rows]


def _agent_state(row: SqlRow) -> AgentState:
    values: dict[str, Any] = dict(zip(AgentState.__struct_fields__, row, strict=True))
    return AgentState(**values | {"id": UUID(str(row[0]))})


async def agents_without_key(store: AnyStore, key_id: str) -> list[AgentState]:
    """Returns the agents that are alive and have not reported a master key."""
    names = AgentState.__struct_fields__
    sql = f"""
        SELECT {", ".join(names)} FROM agents a WHERE {ALIVE_SQL} AND NOT %s = ANY(a.master_keys) ORDER BY id"""
    return [_agent_state(row) for row in await store.fetch(sql, [key_id])]


async def count_agents(store: Store) -> int:
    """Returns the number of agents that are alive."""
    [(count,)] = await store.fetch(f"SELECT count(*) FROM agents a WHERE {ALIVE_SQL}")
    return int(count)
