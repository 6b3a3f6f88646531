"""The ledger against OpenAI's figures, and its corrections. Every face (commands, REST) calls these."""

import asyncio
import os
import time
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.files import read_limited
from chatgpt_agent.adapters.postgres import corrections, reconcile
from chatgpt_agent.adapters.postgres import users as accounts
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.audit import SYSTEM, Actor
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.exact import EXACT
from chatgpt_agent.core.money.kinds import TOKEN_KINDS
from chatgpt_agent.core.openai_export import MAX_FILE, read_figures
from chatgpt_agent.core.openai_usage import Figures, Page
from chatgpt_agent.core.reconcile import Reconciliation, compare, whole
from chatgpt_agent.core.usage import MAX_COUNT, Usage

MAX_REASON = 500


class Corrected(msgspec.Struct, frozen=True):
    """A correction: its own request id, and the row's tokens and USD before and after it."""

    request_id: UUID
    corrects: UUID
    before: Usage | None
    after: Usage
    cost_before: Decimal
    cost_after: Decimal


class Reconciler:
    """What can be asked of the ledger as an account, and the one way to change it."""

    def __init__(self, store: Store, actor: Actor = SYSTEM) -> None:
        self._store = store
        self._acting = store.with_actor(actor)

    async def reconcile(
        self, figures: Figures, *, month: date | None = None, keys: Mapping[str, str] | None = None
    ) -> Reconciliation:
        """Compares a month (given by its first day), or the days that the figures speak of. `keys` maps ids of OpenAI's
        keys to users' names. Raises NotFound, InvalidValue."""
        keys = keys or {}
        known = {user.name for user in await accounts.list_users(self._store)} if keys else set()
        for name in keys.values():
            if name not in known:
                raise NotFound(f"there is no user {name!r}")
        spans = [span for days in (figures.usage_days, figures.cost_days) if (span := whole(month, days))]
        if not spans:
            raise InvalidValue("there are no figures to compare with")
        first, last = min(span[0] for span in spans), max(span[1] for span in spans)
        sums = await reconcile.ledger_sums(self._store, first, last)
        suspects = await reconcile.candidate_rows(self._store, first, last)
        # Apart, because a month of many keys takes long enough for others to notice.
        return await asyncio.to_thread(compare, figures, sums, suspects, keys=keys, month=month)

    async def correct(self, request_id: UUID, usage: Usage, reason: str) -> Corrected:
        """Adds a row with a reason that makes this request's tokens what they are said to be, and its cost what they
        cost at the row's own price. Raises InvalidValue, NotFound, Conflict (it is corrected already)."""
        reason = _checked(usage, reason)
        row = await corrections.read_correctable_row(self._store, request_id)
        if row is None:
            raise NotFound(f"there is no row {request_id}")
        if row.state is State.CORRECTION:
            raise InvalidValue(f"{request_id} is a correction itself, which cannot be corrected")
        if row.price is None:
            raise InvalidValue(f"the price of {request_id} is not there, so that its cost cannot be told")
        if row.corrected_by is not None:
            raise Conflict(f"{request_id} is corrected already, by {row.corrected_by}")
        before = row.usage or Usage(input=0, output=0)
        after = msgspec.structs.replace(usage, **_unnamed_parts(before, usage))
        if after == row.usage:
            raise InvalidValue(f"{request_id} has these tokens already")
        cost = row.price.cost(after, row.service_tier)
        own_id = uuid7(time.time_ns() // 1_000_000, os.urandom(10))
        added = await corrections.add_correction(
            self._acting,
            row,
            request_id=own_id,
            usage=_difference(after, before),
            cost=EXACT.subtract(cost, row.cost),
            reason=reason,
        )
        if not added:
            raise Conflict(f"{request_id} is corrected already")
        return Corrected(own_id, request_id, row.usage, after, row.cost, cost)


def read_figure_file(path: Path) -> list[Page]:
    """Returns OpenAI's figures in a file. Raises InvalidValue with the file's name."""
    return read_figures(read_limited(path, MAX_FILE), str(path))


def _unnamed_parts(before: Usage, usage: Usage) -> dict[str, int]:
    """The counts that a correction does not name, as they were, as far as their side has room for them."""
    parts = (kind for kind in TOKEN_KINDS if kind.is_part and kind.name != "cached")
    return {kind.name: min(getattr(before, kind.name), getattr(usage, kind.side)) for kind in parts}


def _checked(usage: Usage, reason: str) -> str:
    """The reason as it is stored. Raises InvalidValue."""
    reason = reason.strip()
    if not (0 < len(reason) <= MAX_REASON and reason.isprintable()):
        raise InvalidValue(f"the reason must have 1 to {MAX_REASON} printable characters")
    if not all(0 <= count <= MAX_COUNT for count in (usage.input, usage.output, usage.cached)):
        raise InvalidValue(f"tokens are counts from 0 to {MAX_COUNT}")
    if usage.cached > usage.input:
        raise InvalidValue("cached tokens are a part of the input: there cannot be more of them")
    return reason


def _difference(after: Usage, before: Usage) -> Usage:
    return Usage(**{kind: getattr(after, kind) - getattr(before, kind) for kind in Usage.__struct_fields__})
