"""The ledger as administrators inspect it: its status, its rows, and the checks that prove it consistent."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.outbox import OutboxState, read_state
from chatgpt_agent.adapters.postgres import usage_rows
from chatgpt_agent.adapters.postgres.agents import AgentState, agent_states, read_position
from chatgpt_agent.adapters.postgres.books import UncertainSum, states_since, uncertain_since
from chatgpt_agent.adapters.postgres.checks import Finding, run_checks
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import count_dead_letters
from chatgpt_agent.adapters.postgres.usage_rows import ROW_FIELDS, StateSum, UsageRow
from chatgpt_agent.admin.archives import Archive, Archives, missing_row
from chatgpt_agent.admin.checks import VERIFY, CheckLog
from chatgpt_agent.admin.lookups import check_model, check_token, check_user
from chatgpt_agent.admin.stored_values import check_values
from chatgpt_agent.core.ledger import State

__all__ = [
    "ROW_FIELDS",
    "AgentState",
    "Finding",
    "LedgerInspector",
    "LedgerStatus",
    "OutboxState",
    "UsageRow",
    "StateSum",
]

MAX_WAITING = 300  # seconds that a row may wait to be shipped before `verify` reports it


class LedgerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by state, what each agent reported, and how many rows were rejected. `unknown_usage_fields`: names in
    OpenAI's usages that no agent knows, and how many answers had each since the agents started; something new may be
    charged. `unpriced_models`: models without a price that clients asked for, and how often. `uncertain`: rows of which
    the cost may differ from OpenAI's, by reason. `archives`: archived months, whose rows are in none of these."""

    rows: list[StateSum]
    agents: list[AgentState]
    dead_letters: int
    unknown_usage_fields: dict[str, int]
    unpriced_models: dict[str, int]
    uncertain: list[UncertainSum]
    archives: list[Archive]


class Findings(msgspec.Struct, frozen=True):
    """An empty list: the ledger is consistent."""

    findings: list[Finding]


class LedgerInspector:
    """Use cases on the ledger. They change nothing. Checks read the whole ledger, on a connection of their own, and are
    recorded."""

    def __init__(self, store: Store, proofs: Store, checks: CheckLog, archives: Archives) -> None:
        self._store = store
        self._archives = archives
        self._proofs = proofs
        self._checks = checks

    async def status(self, *, since: datetime | None = None) -> LedgerStatus:
        """The status of the ledger, with the rows since a moment, or all."""
        agents = await agent_states(self._store)
        return LedgerStatus(
            rows=await (states_since(self._store) if since is None else usage_rows.rows_by_state(self._store, since)),
            agents=agents,
            dead_letters=await count_dead_letters(self._store),
            unknown_usage_fields=added_counts(agent.unknown_usage_fields for agent in agents),
            unpriced_models=added_counts(agent.unpriced_models for agent in agents),
            uncertain=await uncertain_since(self._store, since),
            archives=await self._archives.between(since, None),
        )

    async def rows(
        self,
        *,
        states: Sequence[State] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        user: str | None = None,
        token_id: int | None = None,
        model: str | None = None,
        endpoint: str | None = None,
        after: tuple[datetime, UUID] | None = None,
        limit: int,
    ) -> list[UsageRow]:
        """Lists at most `limit` rows, the newest first: in one of these states, or in any; before `until`; of a user,
        a token, a requested model, an endpoint; those behind the row with the time and id of `after`. Raises NotFound
        for a user, token or model that never existed."""
        await check_user(self._store, user)
        await check_token(self._store, token_id)
        rows = await usage_rows.list_rows(
            self._store,
            states=states,
            since=since,
            until=until,
            user=user,
            token_id=token_id,
            model=model,
            endpoint=endpoint,
            after=after,
            limit=limit,
        )
        if not rows and after is None:
            await check_model(self._store, model)
        return rows

    async def row(self, request_id: UUID) -> UsageRow:
        """Returns the row of a request. Raises NotFound."""
        rows = await usage_rows.list_rows(self._store, request_id=request_id, limit=1)
        if not rows:
            raise await missing_row(self._store, request_id)
        return rows[0]

    async def verify(
        self,
        *,
        limit: int = 100,
        waiting: float = MAX_WAITING,
        data_dir: Path | None = None,
        keyring: Keyring | None = None,
        archive: Path | None = None,
    ) -> list[Finding]:
        """Finds everything that is wrong with the ledger, at most `limit` findings of each check. Rows must not wait to
        be shipped for more than `waiting` seconds, neither in the outboxes that agents report nor in the one of
        `data_dir`. With a keyring, the stored OpenAI keys are checked, too; with a folder `archive`, the files of all
        archived months."""
        findings = await run_checks(self._proofs, limit) + await check_values(self._proofs, keyring, limit)
        outbox = None if data_dir is None else read_outbox(data_dir)  # first: the ledger only gets more rows
        agents = await agent_states(self._proofs)
        findings += [] if archive is None else await self._archives.check_files(archive)
        findings += await self._not_in_ledger(outbox) + _lost(agents) + _overdue(outbox, agents, waiting)
        checks = ", ".join(sorted({finding.check for finding in findings}))
        await self._checks.record(VERIFY, len(findings), checks)
        return findings

    async def _not_in_ledger(self, outbox: OutboxState | None) -> list[Finding]:
        """Compares how many rows an outbox has shipped with how many of them the ledger has."""
        if outbox is None or outbox.agent_id is None:
            return []
        ledger_id, shipped = await read_position(self._proofs, outbox.agent_id)
        if outbox.ledger_id != ledger_id or shipped >= outbox.shipped:
            return []
        text = (
            f"its outbox has shipped {outbox.shipped} rows, the ledger has {shipped} of them: it ships the rest again"
        )
        return [Finding("shipped rows", f"agent {outbox.agent_id}", f"{text} when it runs")]


def read_outbox(data_dir: Path) -> OutboxState | None:
    """The state of the outbox in this directory; None if there is none."""
    return read_state(data_dir)


def added_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Returns the sums of counters, by name."""
    return dict(sorted(sum(map(Counter, counts), Counter[str]()).items()))


def _lost(agents: Iterable[AgentState]) -> list[Finding]:
    return [
        Finding("lost rows", f"agent {agent.id}", f"a server lost {agent.lost_rows} rows that it had confirmed")
        for agent in agents
        if agent.lost_rows
    ]


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
