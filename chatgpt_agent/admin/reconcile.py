"""The ledger compared with OpenAI's own figures. Nothing is changed."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.files import read_limited
from chatgpt_agent.adapters.postgres import reconcile
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.archives import check_not_archived
from chatgpt_agent.admin.checks import RECONCILE, CheckLog
from chatgpt_agent.admin.lookups import check_user
from chatgpt_agent.core.csv_reader import read_rows, trimmed
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.openai_export import MAX_FILE, read_figures
from chatgpt_agent.core.openai_usage import Figures, merge
from chatgpt_agent.core.reconcile.compare import compare, costs_by_day
from chatgpt_agent.core.reconcile.lines import Reconciliation, days_to_compare

MAX_KEYS_FILE = 16 * 1024 * 1024  # bytes


class Reconciler:
    """Use case: what differs between the ledger and OpenAI's figures, and in which rows it may lie."""

    def __init__(self, store: Store, checks: CheckLog) -> None:
        self._store = store
        self._checks = checks

    async def reconcile(
        self, figures: Figures, *, month: date | None = None, keys: Mapping[str, str] | None = None
    ) -> Reconciliation:
        """Compares a month (given by its first day), or the days of the figures. `keys`: names of users by the ids of
        their OpenAI keys or projects. Raises NotFound, InvalidValue; Conflict if rows of these days are archived."""
        keys = keys or {}
        await self._check_users(keys.values())
        days_of_figures = [*figures.usage_days.values(), figures.cost_days]
        spans = [span for days in days_of_figures if (span := days_to_compare(month, days))]
        if not spans:
            raise InvalidValue("there are no figures to compare with")
        first, last = min(span[0] for span in spans), max(span[1] for span in spans)
        begin, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (first, last))
        await check_not_archived(self._store, begin, end + timedelta(days=1))
        sums = await reconcile.ledger_sums(self._store, first, last)
        candidates = await reconcile.candidate_rows(self._store, first, last)
        # In a thread: a month of many keys takes long enough to delay requests.
        result = await asyncio.to_thread(compare, figures, sums, candidates, keys=keys, month=month)
        costs = costs_by_day(figures, sums, result.cost_days)
        await self._checks.record(RECONCILE, len(result.lines), f"{first} to {last}", costs)
        return result

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


def read_keys(path: Path) -> dict[str, str]:
    """Returns the names of users by the ids of their OpenAI keys and projects, out of a CSV file with the columns
    `user` and `api_key_id` or `project_id`. Raises InvalidValue with the file and line."""
    return keys_in(read_limited(path, MAX_KEYS_FILE), str(path))


def keys_in(data: bytes, name: str) -> dict[str, str]:
    """As `read_keys`, out of a trimmed file of this name."""
    try:
        return _keys_of_rows(read_rows(data))
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error.message}") from None


def merged_keys(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """Returns the users of both. Raises InvalidValue if a key has another user in each."""
    for key, user in other.items():
        if one.get(key, user) != user:
            raise InvalidValue(f"the key {key!r} belongs to {one[key]!r} and to {user!r}")
    return {**one, **other}


def _keys_of_rows(rows: Sequence[tuple[int, list[str]]]) -> dict[str, str]:
    header = [cell.strip().lower() for cell in rows[0][1]]
    columns = [index for index, name in enumerate(header) if name in ("api_key_id", "project_id")]
    if "user" not in header or not columns:
        raise InvalidValue("the column user, or one of the columns api_key_id and project_id, is missing")
    keys: dict[str, str] = {}
    for number, cells in rows[1:]:
        values = [cell.strip() for cell in cells] + [""] * len(header)
        user, ids = values[header.index("user")], [values[index] for index in columns if values[index]]
        if not any(values):
            continue
        if not user or not ids:
            raise InvalidValue(f"line {number}: needs a user and the id of a key or project")
        for id_ in ids:
            if keys.setdefault(id_, user) != user:
                raise InvalidValue(f"line {number}: {id_!r} belongs to {keys[id_]!r} already")
    return keys


def read_files(paths: Iterable[Path]) -> Figures:
    """The figures in files: JSON of OpenAI's organization API, or CSV exports of its dashboard. Raises InvalidValue."""
    return merge([page for path in paths for page in read_figures(read_limited(path, MAX_FILE), str(path))])


async def read_body(body: bytes) -> Figures:
    """As `read_files`, out of the body of a request."""
    return await read_sent([("the body", body)])


async def read_sent(files: Sequence[tuple[str, bytes]]) -> Figures:
    """As `read_files`, out of files that were sent: their names and contents."""
    # In a thread: a month of many keys takes long enough to delay requests.
    return await asyncio.to_thread(
        lambda: merge([page for name, data in files for page in read_figures(trimmed(data, name), name)])
    )


async def fetch_month(config: Config, admin_key_file: Path, month: date) -> Figures:
    """The figures of a month (given by its first day) from OpenAI's organization API. Raises SetupError, UpstreamError,
    InvalidValue."""
    # Only here: it imports Tornado and curl, which no other command needs.
    from chatgpt_agent.adapters.openai_organization_api import fetch_figures, read_admin_key

    key = read_admin_key(admin_key_file)
    fetched = await fetch_figures(config.upstream, key, *_days(month))
    return merge(fetched.pages, fetched.unavailable)
