"""Remembers when the books were checked. That a check cannot be recorded never fails the check."""

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.ledger_checks import (
    RECONCILE,
    VERIFY,
    LedgerCheck,
    ReconciledDay,
    add_check,
    last_checks,
    reconciled_days,
)
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import StoreError

__all__ = ["RECONCILE", "VERIFY", "CheckLog", "LedgerCheck", "ReconciledDay"]

log = logging.getLogger(__name__)

MAX_SUMMARY = 300  # characters


class CheckLog:
    """Use cases on the checks that were run: record one, read the last ones."""

    def __init__(self, changes: AnyStore, reports: AnyStore, actor: Actor) -> None:
        self._changes = changes
        self._reports = reports
        self._actor = actor

    async def record(
        self, kind: str, findings: int, summary: str, days: Sequence[tuple[date, Decimal, Decimal]] = ()
    ) -> None:
        """Records a check that has just ended. `days`: what each day cost by the ledger and by OpenAI, in USD."""
        check = LedgerCheck(
            kind=kind,
            at=datetime.now(UTC),
            actor=f"{self._actor.name} ({self._actor.via})",
            findings=findings,
            summary=summary[:MAX_SUMMARY],
        )
        try:
            await add_check(self._changes, check, days)
        except StoreError as error:  # such as a read-only server
            log.info("the check could not be recorded: %s", error)

    async def last(self) -> dict[str, LedgerCheck]:
        """Returns the newest `verify` and the newest `reconcile`, if there are any."""
        return await last_checks(self._reports)

    async def reconciled_days(self, days: int = 60) -> list[ReconciledDay]:
        """Returns how the last days compared with OpenAI's costs, the newest first."""
        return await reconciled_days(self._reports, datetime.now(UTC).date() - timedelta(days=days))
