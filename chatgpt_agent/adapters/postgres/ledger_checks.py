"""The tables `ledger_checks` and `reconciled_days`: checks of the books, with author and result."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.core.money.exact import EXACT

VERIFY, RECONCILE = "verify", "reconcile"  # kinds of checks
DAYS_STORED = 400  # of comparisons with OpenAI: older ones are deleted with the next check
CHECKS_STORED = 1000


class LedgerCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A check of the ledger. `findings` 0: nothing is wrong, or nothing differs."""

    kind: str
    at: datetime
    actor: str
    findings: int
    summary: str


class ReconciledDay(msgspec.Struct, frozen=True, kw_only=True):
    """What a day (UTC) cost by the ledger and by OpenAI's figures, in USD, when they were compared last (`at`)."""

    day: date
    ledger_cost: Decimal
    openai_cost: Decimal
    at: datetime

    @property
    def difference(self) -> Decimal:
        """How much more OpenAI charged than the ledger has, in USD."""
        return EXACT.subtract(self.openai_cost, self.ledger_cost)


async def add_check(store: AnyStore, check: LedgerCheck, days: Sequence[tuple[date, Decimal, Decimal]] = ()) -> None:
    """Adds a check; `days`: costs of the ledger and of OpenAI by day. Removes those that are too old."""
    sql = f"""
        WITH added AS (
            INSERT INTO ledger_checks (kind, at, actor, findings, summary) VALUES (%s, %s, %s, %s, %s) RETURNING id
        ), old AS (
            DELETE FROM ledger_checks WHERE kind = %s AND (at < %s - interval '{DAYS_STORED} days' OR id <= (
                SELECT id FROM ledger_checks WHERE kind = %s ORDER BY id DESC OFFSET {CHECKS_STORED} LIMIT 1))
        )
        INSERT INTO reconciled_days (check_id, day, ledger_cost, openai_cost)
        SELECT added.id, d.day, d.ledger, d.openai
        FROM added, unnest(%s::date[], %s::numeric[], %s::numeric[]) AS d (day, ledger, openai)"""
    columns = [list(column) for column in zip(*days, strict=True)] or [[], [], []]
    values = [check.kind, check.at, check.actor, check.findings, check.summary]
    await store.fetch(sql, [*values, check.kind, check.at, check.kind, *columns])


async def last_checks(store: AnyStore) -> dict[str, LedgerCheck]:
    """Returns the newest check of each kind."""
    sql = "SELECT DISTINCT ON (kind) kind, at, actor, findings, summary FROM ledger_checks ORDER BY kind, at DESC"
    names = LedgerCheck.__struct_fields__
    checks = [LedgerCheck(**dict(zip(names, row, strict=True))) for row in await store.fetch(sql)]
    return {check.kind: check for check in checks}


async def last_difference(store: AnyStore) -> Decimal | None:
    """Returns how much more OpenAI charged than the ledger has, in USD, over the days that were compared last; None: no
    days were compared yet."""
    sql = """
        SELECT sum(openai_cost - ledger_cost) FROM reconciled_days
        WHERE check_id = (SELECT max(check_id) FROM reconciled_days)"""
    [(difference,)] = await store.fetch(sql)
    return None if difference is None else Decimal(difference)


async def reconciled_days(store: AnyStore, since: date) -> list[ReconciledDay]:
    """Returns the newest comparison of each day since this one, the newest day first."""
    sql = """
        SELECT DISTINCT ON (d.day) d.day, d.ledger_cost, d.openai_cost, c.at
        FROM reconciled_days d JOIN ledger_checks c ON c.id = d.check_id WHERE d.day >= %s
        ORDER BY d.day DESC, c.at DESC"""
    names = ReconciledDay.__struct_fields__
    return [ReconciledDay(**dict(zip(names, row, strict=True))) for row in await store.fetch(sql, [since])]
