"""The ledger as an administrator inspects it: its state, its rows, and the checks that prove it consistent."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from chatgpt_agent.adapters.outbox import OutboxState, read_state
from chatgpt_agent.adapters.postgres.agents import AgentState, agent_states
from chatgpt_agent.adapters.postgres.checks import Finding, run_checks
from chatgpt_agent.adapters.postgres.connection import Store

MAX_WAITING = 300  # seconds that a row may wait to be shipped before `verify` reports it


async def verify(
    store: Store, *, limit: int = 100, waiting: float = MAX_WAITING, data_dir: Path | None = None
) -> list[Finding]:
    """Everything that is wrong with the ledger, at most `limit` findings of each check. Rows must not wait to be
    shipped for more than `waiting` seconds, neither in the outboxes that agents report nor in the one of `data_dir`."""
    findings = await run_checks(store, limit)
    outbox = None if data_dir is None else read_state(data_dir)
    return findings + _overdue(outbox, await agent_states(store), waiting)


def _overdue(outbox: OutboxState | None, agents: Iterable[AgentState], seconds: float) -> list[Finding]:
    now = datetime.now(UTC)
    backlogs = [(f"agent {agent.id}", agent.backlog, agent.oldest_at) for agent in agents]
    if outbox is not None:
        backlogs.append(("this outbox", outbox.rows, outbox.oldest_at))
    return [
        Finding("outbox", subject, f"{rows} rows wait to be shipped; the oldest began at {oldest:%Y-%m-%d %H:%M:%S}")
        for subject, rows, oldest in backlogs
        if rows and oldest is not None and (now - oldest).total_seconds() > seconds
    ]
