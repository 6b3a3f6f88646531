"""The time zone of the ledger: the configuration sets it, and the database sums up its days in it."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.settings import is_abbreviation, read_time_zone, set_time_zone, utc_offsets
from chatgpt_agent.core.errors import SetupError, StoreRejected

log = logging.getLogger(__name__)

REBUILD_SECONDS = 3600.0  # for a statement that sums up all days of all years
_COMPARED_DAYS = 3 * 366  # before and after now


async def sync_time_zone(store: Store, zone: str, *, load: Callable[[str], tzinfo] = ZoneInfo) -> bool:
    """Sets the time zone of the database; returns whether it was another one before. `load`: finds a time zone by its
    name. Raises SetupError if PostgreSQL does not know the name, or uses it for something else."""
    before = await read_time_zone(store)
    if before == zone:
        return False
    await _compare_clocks(store, zone, load(zone))
    await set_time_zone(store, zone)
    log.info("the time zone of the ledger is now %s and was %s; all daily sums were rebuilt", zone, before)
    return True


async def _compare_clocks(store: Store, name: str, zone: tzinfo) -> None:
    """Compares the time zone data of PostgreSQL, which defines the days of the ledger, with Python's, which defines the
    windows of budgets. They differ if a name means two things, or if one of the two has older data."""
    now = datetime.now(UTC)
    moments = [now + timedelta(days=days) for days in range(-_COMPARED_DAYS, _COMPARED_DAYS)]
    try:
        in_postgres = await utc_offsets(store, name, moments)
    except StoreRejected:
        raise SetupError(f"time_zone: PostgreSQL does not know {name}: name a place, such as Europe/Berlin") from None
    in_python = [_offset(moment.astimezone(zone)) for moment in moments]
    differing = [moment for moment, a, b in zip(moments, in_postgres, in_python, strict=True) if a != b]
    if differing and await is_abbreviation(store, name):
        raise SetupError(
            f"time_zone: to PostgreSQL {name} is an abbreviation, without summer time: "
            "name a place, such as Europe/Berlin"
        )
    if differing:
        log.warning(
            "the clocks of %s differ between PostgreSQL and this machine on %d days of six years, first on %s: reports "
            "and budgets may assign requests near midnight to different days; update the older time zone data",
            name, len(differing), differing[0].date(),
        )  # fmt: skip


def _offset(moment: datetime) -> int:
    return int((moment.utcoffset() or timedelta(0)).total_seconds())
