"""The ledger compared with OpenAI's own figures. Nothing is changed."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.files import read_limited
from chatgpt_agent.adapters.postgres import reconcile
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.lookups import check_user
from chatgpt_agent.core.csv_reader import trimmed
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.openai_export import MAX_FILE, read_figures
from chatgpt_agent.core.openai_usage import Figures, merge
from chatgpt_agent.core.reconcile import Reconciliation, compare, days_to_compare


class Reconciler:
    """Use case: what differs between the ledger and OpenAI's figures, and in which rows it may lie."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def reconcile(
        self, figures: Figures, *, month: date | None = None, keys: Mapping[str, str] | None = None
    ) -> Reconciliation:
        """Compares a month (given by its first day), or the days of the figures. `keys`: names of users by the ids of
        their OpenAI keys. Raises NotFound, InvalidValue."""
        keys = keys or {}
        await self._check_users(keys.values())
        spans = [span for days in (figures.usage_days, figures.cost_days) if (span := days_to_compare(month, days))]
        if not spans:
            raise InvalidValue("there are no figures to compare with")
        first, last = min(span[0] for span in spans), max(span[1] for span in spans)
        sums = await reconcile.ledger_sums(self._store, first, last)
        candidates = await reconcile.candidate_rows(self._store, first, last)
        # In a thread: a month of many keys takes long enough to delay requests.
        return await asyncio.to_thread(compare, figures, sums, candidates, keys=keys, month=month)

    async def _check_users(self, names: Iterable[str]) -> None:
        for name in names:
            await check_user(self._store, name)


def _days(month: date) -> tuple[date, date]:
    days = days_to_compare(month, (month, month))
    assert days is not None, "a month has days"
    return days


def parse_keys(texts: Iterable[str]) -> dict[str, str]:
    """Names of users by the ids of their OpenAI keys, out of `KEYID=USER`. Raises InvalidValue."""
    keys: dict[str, str] = {}
    for text in texts:
        key, _, user = text.partition("=")
        if not (key and user):
            raise InvalidValue(f"{text!r} is not KEYID=USER")
        if key in keys:
            raise InvalidValue(f"the key {key!r} is named twice")
        keys[key] = user
    return keys


def read_files(paths: Iterable[Path]) -> Figures:
    """The figures in files: JSON of OpenAI's organization API, or CSV exports of its dashboard. Raises InvalidValue."""
    return merge([page for path in paths for page in read_figures(read_limited(path, MAX_FILE), str(path))])


async def read_body(body: bytes) -> Figures:
    """As `read_files`, out of the body of a request."""
    # In a thread: a month of many keys takes long enough to delay requests.
    return await asyncio.to_thread(lambda: merge(read_figures(trimmed(body, "the body"), "the body")))


async def fetch_month(config: Config, admin_key_file: Path, month: date) -> Figures:
    """The figures of a month (given by its first day) from OpenAI's organization API. Raises SetupError, UpstreamError,
    InvalidValue."""
    # Only here: it imports Tornado and curl, which no other command needs.
    from chatgpt_agent.adapters.openai_organization_api import fetch_figures, read_admin_key

    key = read_admin_key(admin_key_file)
    return merge(await fetch_figures(config.upstream, key, *_days(month)))
