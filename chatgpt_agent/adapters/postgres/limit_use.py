"""The table `limit_use`: what each agent has used of rate limits, for the others.

A notice has the figures themselves, so that agents need not read them. The table has them for agents that start, and in
case a notice is lost. It is not in PostgreSQL's log (UNLOGGED): after a crash or on a replica that takes over it is
empty, and agents publish again what they know.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.cooperative import map_cooperatively
from chatgpt_agent.adapters.postgres.agents import ALIVE_SQL
from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.core.budget.shared_use import Publication, PublishedUse, Use

LIMITS_CHANNEL = "chatgpt_agent_limits"
_IN_NOTICE = 70  # uses of 110 bytes at most; the payload of a notice holds 8,000
_FIGURES = ("requests", "tokens", "running", "requests_used", "tokens_used")
_COLUMNS = ("run", "number", *_FIGURES, "updated_at")


class AliveAgents(msgspec.Struct, frozen=True):
    """The agents that are alive, those that have published something with their runs, and the time by the server's
    clock."""

    now: datetime
    ids: set[UUID]
    runs: set[tuple[UUID, UUID]]


async def read_alive_agents(store: Store) -> AliveAgents:
    """Returns the agents that are alive."""
    sql = f"""
        SELECT CURRENT_TIMESTAMP, a.id, u.run FROM (VALUES (0)) one
        LEFT JOIN agents a ON {ALIVE_SQL}
        LEFT JOIN (SELECT DISTINCT agent_id, run FROM limit_use) u ON u.agent_id = a.id"""
    rows = await store.fetch(sql)
    return AliveAgents(
        now=rows[0][0],
        ids={UUID(agent) for _, agent, _ in rows if agent is not None},
        runs={(UUID(agent), UUID(run)) for _, agent, run in rows if run is not None},
    )


async def publish_uses(store: Store, publication: Publication) -> None:
    """Stores what an agent has used, and notifies the others."""
    columns = ", ".join(_COLUMNS)
    values = ", ".join(f"excluded.{name}" for name in _COLUMNS)
    sql = f"""
        WITH published AS (
            SELECT text FROM unnest(%s::text[]) AS t(text)
        ), uses AS MATERIALIZED (   -- parsed once
            SELECT jsonb_array_elements(text::jsonb -> 3) AS u FROM published
        ), stored AS (
            INSERT INTO limit_use (agent_id, owner_kind, owner_id, {columns})
            SELECT %s::uuid, u ->> 0, (u -> 1)::bigint, %s::uuid, %s, (u -> 2)::bigint, (u -> 3)::bigint,
                   (u -> 4)::integer, (u -> 5)::float8, (u -> 6)::float8, CURRENT_TIMESTAMP
            FROM uses
            ON CONFLICT (agent_id, owner_kind, owner_id) DO UPDATE SET ({columns}) = ROW ({values})
        )
        SELECT pg_notify('{LIMITS_CHANNEL}', text) FROM published"""
    ids = [str(publication.agent), str(publication.run), publication.number]
    await store.fetch(sql, [_payloads(publication), *ids])


async def read_uses(store: Store, since: datetime | None) -> list[PublishedUse]:
    """Returns what agents have published since a moment, or ever; also of agents that have ended, for a while."""
    sql = f"""
        SELECT agent_id, run, number, extract(epoch FROM CURRENT_TIMESTAMP - updated_at)::float8,
               owner_kind, owner_id, {", ".join(_FIGURES)}
        FROM limit_use WHERE updated_at >= %s OR %s"""
    return await map_cooperatively(_published_use, await store.fetch(sql, [since, since is None]))


def _published_use(row: SqlRow) -> PublishedUse:
    agent, run, number, age, *use = row
    return PublishedUse(UUID(agent), UUID(run), number, Use(*use), max(0.0, age))


async def delete_uses(store: Store, agent: UUID) -> None:
    """Deletes what an agent has published, and what agents that ended long ago have."""
    sql = f"""
        DELETE FROM limit_use u WHERE agent_id = %s OR (
            updated_at < CURRENT_TIMESTAMP - interval '1 hour'
            AND NOT EXISTS (SELECT FROM agents a WHERE a.id = u.agent_id AND {ALIVE_SQL}))"""
    await store.fetch(sql, [str(agent)])


def _payloads(publication: Publication) -> list[str]:
    """Returns a publication as JSON, in parts that fit into notices."""
    uses = publication.uses
    parts = [uses[start : start + _IN_NOTICE] for start in range(0, max(1, len(uses)), _IN_NOTICE)]
    return [msgspec.json.encode(msgspec.structs.replace(publication, uses=part)).decode() for part in parts]


def parse_notices(payloads: Sequence[str]) -> list[Publication]:
    """Returns the publications in notices. What another version wrote and this one cannot read is left out."""
    publications = []
    for payload in payloads:
        try:
            publications.append(msgspec.json.decode(payload, type=Publication))
        except msgspec.DecodeError:
            continue
    return publications
