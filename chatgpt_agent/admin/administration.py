"""All use cases of administrators, for one actor. Commands and REST call these and nothing below.

To add one: write it in a file of this package, and give it an attribute here.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.admins import Admins
from chatgpt_agent.admin.archives import Archives
from chatgpt_agent.admin.audit import AuditLog
from chatgpt_agent.admin.books import BooksReader
from chatgpt_agent.admin.budgets import BudgetAdmin
from chatgpt_agent.admin.checks import CheckLog
from chatgpt_agent.admin.corrections import Corrections
from chatgpt_agent.admin.ledger import LedgerInspector
from chatgpt_agent.admin.legacy_import import LegacyImport
from chatgpt_agent.admin.master_key import MasterKeyChange
from chatgpt_agent.admin.model_use import ModelUseReader
from chatgpt_agent.admin.overview import OverviewReader
from chatgpt_agent.admin.price_import import PriceImport
from chatgpt_agent.admin.price_what_if import WhatIf
from chatgpt_agent.admin.prices import Prices
from chatgpt_agent.admin.proofs import Proofs
from chatgpt_agent.admin.reconcile import Reconciler
from chatgpt_agent.admin.reports import Reports
from chatgpt_agent.admin.surcharges import SurchargeAdmin
from chatgpt_agent.admin.system import SystemReader
from chatgpt_agent.admin.tokens import Tokens
from chatgpt_agent.admin.user_import import UserImport
from chatgpt_agent.admin.user_list import UserLister
from chatgpt_agent.admin.users import Users
from chatgpt_agent.admin.warnings import Warn, no_warning
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.runtime.master_key import master_key_path

CHANGE_SECONDS = 60.0  # for a statement that changes something
REPORT_SECONDS = 3600.0  # for a statement that may read the whole ledger


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    """Four connections, because each runs one statement at a time: a report does not delay a revocation, a comparison
    with OpenAI's figures does not delay a report, and the check of a large ledger delays neither of them."""

    changes: Store
    reports: Store
    proofs: Store
    checks: Store

    async def close(self) -> None:
        """Ends the connections."""
        for store in (self.changes, self.reports, self.proofs, self.checks):
            await store.close()


class LedgerAdministration:
    """The use cases that need no master key. `warn` is called with each warning about what an administrator has
    probably not meant."""

    def __init__(self, config: Config, stores: Stores, actor: Actor, *, warn: Warn = no_warning) -> None:
        self.config = config
        self.stores = stores
        self.actor = actor
        changes = stores.changes.with_actor(actor)
        self.audit = AuditLog(stores.reports)
        self.budgets = BudgetAdmin(changes, warn)
        self.corrections = Corrections(changes)
        self.checks = CheckLog(stores.changes, stores.reports, actor)
        self.archives = Archives(stores.checks, actor)
        self.ledger = LedgerInspector(stores.reports, stores.checks, self.checks, self.archives)
        self.proofs = Proofs(stores.reports)
        self.books = BooksReader(stores.reports, self.checks)
        self.reconciler = Reconciler(stores.proofs, self.checks)
        self.reports = Reports(stores.reports)
        self.system = SystemReader(stores.reports, config)
        self.user_list = UserLister(stores.reports)
        self.model_use = ModelUseReader(stores.reports)
        self.overview = OverviewReader(stores.reports)


class Administration(LedgerAdministration):
    """All use cases. `now`: the clock of users, tokens, and the audit log of their changes."""

    def __init__(
        self,
        config: Config,
        stores: Stores,
        actor: Actor,
        keyring: Keyring,
        *,
        warn: Warn = no_warning,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(config, stores, actor, warn=warn)
        self._keyring = keyring
        changes = stores.changes.with_actor(actor, now=now)
        self.users = Users(changes, keyring, warn, now=now)
        self.tokens = Tokens(changes, keyring, warn, now=now)
        self.user_import = UserImport(changes, keyring, warn)
        self.admins = Admins(changes, keyring, warn)
        self.prices = Prices(changes, warn)
        self.price_import = PriceImport(changes, self.prices, host=config.openai_host, warn=warn)
        self.surcharges = SurchargeAdmin(changes, host=config.openai_host, warn=warn)
        self.what_if = WhatIf(stores.proofs)
        self.legacy_import = LegacyImport(stores.changes, keyring, actor)
        self.master_key = MasterKeyChange(changes, stores.checks, keyring, master_key_path(config))

    def at(self, moment: datetime) -> "Administration":
        """Returns the same use cases, which add users and tokens as if it were this moment."""
        return Administration(self.config, self.stores, self.actor, self._keyring, now=lambda: moment)


@contextlib.asynccontextmanager
async def open_stores(dsn: str) -> AsyncIterator[Stores]:
    """Connections for one command, which may wait longer for a statement than a request may."""
    stores = Stores(
        changes=Store(dsn, seconds=CHANGE_SECONDS),
        reports=Store(dsn, seconds=REPORT_SECONDS),
        proofs=Store(dsn, seconds=REPORT_SECONDS),
        checks=Store(dsn, seconds=REPORT_SECONDS),
    )
    try:
        yield stores
    finally:
        await stores.close()
