"""Archived months: archiving, what is archived, whether the files are right, and errors for rows that are archived."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.archive_files import read_archive
from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.adapters.postgres import archives
from chatgpt_agent.adapters.postgres.archive_months import archive_month
from chatgpt_agent.adapters.postgres.archives import StoredMonth
from chatgpt_agent.adapters.postgres.checks import Finding
from chatgpt_agent.adapters.postgres.connection import AnyStore, Store
from chatgpt_agent.core.archive import Archive, differences, show_month
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound
from chatgpt_agent.core.ids import time_of

__all__ = ["Archive", "Archives", "PrunePlan", "StoredMonth", "archived_text", "check_not_archived", "missing_row"]

FRESH = timedelta(days=31)  # after its end a month stays: pages and what-ifs read the rows of so many days

Say = Callable[[str], object]


class PrunePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an archiving would do: the months, the oldest first, and the folder of their files."""

    months: list[StoredMonth]
    folder: str


class Archives:
    """The use cases."""

    def __init__(self, store: Store, actor: Actor) -> None:
        self._store = store
        self._actor = actor

    async def plan(self, before: date, folder: Path, *, now: datetime | None = None) -> PrunePlan:
        """Returns the months before this one that `prune` would archive. Raises InvalidValue: a month has ended less
        than 31 days ago; Conflict: an agent has rows of them that are not shipped."""
        latest = ((now or datetime.now(UTC)) - FRESH).date().replace(day=1)
        if before > latest:
            raise InvalidValue(
                f"before: months stay for {FRESH.days} days after their end: {show_month(latest)} is the latest now"
            )
        end = datetime(before.year, before.month, 1, tzinfo=UTC)
        if agents := await archives.agents_with_rows_before(self._store, end):
            raise Conflict(
                f"agents have rows of these months that are not shipped yet: {', '.join(agents)}; see `ledger status`"
            )
        months = await archives.stored_months(self._store, before)
        return PrunePlan(months=months, folder=str(folder))

    async def prune(self, plan: PrunePlan, *, say: Say) -> list[Archive]:
        """Archives the months of a plan, each on its own: it can be killed at any point, and run again. Raises as
        `archive_month`."""
        folder = Path(plan.folder)
        done = []
        for stored in plan.months:
            work = partial(archive_month, self._store.dsn, stored.month, folder, self._actor, say=say)
            done.append(await in_own_thread(work))
        return done

    async def between(self, since: datetime | None, until: datetime | None) -> list[Archive]:
        """Returns the archived months that have a moment from `since` on and before `until`; None: no bound."""
        return await archives.archives_between(self._store, since, until)

    async def check_files(self, folder: Path) -> list[Finding]:
        """Reads the file of each archived month in this folder, and returns what is not as it was recorded."""
        findings = []
        for archive in await archives.list_archives(self._store):
            findings += await in_own_thread(partial(_read, archive, folder))
        return findings


def _read(archive: Archive, folder: Path) -> list[Finding]:
    return [Finding("archive", show_month(archive.month), text) for text in _faults(archive, folder / archive.file)]


def _faults(archive: Archive, path: Path) -> Iterator[str]:
    try:
        file = read_archive(path)
    except InvalidValue as error:
        yield error.message
        return
    yield from (f"{path} has {text}" for text in differences(archive.sums, file.sums))
    if file.sha256 != archive.sha256:
        yield f"{path}: its SHA-256 is {file.sha256} instead of {archive.sha256}"


async def check_not_archived(store: AnyStore, since: datetime | None, until: datetime | None) -> None:
    """Raises Conflict if rows from `since` on and before `until` are archived: an empty or partial answer would look
    like no usage."""
    if archived := await archives.archives_between(store, since, until):
        raise Conflict(archived_text(archived))


async def check_days_not_archived(store: AnyStore, since: date | None, until: date | None) -> None:
    """As `check_not_archived`, for days of the time zone of reports, both included."""
    begin, end = await archives.bounds_of_days(store, since, until)
    await check_not_archived(store, begin, end)


async def missing_row(store: AnyStore, request_id: UUID) -> NotFound:
    """Returns the error for a request without a row, which says so if its month is archived, as far as its id tells."""
    moment = time_of(request_id)
    archived = (
        [] if moment is None else await archives.archives_between(store, moment, moment + timedelta(milliseconds=1))
    )
    if archived:
        month = show_month(archived[0].month)
        return NotFound(
            f"the rows of {month} are archived: that of request {request_id}, if there is one, is in "
            f"{archived[0].file}, and stays as it is"
        )
    return NotFound(f"there is no row of request {request_id}")


def archived_text(archived: Sequence[Archive]) -> str:
    """Returns in words which months are archived, and from when on rows are here."""
    months = ", ".join(show_month(archive.month) for archive in archived)
    first = (archived[-1].month + timedelta(days=31)).replace(day=1)
    return (
        f"the rows of {months} are archived (the last one in {archived[-1].file}), and their sums are in reports: "
        f"choose days from {first} UTC on"
    )
